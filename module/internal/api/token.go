package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// Scope is what a token may be used for.
type Scope uint8

// The scopes.
const (
	ScopeRead    Scope = 1 << iota // what is known of addresses
	ScopeAsk                       // have providers asked, which costs quota
	ScopeHistory                   // what was known and decided over time
)

var scopeNames = []struct {
	scope Scope
	name  string
}{{ScopeRead, "read"}, {ScopeAsk, "ask"}, {ScopeHistory, "history"}}

// ParseScope returns the scope of a word, and false when the word is none.
func ParseScope(word string) (Scope, bool) {
	for _, s := range scopeNames {
		if s.name == word {
			return s.scope, true
		}
	}
	return 0, false
}

// String returns the words of the scopes.
func (s Scope) String() string {
	var words []string
	for _, name := range scopeNames {
		if s&name.scope != 0 {
			words = append(words, name.name)
		}
	}
	return strings.Join(words, " ")
}

// Token is what somebody shows who wants to know something.
type Token struct {
	Name  string // for the log
	Scope Scope

	// Value returns the token as it is now, and false while it is not known.
	Value func() (string, bool)

	// Ends returns when it ends; zero: not known.
	Ends func() time.Time

	// Limit counts so many addresses as are asked about. Default: nothing is counted.
	Limit func(r *http.Request, n int) Allowance

	// Most is how many addresses one request may ask about. Default: MaxAddresses.
	Most int
}

// The lengths of tokens.
const (
	MinToken = 16
	MaxToken = 4096
)

// CheckToken reports what is wrong with the value of a token. The error does not repeat it.
func CheckToken(value string) error {
	switch body := strings.TrimRight(value, "="); {
	case len(value) < MinToken:
		return fmt.Errorf("the token has %d characters, and less than %d can be guessed: make one with `openssl rand -hex 32`",
			len(value), MinToken)
	case len(value) > MaxToken:
		return fmt.Errorf("the token has %d characters: use at most %d", len(value), MaxToken)
	case body == "" || strings.ContainsFunc(body, isNoTokenCharacter):
		return errors.New("the token has characters that no bearer token can have: use letters, digits and -._~+/, " +
			"or make one with `openssl rand -hex 32`")
	}
	return nil
}

// isNoTokenCharacter reports whether RFC 6750 has no such character in a token.
func isNoTokenCharacter(c rune) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return false
	}
	return !strings.ContainsRune("-._~+/", c)
}

// hashToken is what is compared: all hashes have one length.
func hashToken(value string) [sha256.Size]byte { return sha256.Sum256([]byte(value)) }

// match returns the token that has the given hash. It compares with all of them, so that the time it takes tells nothing
// about which one is nearly right. Of two that are the same, the first counts.
func (h *Handler) match(given [sha256.Size]byte) *Token {
	found := -1
	for i := range h.o.Tokens {
		own, ok := h.value(&h.o.Tokens[i])
		hash := hashToken(own)
		same := subtle.ConstantTimeCompare(hash[:], given[:]) & subtle.ConstantTimeEq(int32(found), -1)
		if !ok {
			same = 0
		}
		found = subtle.ConstantTimeSelect(same, i, found)
	}
	if found < 0 {
		return nil
	}
	return &h.o.Tokens[found]
}

// value returns a token's value, and false when it has none that is fit for use.
func (h *Handler) value(t *Token) (string, bool) {
	value, ok := t.Value()
	if !ok {
		return "", false
	}
	if err := CheckToken(value); err != nil {
		if h.logged.Allow("token "+t.Name, time.Now()) {
			h.o.Logger.Error("a token of the API cannot be used, and nobody is let in with it",
				slog.String("secret", t.Name), slog.Any("error", err))
		}
		return "", false
	}
	return value, true
}

const realm = `Bearer realm="ip-reputation"`

// authorize looks at the token of a request, and counts those without a good one by where they come from.
func (h *Handler) authorize(q *request, scope Scope) error {
	now := time.Now()
	if left := h.shut.left(q.client, now); left > 0 {
		return tooMany(left)
	}
	token, err := h.authenticate(q.Request, now)
	if err != nil {
		if !q.client.IsValid() {
			return err
		}
		if a := h.o.Failed(q.Context(), q.client); !a.Allowed {
			h.shut.add(q.client, now, a.RetryAfter)
			return q.spend(a)
		}
		return err
	}
	q.token = token
	if err := q.need(scope); err != nil {
		return err
	}
	return q.count(1)
}

// need makes sure that the token has a scope.
func (q *request) need(scope Scope) error {
	if q.token.Scope&scope == scope {
		return nil
	}
	p := newProblem(http.StatusForbidden, "insufficient_scope", fmt.Sprintf("the token has not the scope %s", scope))
	p.challenge = fmt.Sprintf("%s, error=\"insufficient_scope\", scope=%q", realm, scope)
	return p
}

// count counts addresses, or another question, by the token.
func (q *request) count(n int) error {
	if q.token.Limit == nil || n < 1 {
		return nil
	}
	q.header.Del("RateLimit-Policy") // one limit is told: that which is nearer to whoever has a token
	q.header.Del("RateLimit")
	return q.spend(q.token.Limit(q.Request, n))
}

// authenticate returns the token that a request shows.
func (h *Handler) authenticate(r *http.Request, now time.Time) (*Token, error) {
	values := r.Header["Authorization"]
	if len(values) > 1 {
		p := newProblem(http.StatusUnauthorized, "invalid_token", "there is more than one Authorization header: send one")
		p.challenge = realm + `, error="invalid_request"`
		return nil, p
	}
	var scheme, given string
	if len(values) == 1 {
		scheme, given, _ = strings.Cut(values[0], " ")
	}
	if !strings.EqualFold(scheme, "Bearer") {
		p := newProblem(http.StatusUnauthorized, "missing_token", "a token is needed: send it in the header Authorization, behind the word Bearer")
		p.challenge = realm
		return nil, p
	}
	given = strings.TrimSpace(given)
	if len(given) > MaxToken {
		given = "" // it is none, and costs nothing
	}
	token := h.match(hashToken(given))
	if token != nil {
		if ends := token.Ends(); ends.IsZero() || now.Before(ends) {
			return token, nil
		}
	}
	p := newProblem(http.StatusUnauthorized, "invalid_token", "the token is not known, or has ended")
	p.challenge = realm + `, error="invalid_token"`
	return nil, p
}
