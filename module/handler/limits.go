package handler

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/limit"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// limited is what a rule that limits allows.
type limited struct {
	limit.Rule
	key  string // counted by, with placeholders; empty for the subject
	name string // in the RateLimit fields
}

// compileLimits returns what each rule allows, by its position; a rule that does not limit has the zero value.
func compileLimits(rules []Rule, mode string) (limits []limited, some bool, err error) {
	limits = make([]limited, len(rules))
	for i := range rules {
		r := &rules[i]
		if r.Action != reputation.Limit.String() {
			if r.Limit != "" || r.Key != "" {
				return nil, false, fmt.Errorf("rule %d (%s): only a limit has a rate and a key: remove them, or write limit", i+1, r.Action)
			}
			continue
		}
		if limits[i], err = r.limited(i+1, mode); err != nil {
			return nil, false, fmt.Errorf("rule %d (limit): %w", i+1, err)
		}
		some = true
	}
	return limits, some, nil
}

// limited returns what the rule allows. Its identity is its rate, key, conditions and mode, so that its
// counts outlive reloads and are those of all instances. A site that only observes counts apart: it takes no
// tokens from visitors of other sites.
func (r *Rule) limited(number int, mode string) (limited, error) {
	if r.Limit == "" {
		return limited{}, errors.New("no rate is given: write one such as 10/1m")
	}
	allowed, err := rate.Parse(r.Limit)
	if err != nil {
		return limited{}, err
	}
	conditions, err := runtime.Hash(r.Conditions)
	if err != nil {
		return limited{}, err
	}
	rule, err := limit.NewRule(allowed, mode, r.Key, conditions)
	return limited{rule, r.Key, "rule-" + strconv.Itoa(number)}, err
}

// CheckLimit reports what is wrong with the rate of a limit.
func CheckLimit(text string) error {
	return limit.CheckText(text)
}

// limit counts a request by a limit, and decides whether it passes.
func (h *Handler) limit(r *http.Request, v *visit, l *limited) (reputation.Action, limit.Decision) {
	subject := limit.Client(v.client)
	if l.key != "" {
		if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
			if key := strings.TrimSpace(repl.ReplaceAll(l.key, "")); key != "" {
				subject = limit.Keyed(key)
			}
		}
	}
	if subject == (limit.Subject{}) {
		return reputation.Pass, limit.Decision{Allowed: true} // all that have no address would be limited as one
	}
	d := h.runtime.Limiter.Take(r.Context(), l.Rule, subject, h.wait-time.Since(v.began)) // the look-up may have waited already
	if d.Allowed {
		return reputation.Pass, d
	}
	return reputation.Limit, d
}

// refuse answers a request that does not keep within a limit.
func (l *limited) refuse(w http.ResponseWriter, v *visit, d limit.Decision) error {
	policy, state := limit.Fields(l.name, l.Rate(), d)
	h := w.Header()
	h.Set("RateLimit-Policy", policy)
	h.Set("RateLimit", state)
	h.Set("Retry-After", strconv.Itoa(d.RetryAfterSeconds()))
	return caddyhttp.Error(http.StatusTooManyRequests, fmt.Errorf("limited by IP reputation, request %s", v.requestID))
}
