package vault

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestLogins(t *testing.T) {
	for _, tc := range []struct {
		name   string
		config object
		calls  []string
	}{
		{"token", byToken(t), []string{looksUp, reads, reads}},
		{"approle", byAppRole(t), []string{logsIn, reads, reads}},
		{"kubernetes", byServiceAccount(t), []string{logsInPod, reads, reads}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStandIn(t)
			v := open(t, s, tc.config)
			wantValue(t, v, value)
			wantValue(t, v, value)
			s.wantCalls(t, tc.calls...)
		})
	}
	s := newStandIn(t)
	v := open(t, s, byServiceAccount(t), object{"auth_mount": "k8s/production"})
	wantValue(t, v, value)
	s.wantCalls(t, "PUT auth/k8s/production/login", reads)
}

// TestRenewal: a token is renewed once two thirds of its time have passed, and replaced when that is no longer possible.
func TestRenewal(t *testing.T) {
	s := newStandIn(t)
	v := open(t, s, byAppRole(t))
	wantValue(t, v, value)
	later(s, v, 39*time.Minute)
	wantValue(t, v, value)
	s.wantCalls(t, logsIn, reads, reads)
	later(s, v, 2*time.Minute)
	wantValue(t, v, value)
	wantValue(t, v, value)
	s.wantCalls(t, renews, reads, reads)
	later(s, v, 59*time.Minute)
	wantValue(t, v, value)
	s.wantCalls(t, renews, reads)
	later(s, v, 61*time.Minute) // nobody fetched for too long
	wantValue(t, v, value)
	s.wantCalls(t, logsIn, reads)

	later(s, v, 41*time.Minute)
	s.force(renews, fails(http.StatusBadRequest, "lease is not renewable"))
	wantValue(t, v, value)
	s.wantCalls(t, renews, logsIn, reads)
	later(s, v, 41*time.Minute)
	s.force(renews, reply{status: http.StatusNoContent})
	wantValue(t, v, value)
	s.wantCalls(t, renews, logsIn, reads)

	later(s, v, 41*time.Minute)
	s.force(renews, fails(http.StatusServiceUnavailable, "Vault is sealed"))
	if err := failing(t, v); !strings.Contains(err.Error(), "sealed") {
		t.Error(err)
	}
	s.force(renews, fails(http.StatusTooManyRequests))
	if err := failing(t, v); reputation.ResultOf(err) != reputation.ResultThrottled {
		t.Error(err)
	}
	s.wantCalls(t, renews, renews)
	s.change(func() { delete(s.forced, renews) })
	wantValue(t, v, value)
	s.wantCalls(t, renews, reads)
}

func TestNotRenewable(t *testing.T) {
	s := newStandIn(t)
	s.grants = token{ttl: time.Hour}
	v := open(t, s, byServiceAccount(t))
	wantValue(t, v, value)
	later(s, v, 41*time.Minute)
	wantValue(t, v, value)
	s.wantCalls(t, logsInPod, reads, logsInPod, reads)
}

// TestRevoked: a token that Vault does not know any more is replaced at once, and once only.
func TestRevoked(t *testing.T) {
	s := newStandIn(t)
	v := open(t, s, byAppRole(t))
	wantValue(t, v, value)
	s.wantCalls(t, logsIn, reads)
	s.change(func() { clear(s.tokens) })
	wantValue(t, v, value)
	s.wantCalls(t, reads, looksUp, logsIn, reads)

	s.change(func() { clear(s.tokens) })
	s.force(logsIn, fails(http.StatusBadRequest, "invalid role or secret ID "+secretID))
	for range 2 {
		if err := failing(t, v); !errors.Is(err, reputation.ErrRefused) ||
			!strings.Contains(err.Error(), "Vault answered 400 to the login at auth/approle/login: check the role, its credentials, and auth_mount") {
			t.Error(err)
		}
	}
	s.wantCalls(t, reads, looksUp, logsIn, logsIn)
	s.change(func() { delete(s.forced, logsIn) })
	wantValue(t, v, value)
}

// TestDenied: what no policy allows is no reason to log in again, which would leave a token behind each time.
func TestDenied(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			s := newStandIn(t)
			s.denied = true
			v := open(t, s, way(t))
			for range 3 {
				if err := failing(t, v); !errors.Is(err, reputation.ErrRefused) {
					t.Error(err)
				}
			}
			s.change(func() {
				s.denied = false
				if s.made > 1 {
					t.Errorf("%d logins", s.made)
				}
			})
			wantValue(t, v, value)
		})
	}
}

