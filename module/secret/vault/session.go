package vault

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
)

// session sends requests to Vault with a token. It logs in and renews the token.
type session struct {
	client *api.Client
	method method
	warned sync.Once // about an expiry that cannot be read

	turn chan struct{} // a lock that guards the rest

	sent   []string    // secrets that an answer may echo
	header http.Header // of the last answer

	// The state of the client's token. With zero times it does not expire.
	renewable bool
	due       time.Time // when it should be renewed
	end       time.Time // when it expires
}

// method logs in, with requests through the session.
type method func(context.Context, *session) (tokenLease, error)

// tokenLease is a token and its lifetime. A TTL of 0 means that it does not expire, or that its
// lifetime is unknown.
type tokenLease struct {
	token     string
	ttl       time.Duration
	renewable bool
}

func newSession(client *api.Client, method method) *session {
	s := &session{method: method, turn: make(chan struct{}, 1)}
	s.client = client.WithResponseCallbacks(func(r *api.Response) { s.header = r.Header })
	return s
}

// read returns what is stored at a path of the API.
func (s *session) read(ctx context.Context, path string, version int) (*api.Secret, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	fresh, err := s.authenticate(ctx)
	if err != nil {
		return nil, err
	}
	answer, err := s.ask(ctx, path, version)
	if status(err) == http.StatusForbidden && !fresh && s.tokenIsInvalid(ctx) {
		if err := s.logIn(ctx); err != nil {
			return nil, err
		}
		answer, err = s.ask(ctx, path, version)
	}
	switch {
	case err != nil:
		return nil, s.failure(ctx, err, "let a policy of the token allow read on "+path)
	case answer == nil:
		return nil, unknown(path)
	}
	return answer, nil
}

func (s *session) ask(ctx context.Context, path string, version int) (*api.Secret, error) {
	var query map[string][]string
	if version > 0 {
		query = map[string][]string{"version": {strconv.Itoa(version)}}
	}
	return s.client.Logical().ReadWithDataWithContext(ctx, path, query)
}

// authenticate makes sure that the client has a valid token. It reports whether it
// logged in to get it.
func (s *session) authenticate(ctx context.Context) (fresh bool, err error) {
	now := time.Now()
	switch {
	case s.client.Token() == "", !s.end.IsZero() && !now.Before(s.end):
		return true, s.logIn(ctx)
	case s.due.IsZero() || now.Before(s.due):
		return false, nil
	case !s.renewable:
		return true, s.logIn(ctx)
	}
	answer, err := s.client.Auth().Token().RenewSelfWithContext(ctx, 0)
	if code := status(err); code == http.StatusBadRequest || code == http.StatusForbidden {
		return true, s.logIn(ctx) // the token has reached its maximal lifetime
	}
	if err != nil {
		return false, s.failure(ctx, err, "check the token")
	}
	if answer == nil || answer.Auth == nil {
		return true, s.logIn(ctx)
	}
	s.setLifetime(now, time.Duration(answer.Auth.LeaseDuration)*time.Second, answer.Auth.Renewable)
	return false, nil
}

// tokenIsInvalid reports whether Vault no longer accepts the token. If it does, a new token would
// have no more permissions, and each login would leave another token in Vault.
func (s *session) tokenIsInvalid(ctx context.Context) bool {
	_, err := s.client.Auth().Token().LookupSelfWithContext(ctx)
	return status(err) == http.StatusForbidden
}

func (s *session) logIn(ctx context.Context) error {
	s.client.ClearToken()
	s.sent = nil
	began := time.Now()
	g, err := s.method(ctx, s)
	if err != nil {
		s.client.ClearToken()
		return err
	}
	s.client.SetToken(g.token)
	s.sent = append(s.sent, g.token)
	s.setLifetime(began, g.ttl, g.renewable)
	return nil
}

// setLifetime records the lifetime of the token.
func (s *session) setLifetime(began time.Time, ttl time.Duration, renewable bool) {
	s.due, s.end, s.renewable = time.Time{}, time.Time{}, renewable
	if ttl > 0 {
		s.due, s.end = began.Add(ttl/3*2), began.Add(ttl)
	}
}

// status returns the HTTP status of an error answer of Vault, or 0.
func status(err error) int {
	var answer *api.ResponseError
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}
