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

// session speaks to Vault with a token, and sees to it that it has one.
type session struct {
	client *api.Client
	method method
	warned sync.Once // of an end that cannot be read

	turn chan struct{} // full while somebody speaks; whoever does may touch the rest

	sent   []string    // secrets that an answer may repeat
	header http.Header // of the last answer

	// What is known of the token that the client has. The zero times mean that it does not end.
	renewable bool
	due       time.Time // when it is to be renewed
	end       time.Time
}

// method logs in. It may ask Vault, through the session.
type method func(context.Context, *session) (grant, error)

// grant is a token, and for how long. A time of 0 means that it does not end, or that nobody says.
type grant struct {
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
	if status(err) == http.StatusForbidden && !fresh && s.isDead(ctx) {
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

// authenticate sees to a token that can be used now, and reports whether it comes from a login just made.
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
		return true, s.logIn(ctx) // its time cannot be extended any more
	}
	if err != nil {
		return false, s.failure(ctx, err, "check the token")
	}
	if answer == nil || answer.Auth == nil {
		return true, s.logIn(ctx)
	}
	s.note(now, time.Duration(answer.Auth.LeaseDuration)*time.Second, answer.Auth.Renewable)
	return false, nil
}

// isDead reports whether Vault does not know the token any more. Otherwise, what is not allowed with this token is not
// allowed with the next one either, and logging in again and again would leave one token after the other in Vault.
func (s *session) isDead(ctx context.Context) bool {
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
	s.note(began, g.ttl, g.renewable)
	return nil
}

// note takes note of how long the token can be used.
func (s *session) note(began time.Time, ttl time.Duration, renewable bool) {
	s.due, s.end, s.renewable = time.Time{}, time.Time{}, renewable
	if ttl > 0 {
		s.due, s.end = began.Add(ttl/3*2), began.Add(ttl)
	}
}

// status returns the HTTP status of an error with which Vault has answered, or 0.
func status(err error) int {
	var answer *api.ResponseError
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}
