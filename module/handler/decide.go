package handler

import (
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/limit"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/policy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// decision is what one handler decided about a request. It carries all that logs, headers and the history say of it:
// another handler on the way of the request has other rules.
type decision struct {
	action     reputation.Action
	enforce    bool
	denied     bool      // a refusal of an address on the operator's deny list
	banned     bool      // a refusal of one that is banned, and not denied
	statusCode uint16    // of a refusal
	rule       *siteRule // nil until a handler has decided
}

// by says what decided, in words. It is empty for a pass by no rule.
func (d *decision) by() string {
	switch {
	case d.number() != 0:
		return d.rule.text
	case d.denied:
		return reputation.SourceDeny
	case d.banned:
		return reputation.SourceBan
	case d.action != reputation.Pass:
		return "unknown block"
	}
	return ""
}

// number is the position of the rule that decided in its site's policy, from 1; 0 when none did.
func (d *decision) number() int {
	if d.rule == nil {
		return 0
	}
	return d.rule.number
}

// mode is the word for how the site treats the action.
func (d *decision) mode() string { return modeWord(d.enforce) }

func modeWord(enforce bool) string {
	if enforce {
		return "enforce"
	}
	return "observe"
}

// siteRule is a rule of a site at work.
type siteRule struct {
	number  int    // from 1; 0 stands for no rule
	text    string // as a Caddyfile has it
	request requestMatcher
	limit   limited
	ban     time.Duration                 // how long; zero for the default
	samples [reputation.NumActions]sample // of the decision log
}

// compileRules returns the site's rules by their number, and whether there is a limit among them.
func compileRules(rules []Rule, mode string) (compiled []siteRule, limits bool, err error) {
	compiled = make([]siteRule, len(rules)+1)
	for i := range rules {
		r, c := &rules[i], &compiled[i+1]
		c.number, c.text, c.ban = i+1, r.text(), time.Duration(r.For)
		if c.request, err = r.compileRequest(); err != nil {
			return nil, false, fmt.Errorf("rule %d (%s): %w", i+1, r.Action, err)
		}
		if err := r.checkFor(); err != nil {
			return nil, false, fmt.Errorf("rule %d (%s): %w", i+1, r.Action, err)
		}
		if r.Action != reputation.Limit.String() {
			if r.Limit != "" || r.Key != "" || r.By != "" {
				return nil, false, fmt.Errorf("rule %d (%s): only a limit has a rate, a key and by: "+
					"remove them, or write limit", i+1, r.Action)
			}
			continue
		}
		if c.limit, err = r.limited(i+1, mode); err != nil {
			return nil, false, fmt.Errorf("rule %d (limit): %w", i+1, err)
		}
		limits = true
	}
	return compiled, limits, nil
}

// holds reports whether what a rule asks besides the verdict holds for a request. An address that may be forged lets
// nobody pass who would be refused otherwise.
func (h *Handler) holds(rule *policy.Rule, r *http.Request, v *visit) bool {
	if v.known != nil && rule.Action == reputation.Pass && rule.Conditions.NeedsAddress() {
		return false
	}
	return h.rules[rule.Number].request.holds(r)
}

// decide says what becomes of a request, and what is left of the limit that it was counted by.
func (h *Handler) decide(r *http.Request, v *visit) (d decision, left limit.Decision) {
	verdict := v.judged()
	action, rule := h.policy.Decide(verdict, v.client, 0)
	for rule != nil && !h.holds(rule, r, v) {
		action, rule = h.policy.Decide(verdict, v.client, rule.Number)
	}
	d = decision{action: action, enforce: h.enforce, rule: &h.rules[0], statusCode: http.StatusForbidden}
	if rule != nil {
		d.rule = &h.rules[rule.Number]
		if rule.StatusCode != 0 {
			d.statusCode = uint16(rule.StatusCode)
		}
	}
	if action == reputation.Drop && v.known == nil && request.VarsOf(r).FromTrustedProxy() {
		d.action = reputation.Block // the connection is the proxy's, which would take the site for dead
	}
	if action == reputation.Limit {
		d.statusCode = http.StatusTooManyRequests
		if left.Allowed = isPreflight(r); !left.Allowed {
			left = h.take(r, v, &d.rule.limit)
		}
		if left.Allowed {
			d.action = reputation.Pass
		}
	}
	if d.action != reputation.Pass {
		word := policy.Unwanted(verdict)
		d.denied, d.banned = word == reputation.SourceDeny, word == reputation.SourceBan
	}
	if v.known != nil {
		d.statusCode = http.StatusTooEarly
	}
	return d, left
}
