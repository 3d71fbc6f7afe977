package vault

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// day returns when a day ends.
func day(text string) time.Time {
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		panic(err)
	}
	return at.AddDate(0, 0, 1)
}

func TestSecrets(t *testing.T) {
	for _, tc := range []struct {
		name     string
		stored   object
		metadata object
		lease    int
		config   object
		want     reputation.Secret
	}{
		{name: "plain", stored: object{"value": value}, want: reputation.Secret{Value: value}},
		{name: "line break", stored: object{"value": value + "\n"}, want: reputation.Secret{Value: value}},
		{name: "member", stored: object{"value": "hunter2", "api_key": value}, config: object{"field": "api_key"},
			want: reputation.Secret{Value: value}},
		{name: "number", stored: object{"value": 1234567890123456789}, want: reputation.Secret{Value: "1234567890123456789"}},
		{name: "date", stored: object{"value": value}, metadata: object{"custom_metadata": object{"expires": "2099-03-31", "team": "web"}},
			want: reputation.Secret{Value: value, Expires: day("2099-03-31")}},
		{name: "time", stored: object{"value": value}, metadata: object{"custom_metadata": object{"expires": "2099-04-01T02:00:00+02:00"}},
			want: reputation.Secret{Value: value, Expires: day("2099-03-31")}},
		{name: "nonsense", stored: object{"value": value}, metadata: object{"custom_metadata": object{"expires": "hunter2"}},
			want: reputation.Secret{Value: value}},
		{name: "no text", stored: object{"value": value}, metadata: object{"custom_metadata": object{"expires": 7}},
			want: reputation.Secret{Value: value}},
		{name: "deletion", stored: object{"value": value}, metadata: object{"deletion_time": "2099-04-01T00:00:00.000000Z"},
			want: reputation.Secret{Value: value, Expires: day("2099-03-31")}},
		{name: "deletion first", stored: object{"value": value},
			metadata: object{"deletion_time": "2098-01-02T00:00:00Z", "custom_metadata": object{"expires": "2099-03-31"}},
			want:     reputation.Secret{Value: value, Expires: day("2098-01-01")}},
		{name: "no metadata", stored: object{"value": value}, metadata: object{}, want: reputation.Secret{Value: value}},
		{name: "lease", stored: object{"value": value}, lease: 90, want: reputation.Secret{Value: value, TTL: 90 * time.Second}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStandIn(t)
			s.stored, s.lease = tc.stored, tc.lease
			if tc.metadata != nil {
				s.metadata = tc.metadata
			}
			v := open(t, s, byToken(t), tc.config)
			for range 2 {
				if got := wantValue(t, v, tc.want.Value); got != tc.want {
					t.Errorf("expires %s, TTL %s; want %s, %s", got.Expires, got.TTL, tc.want.Expires, tc.want.TTL)
				}
			}
		})
	}
}

func TestNothingToUse(t *testing.T) {
	for _, tc := range []struct {
		name   string
		stored object
		config object
		want   string
	}{
		{"no member", object{"user": "hunter2"}, nil, `no member "value": set field to one that it has`},
		{"another member", object{"value": "hunter2"}, object{"field": "api_key"}, `no member "api_key"`},
		{"empty", object{"value": ""}, nil, `the member "value" of what is stored is empty`},
		{"an object", object{"value": object{"a": "hunter2"}}, nil, "neither text nor a number"},
		{"deleted", nil, nil, "this version was deleted: store a new one, or undelete it"},
		{"elsewhere", object{"value": value}, object{"path": "secret/other"}, "there is nothing at secret/data/other: check that the engine"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStandIn(t)
			s.stored = tc.stored
			err := failing(t, open(t, s, byToken(t), tc.config))
			if !errors.Is(err, reputation.ErrUnknown) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %v, want ErrUnknown with %q", err, tc.want)
			}
		})
	}
}

