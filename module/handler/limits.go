package handler

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/limit"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
)

// limited is what a rule that limits allows.
type limited struct {
	limit.Rule
	key  string // counted by, with placeholders; empty for the address
	by   counted
	name string // in the RateLimit fields
}

// limited returns what the rule allows. Its identity is its rate, key, conditions, mode and what it counts by, so that
// its counts outlive reloads and are those of all instances. A site that only observes counts apart: it takes no
// tokens from visitors of other sites.
func (r *Rule) limited(number int, mode string) (limited, error) {
	if r.Limit == "" {
		return limited{}, errors.New("no rate is given: write one such as 10/1m")
	}
	allowed, err := rate.Parse(r.Limit)
	if err != nil {
		return limited{}, err
	}
	if r.Key != "" && r.By != "" {
		return limited{}, errors.New("a limit has either key or by: " +
			"remove one, or put {http.ip_reputation.network} into the key")
	}
	by, err := parseBy(r.By)
	if err != nil {
		return limited{}, err
	}
	conditions, err := process.Hash(r.Conditions)
	if err != nil {
		return limited{}, err
	}
	parts := []string{mode, r.Key, conditions}
	if by != byClient {
		parts = append(parts, fmt.Sprintf("by %d %d %t", by.bits4, by.bits6, by.asn))
	}
	if r.asksRequest() {
		request, err := process.Hash(r.RequestConditions)
		if err != nil {
			return limited{}, err
		}
		parts = append(parts, "request "+request)
	}
	rule, err := limit.NewRule(allowed, parts...)
	return limited{rule, r.Key, by, "rule-" + strconv.Itoa(number)}, err
}

// counted is what a limit without a key counts by: the prefix of the address, or its autonomous system.
type counted struct {
	bits4, bits6 uint8
	asn          bool // and the prefix where the system is not known
}

var (
	byClient  = counted{bits4: 32, bits6: 64}
	byNetwork = counted{bits4: 24, bits6: 48}
	bySystem  = counted{bits4: 24, bits6: 48, asn: true}
)

// bySystemWord makes a limit count by autonomous system.
const bySystemWord = "asn"

// parseBy reads what a limit counts by: `network`, `asn`, or the lengths of prefixes, one of each family. The other
// family then counts as without it.
func parseBy(text string) (counted, error) {
	switch text {
	case "":
		return byClient, nil
	case "network":
		return byNetwork, nil
	case bySystemWord:
		return bySystem, nil
	}
	by, given4, given6 := byClient, false, false
	for word := range strings.SplitSeq(text, ",") {
		digits, slash := strings.CutPrefix(word, "/")
		bits, err := strconv.ParseUint(digits, 10, 8)
		switch {
		case !slash || err != nil:
			return counted{}, fmt.Errorf("by %q: use network (IPv4 /24, IPv6 /48), asn, "+
				"or lengths of prefixes as in /56 or /24,/56", text)
		case bits < 8 || bits > 64:
			return counted{}, fmt.Errorf("by %s: use a length from /8 to /32 for IPv4, or from /33 to /64 for IPv6, "+
				"where one visitor has a whole /64", word)
		case bits <= 32 && given4, bits > 32 && given6:
			return counted{}, fmt.Errorf("by %s has two lengths for one family: use one up to /32 for IPv4, "+
				"and one from /33 on for IPv6", text)
		case bits <= 32:
			by.bits4, given4 = uint8(bits), true
		default:
			by.bits6, given6 = uint8(bits), true
		}
	}
	return by, nil
}

// subject returns whom a client is counted with.
func (c *counted) subject(client netip.Addr, asn uint32) limit.Subject {
	if c.asn && asn != 0 && client.IsValid() {
		return limit.System(asn)
	}
	return limit.Network(client, c.bits4, c.bits6)
}

// CheckLimit reports what is wrong with the rate of a limit.
func CheckLimit(text string) error {
	return limit.CheckText(text)
}

// isPreflight reports whether a request is a CORS preflight, which is not counted: the browser sends it by itself, and a
// script sees a refused one as a network error.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// take counts a request by a limit, and decides whether it passes.
func (h *Handler) take(r *http.Request, v *visit, l *limited) limit.Decision {
	key := ""
	if l.key != "" {
		if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
			key = strings.TrimSpace(repl.ReplaceAll(l.key, ""))
		}
	}
	subject := l.by.subject(v.client, v.judged().Facts.ASN)
	switch {
	case v.known != nil && v.client.IsValid():
		// counted apart: a forged address cannot use up the limit of the client that has it
		subject = limit.Keyed("early data " + cmp.Or(key, subject.String()))
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
