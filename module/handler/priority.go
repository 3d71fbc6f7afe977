package handler

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
)

// PriorityRule says which requests matter to the site: all of its conditions must hold. While the quota of a service is
// short, it is asked about the clients of such requests before others.
type PriorityRule struct {
	RequestConditions

	// Further conditions on the request: sets of Caddy's request matchers. Any of the sets, all matchers of a set. In a
	// Caddyfile, the name of a matcher, such as `@mine`. Default: any request.
	MatcherSetsRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`
}

// priorityWords are the words that begin a condition of a priority.
const priorityWords = "path, method, header, or the name of a matcher, such as @mine"

// AddCondition adds the condition that word names, as that of a Rule.
func (p *PriorityRule) AddCondition(word string, values []string) error {
	if strings.HasPrefix(word, "/") {
		return fmt.Errorf("priority has no condition %q: write path %[1]s", word)
	}
	if word != "path" && word != "method" && word != "header" {
		return fmt.Errorf("priority has no condition %q: use one of %s", word, priorityWords)
	}
	rule := Rule{RequestConditions: p.RequestConditions}
	err := rule.AddCondition(word, values)
	p.RequestConditions = rule.RequestConditions
	return err
}

// Check reports what is wrong with the rule.
func (p *PriorityRule) Check() error {
	if !p.asksRequest() && len(p.MatcherSetsRaw) == 0 {
		return errors.New("priority needs a condition, or every request would matter: one of " + priorityWords)
	}
	_, err := p.compileRequest()
	return err
}

// priorityRule is a PriorityRule at work.
type priorityRule struct {
	request requestMatcher
	match   matchers
}

func (p *priorityRule) holds(r *http.Request) bool { return p.request.holds(r) && p.match.holds(r) }

// provisionPriority compiles which requests matter.
func (h *Handler) provisionPriority(ctx caddy.Context) (err error) {
	for i := range h.Priority {
		p := &h.Priority[i]
		if err := p.Check(); err != nil {
			return err
		}
		var compiled priorityRule
		if compiled.request, err = p.compileRequest(); err != nil {
			return err
		}
		if err := compiled.request.resolve(); err != nil {
			return fmt.Errorf("priority: %w", err)
		}
		if compiled.match, err = loadMatchers(ctx, p, p.MatcherSetsRaw); err != nil {
			return fmt.Errorf("priority: %w", err)
		}
		h.priority = append(h.priority, compiled)
	}
	return nil
}

// lookupRequest is what the site knows of a request, for the look-up.
func (h *Handler) lookupRequest(r *http.Request) (request runtime.LookupRequest) {
	request.Stakes = h.stakes
	for i := range h.priority {
		if h.priority[i].holds(r) {
			request.Important = true
			break
		}
	}
	return request
}