// TestQuestion: what Vault is asked.
func TestQuestion(t *testing.T) {
	t.Setenv("VAULT_TEST_STAGE", "web")
	for _, tc := range []struct {
		name      string
		config    object
		want      string
		namespace string
	}{
		{"newest", nil, "/v1/secret/data/abuseipdb", ""},
		{"version", object{"version": 3}, "/v1/secret/data/abuseipdb?version=3", ""},
		{"mount", object{"mount": "team/kv", "path": "team/kv/{env.VAULT_TEST_STAGE}/abuseipdb"}, "/v1/team/kv/data/web/abuseipdb", ""},
		{"namespace", object{"namespace": "team/{env.VAULT_TEST_STAGE}"}, "/v1/secret/data/abuseipdb", "team/web"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStandIn(t)
			v := open(t, s, byToken(t), tc.config)
			s.wantCalls(t) // none before the first Fetch
			wantValue(t, v, value)
			if got := s.last.URL.RequestURI(); got != tc.want || s.last.Header.Get("X-Vault-Namespace") != tc.namespace {
				t.Errorf("asked for %s in %s", got, s.last.Header.Get("X-Vault-Namespace"))
			}
			if s.last.Header.Get("X-Vault-Token") != rootToken || !s.last.Close {
				t.Error("without the token, or over a connection that is kept")
			}
		})
	}
}

func TestRotation(t *testing.T) {
	s := newStandIn(t)
	v := open(t, s, byAppRole(t))
	wantValue(t, v, value)
	s.change(func() { s.stored = object{"value": "n3w-v4lu3"} })
	wantValue(t, v, "n3w-v4lu3")
	s.wantCalls(t, logsIn, reads, reads)
}

func TestAwayAndBack(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			s := newStandIn(t)
			s.Close()
			v := open(t, s, way(t))
			for range 2 {
				if err := failing(t, v); !strings.Contains(err.Error(), "connection refused") || reputation.ResultOf(err) != reputation.ResultError {
					t.Error(err)
				}
				s.restart(t)
				wantValue(t, v, value)
				s.Close()
			}
		})
	}
}

// TestHanging: a Fetch returns soon after its context ends, whichever call hangs, even when another one has its turn.
func TestHanging(t *testing.T) {
	for name, way := range ways {
		for _, call := range []string{reads, looksUp, logsIn, logsInPod} {
			t.Run(name+" "+call, func(t *testing.T) {
				s := newStandIn(t)
				s.force(call, reply{status: hangs})
				v := open(t, s, way(t))
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				began := time.Now()
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() {
						if got, err := v.Fetch(ctx); err == nil && got.Value != value || err != nil && !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("got %q and error %v", got.Value, err)
						}
					})
				}
				wg.Wait()
				if took := time.Since(began); took > time.Second {
					t.Errorf("returned after %s", took)
				}
				s.change(func() { delete(s.forced, call) })
				wantValue(t, v, value)
			})
		}
	}
}

