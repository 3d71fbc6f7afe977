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

// Scope is a set of permissions of a token.
type Scope uint8

// The scopes.
const (
	ScopeRead       Scope = 1 << iota // read verdicts
	ScopeAsk                          // let providers be asked, which costs quota
	ScopeHistory                      // read the history
	ScopeViolations                   // report violations
)

var scopeNames = []struct {
	scope Scope
	name  string
}{{ScopeRead, "read"}, {ScopeAsk, "ask"}, {ScopeHistory, "history"}, {ScopeViolations, "violations"}}

// ParseScope returns the scope with a name, and false if there is none.
func ParseScope(word string) (Scope, bool) {
	for _, s := range scopeNames {
		if s.name == word {
			return s.scope, true
		}
	}
	return 0, false
}

// String returns the names of the scopes.
func (s Scope) String() string {
	var words []string
	for _, name := range scopeNames {
		if s&name.scope != 0 {
			words = append(words, name.name)
		}
	}
	return strings.Join(words, " ")
}

// Token is a bearer token that the API accepts.
type Token struct {
	Name  string // for the log
	Scope Scope

	// Value returns the current value, and false while it is not known.
	Value func() (string, bool)

	// Expires returns when the token expires; zero: unknown.
	Expires func() time.Time

	// Limit counts n addresses against the limit of the token. Default: no limit.
	Limit func(r *http.Request, n int) Allowance

	// Violations are the names of those that it may report. Default: all.
	Violations []string

	// MaxAddresses is the maximum number of addresses in one request. Default: MaxAddresses.
	MaxAddresses int
}

// The lengths of tokens.
const (
	MinToken = 16
	MaxToken = 4096
)

// CheckToken returns what is wrong with the value of a token. The error does not repeat it.
func CheckToken(value string) error {
	switch body := strings.TrimRight(value, "="); {
	case len(value) < MinToken:
		return fmt.Errorf("the token has %d characters, and less than %d can be guessed: make one with `openssl rand -hex 32`",
			len(value), MinToken)
	case len(value) > MaxToken:
		return fmt.Errorf("the token has %d characters: use at most %d", len(value), MaxToken)
	case body == "" || strings.ContainsFunc(body, isForbiddenInToken):
		return errors.New("the token has characters that no bearer token can have: use letters, digits and -._~+/, " +
			"or make one with `openssl rand -hex 32`")
	}
	return nil
}

// isForbiddenInToken reports whether RFC 6750 forbids c in a token.
func isForbiddenInToken(c rune) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return false
	}
	return !strings.ContainsRune("-._~+/", c)
}

// hashToken returns what is compared. All hashes have the same length.
func hashToken(value string) [sha256.Size]byte { return sha256.Sum256([]byte(value)) }

// match returns the token with the given hash. It compares with all tokens in constant time. Of two
// equal tokens, the first counts.
func (h *Handler) match(given [sha256.Size]byte) *Token {
	found := -1
	for i := range h.o.Tokens {
		own, ok := h.tokenValue(&h.o.Tokens[i])
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

// tokenValue returns a token's value, and false if it has none or an invalid one.
func (h *Handler) tokenValue(t *Token) (string, bool) {
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

// authorize checks the token of a request, and counts requests without a valid one against their
// address.
func (h *Handler) authorize(q *request, scope Scope) error {
	now := time.Now()
	token, err := h.authenticate(q.Request, now)
	if left := h.lockout.remaining(q.client, now); left > 0 && (err != nil || !h.lockout.wasAdmitted(q.client, token, now)) {
		return tooMany(left) // the same for any token, right or wrong
	}
	if err != nil {
		if !q.client.IsValid() {
			return err
		}
		if a := h.o.Failed(q.Context(), q.client); !a.Allowed {
			h.lockout.add(q.client, now, a.RetryAfter)
			return q.applyLimit(a)
		}
		return err
	}
	h.lockout.admit(q.client, token, now)
	q.token = token
	if err := q.requireScope(scope); err != nil {
		return err
	}
	return q.countAddresses(1)
}

// requireScope returns a problem if the token lacks the scope.
func (q *request) requireScope(scope Scope) error {
	if q.token.Scope&scope == scope {
		return nil
	}
	return insufficientScope(scope, fmt.Sprintf("the token has not the scope %s", scope))
}

func insufficientScope(scope Scope, detail string) *problem {
	p := newProblem(http.StatusForbidden, "insufficient_scope", detail)
	p.challenge = fmt.Sprintf("%s, error=\"insufficient_scope\", scope=%q", realm, scope)
	return p
}

// countAddresses counts n addresses against the limit of the token.
func (q *request) countAddresses(n int) error {
	if q.token.Limit == nil || n < 1 {
		return nil
	}
	q.header.Del("RateLimit-Policy") // the answer shows one limit: that of the token
	q.header.Del("RateLimit")
	return q.applyLimit(q.token.Limit(q.Request, n))
}

// authenticate returns the token of a request.
func (h *Handler) authenticate(r *http.Request, now time.Time) (*Token, error) {
	values := r.Header["Authorization"]
	if len(values) > 1 {
		p := newProblem(http.StatusUnauthorized, "invalid_token",
			"there is more than one Authorization header: send one")
		p.challenge = realm + `, error="invalid_request"`
		return nil, p
	}
	var scheme, given string
	if len(values) == 1 {
		scheme, given, _ = strings.Cut(values[0], " ")
	}
	if !strings.EqualFold(scheme, "Bearer") {
		p := newProblem(http.StatusUnauthorized, "missing_token",
			"a token is needed: send it in the header Authorization, behind the word Bearer")
		p.challenge = realm
		return nil, p
	}
	given = strings.TrimSpace(given)
	if len(given) > MaxToken {
		given = "" // too long to be a token: not worth hashing
	}
	token := h.match(hashToken(given))
	if token != nil {
		if ends := token.Expires(); ends.IsZero() || now.Before(ends) {
			return token, nil
		}
	}
	p := newProblem(http.StatusUnauthorized, "invalid_token", "the token is not known, or has ended")
	p.challenge = realm + `, error="invalid_token"`
	return nil, p
}
