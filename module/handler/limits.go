package handler

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

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

// take counts a request by a limit, and decides whether it passes.
func (h *Handler) take(r *http.Request, v *visit, l *limited) limit.Decision {
	key := ""
	if l.key != "" {
		if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
			key = strings.TrimSpace(repl.ReplaceAll(l.key, ""))
		}
	}
	subject := limit.Client(v.client)
	switch {
	case v.known != nil && v.client.IsValid():
		// counted apart: a forged address cannot use up the limit of the client that has it
		subject = limit.Keyed("early data " + cmp.Or(key, reputation.Subject(v.client).String()))
	case key != "":
		subject = limit.Keyed(key)
	case subject == limit.Subject{}:
		return limit.Decision{Allowed: true} // all that have no address would be limited as one
	}
	return h.runtime.Limiter.Take(r.Context(), l.Rule, subject, h.wait-v.waited)
}

// describe sets the fields that tell a client how to keep within the limit.
func (l *limited) describe(h http.Header, d limit.Decision) {
	policy, state := limit.Fields(l.name, l.Rate(), d)
	h.Set("RateLimit-Policy", policy)
	h.Set("RateLimit", state)
	h.Set("Retry-After", strconv.Itoa(d.RetryAfterSeconds()))
}