// TestReplacedCredentials: what credentials are is looked up at each login.
func TestReplacedCredentials(t *testing.T) {
	t.Run("token", func(t *testing.T) {
		s := newStandIn(t)
		s.tokens[rootToken].ttl, s.tokens[rootToken].end = time.Hour, time.Now().Add(time.Hour)
		path, text := write(t, rootToken)
		v := open(t, s, object{"token": text})
		wantValue(t, v, value)
		s.change(func() { s.tokens["hvs.made-next"] = &token{} })
		rewrite(t, path, "hvs.made-next")
		wantValue(t, v, value)
		s.wantCalls(t, looksUp, reads, reads)
		later(s, v, 61*time.Minute)
		wantValue(t, v, value)
		s.wantCalls(t, looksUp, reads)
		if got := s.last.Header.Get("X-Vault-Token"); got != "hvs.made-next" {
			t.Errorf("token %s", got)
		}
	})
	t.Run("service account", func(t *testing.T) {
		s := newStandIn(t)
		path, _ := write(t, "hunter2")
		v := open(t, s, object{"kubernetes": object{"role": "caddy", "jwt": path}})
		if err := failing(t, v); !errors.Is(err, reputation.ErrRefused) || !strings.Contains(err.Error(), ": service account name not authorized: ") {
			t.Error(err)
		}
		rewrite(t, path, jwt)
		wantValue(t, v, value)
	})
	t.Run("secret ID", func(t *testing.T) {
		s := newStandIn(t)
		t.Setenv("VAULT_TEST_SECRET_ID", "hunter2")
		v := open(t, s, object{"approle": object{"role_id": roleID, "secret_id": "{env.VAULT_TEST_SECRET_ID}"}})
		_ = failing(t, v)
		t.Setenv("VAULT_TEST_SECRET_ID", secretID)
		wantValue(t, v, value)
	})
}

// TestTokenThatMayNotLookItselfUp: without the default policy, nobody says for how long it can be used.
func TestTokenThatMayNotLookItselfUp(t *testing.T) {
	s := newStandIn(t)
	s.force(looksUp, forbidden)
	v := open(t, s, byToken(t))
	wantValue(t, v, value)
	s.change(func() { s.denied = true })
	if err := failing(t, v); !errors.Is(err, reputation.ErrRefused) {
		t.Error(err)
	}
	s.wantCalls(t, looksUp, reads, reads, looksUp, looksUp, reads)
}

func TestCredentials(t *testing.T) {
	t.Setenv("VAULT_TEST_EMPTY", "")
	t.Setenv("VAULT_TEST_BROKEN", "hunter2\nhunter2")
	_, blank := write(t, "\n")
	empty, _ := write(t, " \n")
	for _, tc := range []struct {
		name   string
		config object
		want   string
	}{
		{"no variable", object{"token": "{env.VAULT_TEST_ABSENT}"}, "resolving the token: "},
		{"empty variable", object{"token": "{env.VAULT_TEST_EMPTY}"}, "resolving the token: "},
		{"no file", object{"token": "{file./does/not/exist}"}, "resolving the token: "},
		{"empty file", object{"token": blank}, "resolving the token: "},
		{"line break", object{"token": "{env.VAULT_TEST_BROKEN}"}, "the token holds characters that none has, such as a line break"},
		{"no role", object{"approle": object{"role_id": "{env.VAULT_TEST_ABSENT}", "secret_id": secretID}}, "resolving the role ID: "},
		{"no secret ID", object{"approle": object{"role_id": roleID, "secret_id": "{env.VAULT_TEST_ABSENT}"}}, "resolving the secret ID: "},
		{"wrong secret ID", object{"approle": object{"role_id": roleID, "secret_id": "hunter2"}}, "400 to the login at auth/approle/login: invalid role or secret ID: check"},
		{"no pod", object{"kubernetes": object{"role": "caddy", "jwt": "/does/not/exist"}}, "Caddy must run in a pod, or jwt name the file"},
		{"empty JWT", object{"kubernetes": object{"role": "caddy", "jwt": empty}}, "is empty"},
		{"no such method", object{"kubernetes": object{"role": "caddy", "jwt": empty}, "auth_mount": "k8s"}, "is empty"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStandIn(t)
			if err := failing(t, open(t, s, tc.config)); !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %v, want %q", err, tc.want)
			}
		})
	}
}

func TestLoginFailures(t *testing.T) {
	for _, tc := range []struct {
		name  string
		reply reply
		want  reputation.Result
		text  string
	}{
		{"refused", fails(http.StatusForbidden, "permission denied"), reputation.ResultRefused, "403 to the login at auth/approle/login: permission denied: check"},
		{"refused, with all it was told", fails(http.StatusForbidden, "no such "+secretID), reputation.ResultRefused, "403 to the login at auth/approle/login: check"},
		{"no such method", fails(http.StatusNotFound, "no handler for route"), reputation.ResultRefused, "no auth method at auth/approle: set auth_mount"},
		{"sealed", fails(http.StatusServiceUnavailable, "Vault is sealed"), reputation.ResultError, "sealed"},
		{"throttled", fails(http.StatusTooManyRequests), reputation.ResultThrottled, ""},
		{"no token", reply{status: http.StatusOK, body: object{"auth": object{}}}, reputation.ResultBadAnswer, "gave no token"},
		{"nothing", reply{status: http.StatusNoContent}, reputation.ResultBadAnswer, "gave no token"},
		{"a page", reply{status: http.StatusOK, body: "<html>" + secretID}, reputation.ResultBadAnswer, "not the JSON that it should be"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStandIn(t)
			s.force(logsIn, tc.reply)
			v := open(t, s, byAppRole(t))
			err := failing(t, v)
			if got := reputation.ResultOf(err); got != tc.want || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%s: %v; want %s with %q", got, err, tc.want, tc.text)
			}
			s.change(func() { delete(s.forced, logsIn) })
			wantValue(t, v, value)
		})
	}
}