func TestFailures(t *testing.T) {
	leaky := strings.Join(secrets, " ")
	page := func(status int) reply { return reply{status: status, body: "<html>" + leaky + "</html>"} }
	busy := fails(http.StatusTooManyRequests, "request path \"secret\": rate limit quota exceeded")
	busy.header = map[string]string{"Retry-After": "30"}
	long := reply{status: http.StatusOK, body: `{"data":{"data":{"value":"` + strings.Repeat("x", 5<<20) + `"}}}`}
	refused, unknown, bad, failed := reputation.ResultRefused, reputation.ResultNotFound, reputation.ResultBadAnswer, reputation.ResultError
	for _, tc := range []struct {
		name  string
		reply reply
		want  reputation.Result
		text  string
	}{
		{"denied", forbidden, refused, "Vault answered 403: 1 error occurred:  * permission denied: let a policy of the token allow read on secret/data/abuseipdb"},
		{"denied, with the token", fails(http.StatusForbidden, "no "+rootToken), refused, "Vault answered 403: let a policy"},
		{"unauthorized", fails(http.StatusUnauthorized), refused, "Vault answered 401: let a policy"},
		{"nothing there", fails(http.StatusNotFound), unknown, "there is nothing at secret/data/abuseipdb"},
		{"no body", reply{status: http.StatusNotFound}, unknown, "there is nothing at"},
		{"throttled", busy, reputation.ResultThrottled, "no request during 30s"},
		{"sealed", fails(http.StatusServiceUnavailable, "Vault is sealed"), failed, "status 503: Vault is sealed: Vault is sealed, or being maintained"},
		{"bad request", fails(http.StatusBadRequest, "invalid version"), failed, "no answer, status 400: invalid version: check that Vault is what answers there"},
		{"down", fails(http.StatusInternalServerError, "internal error"), failed, "no answer, status 500: internal error"},
		{"a page", page(http.StatusOK), bad, "not the JSON that it should be"},
		{"a page that is not found", page(http.StatusNotFound), bad, "not the JSON that it should be"},
		{"a forbidden page", page(http.StatusForbidden), refused, "Vault answered 403: let a policy"},
		{"a page of a gateway", page(http.StatusBadGateway), failed, "no answer, status 502: check that Vault is what answers there"},
		{"a redirect nowhere", reply{status: http.StatusFound}, failed, ""},
		{"nothing", reply{status: http.StatusOK}, unknown, ""},
		{"an empty object", reply{status: http.StatusOK, body: object{}}, bad, "check that secret is a key-value engine of version 2"},
		{"version 1", reply{status: http.StatusOK, body: object{"data": object{"value": value}}}, bad, "engine of version 2"},
		{"data of another type", reply{status: http.StatusOK, body: object{"data": object{"data": value, "metadata": object{}}}}, bad, "engine of version 2"},
		{"another type", reply{status: http.StatusOK, body: object{"data": value}}, bad, "not the JSON that it should be"},
		{"a list", reply{status: http.StatusOK, body: []string{value}}, bad, "not the JSON that it should be"},
		{"errors and more", reply{status: http.StatusOK, body: object{"errors": []string{value}, "x": value}}, failed, ""},
		{"half", reply{status: http.StatusOK, body: `{"data":{"data":{"value":"` + value}, failed, "unexpected EOF"},
		{"no end", long, bad, "it has more than 1048576 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStandIn(t)
			s.force(reads, tc.reply)
			v := open(t, s, byToken(t))
			err := failing(t, v)
			if got := reputation.ResultOf(err); got != tc.want || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%s: %v; want %s with %q", got, err, tc.want, tc.text)
			}
			if !strings.Contains(err.Error(), "fetching secret/abuseipdb from Vault: ") {
				t.Errorf("%v: does not name the secret", err)
			}
			s.wantCalls(t, looksUp, reads)
			s.change(func() { delete(s.forced, reads) })
			wantValue(t, v, value)
		})
	}
}

func TestConnectionBreaks(t *testing.T) {
	s := newStandIn(t)
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`{"data":"` + value + `"`))
		panic(http.ErrAbortHandler)
	})
	if err := failing(t, open(t, s, byToken(t))); !strings.Contains(err.Error(), "unexpected EOF") {
		t.Error(err)
	}
}

// TestTLS: with a certificate authority of its own, over HTTP/2.
func TestTLS(t *testing.T) {
	s := newStandIn(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	ca, _ := write(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))

	v := open(t, s, byToken(t), object{"address": server.URL, "ca": ca})
	for range 2 {
		wantValue(t, v, value)
	}
	if s.last.Proto != "HTTP/2.0" {
		t.Errorf("asked over %s", s.last.Proto)
	}
	err := failing(t, open(t, s, byToken(t), object{"address": server.URL}))
	if !strings.Contains(err.Error(), "certificate signed by unknown authority") {
		t.Error(err)
	}
	err = failing(t, open(t, s, byToken(t), object{"address": strings.Replace(s.URL, "http:", "https:", 1)}))
	if !strings.Contains(err.Error(), "HTTP response to HTTPS client") {
		t.Error(err)
	}
}

func TestConcurrently(t *testing.T) {
	s := newStandIn(t)
	s.grants = token{ttl: time.Second, renewable: true}
	v := open(t, s, byAppRole(t))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got, err := v.Fetch(t.Context()); err != nil || got.Value != value {
				t.Errorf("got %q and error %v", got.Value, err)
			}
		})
	}
	wg.Wait()
	s.change(func() {
		if s.made != 1 {
			t.Errorf("%d logins", s.made)
		}
	})
}
