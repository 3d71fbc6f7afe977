package vault

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// What must never be in an error or in the log.
const (
	rootToken = "hvs.CAESIJtoken"
	secretID  = "6a174c20-s3cr3t-1d"
	jwt       = "eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9.s3cr3t.jwt"
	value     = "s3cr3t-v4lu3"
)

const roleID = "db02de05-fa39-4855-059b-67221c5c2f63"

var secrets = []string{rootToken, secretID, jwt, value, "n3w-v4lu3", "hvs.made-", "hunter2"}

func TestMain(m *testing.M) {
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "VAULT_") || strings.HasSuffix(strings.ToUpper(name), "_PROXY") {
			os.Unsetenv(name)
		}
	}
	home, err := os.MkdirTemp("", "vault")
	if err != nil {
		panic(err)
	}
	os.Setenv("HOME", home)
	os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(home)
		os.Exit(code)
	}))
}

type object = map[string]any

// reply is what the stand-in answers. A nil body is an empty one, a string is sent as it is.
type reply struct {
	status int
	body   any
	header map[string]string
}

// hangs is the status of a reply that never comes.
const hangs = -1

func fails(status int, errors ...string) reply {
	return reply{status: status, body: object{"errors": errors}}
}

var forbidden = fails(http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")

// token is one that the stand-in knows.
type token struct {
	end       time.Time
	ttl       time.Duration
	renewable bool
}

// standIn is a stand-in for Vault, with an engine at secret/ and two auth methods.
type standIn struct {
	*httptest.Server

	mu       sync.Mutex
	stored   object // the data of secret/abuseipdb
	metadata object
	lease    int
	tokens   map[string]*token
	grants   token // what a login gives
	denied   bool  // no policy allows reading
	made     int
	calls    []string
	last     *http.Request
	body     object
	forced   map[string]reply // by method and path
}

func newStandIn(tb testing.TB) *standIn {
	tb.Helper()
	s := &standIn{
		stored:   object{"value": value},
		metadata: object{"created_time": "2026-11-24T10:00:00.1Z", "custom_metadata": nil, "deletion_time": "", "destroyed": false, "version": 3},
		tokens:   map[string]*token{rootToken: {}},
		grants:   token{ttl: time.Hour, renewable: true},
		forced:   make(map[string]reply),
	}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	tb.Cleanup(s.Close)
	return s
}

func (s *standIn) serve(w http.ResponseWriter, r *http.Request) {
	text, _ := io.ReadAll(r.Body)
	name := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/v1/")
	s.mu.Lock()
	s.calls = append(s.calls, name)
	s.last, s.body = r, nil
	_ = json.Unmarshal(text, &s.body)
	answer, ok := s.forced[name]
	if !ok {
		answer = s.answer(name, r.Header.Get("X-Vault-Token"))
	}
	s.mu.Unlock()
	if answer.status == hangs {
		<-r.Context().Done()
		return
	}
	w.Header().Set("Content-Type", "application/json")
	for key, value := range answer.header {
		w.Header().Set(key, value)
	}
	w.WriteHeader(answer.status)
	switch body := answer.body.(type) {
	case nil:
	case string:
		_, _ = io.WriteString(w, body)
	default:
		_ = json.NewEncoder(w).Encode(body)
	}
}

// answer is what Vault itself would say.
func (s *standIn) answer(name, with string) reply {
	ok := func(body object) reply { return reply{status: http.StatusOK, body: body} }
	switch name {
	case "PUT auth/approle/login":
		if s.body["role_id"] != roleID || s.body["secret_id"] != secretID {
			return fails(http.StatusBadRequest, "invalid role or secret ID")
		}
		return ok(s.grant())
	case "PUT auth/kubernetes/login", "PUT auth/k8s/production/login":
		if s.body["role"] != "caddy" || s.body["jwt"] != jwt {
			return fails(http.StatusForbidden, "service account name not authorized")
		}
		return ok(s.grant())
	}
	t := s.tokens[with]
	if t == nil || !t.end.IsZero() && time.Now().After(t.end) {
		return fails(http.StatusForbidden, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
	}
	switch name {
	case "GET auth/token/lookup-self":
		return ok(object{"data": object{"id": with, "renewable": t.renewable, "ttl": int(t.ttl.Seconds())}})
	case "PUT auth/token/renew-self":
		if !t.renewable {
			return fails(http.StatusBadRequest, "lease is not renewable")
		}
		t.end = time.Now().Add(t.ttl)
		return ok(object{"auth": object{"client_token": with, "lease_duration": int(t.ttl.Seconds()), "renewable": true}})
	case "GET secret/data/abuseipdb", "GET team/kv/data/web/abuseipdb":
		switch {
		case s.denied:
			return forbidden
		case s.stored == nil:
			return reply{status: http.StatusNotFound, body: object{"data": object{"data": nil, "metadata": s.metadata}}}
		}
		return ok(object{"lease_id": "", "lease_duration": s.lease, "data": object{"data": s.stored, "metadata": s.metadata}})
	}
	return fails(http.StatusNotFound)
}

// grant makes a token. mu is held.
func (s *standIn) grant() object {
	s.made++
	made := s.grants
	made.end = time.Now().Add(made.ttl)
	name := fmt.Sprintf("hvs.made-%d", s.made)
	s.tokens[name] = &made
	return object{"auth": object{"client_token": name, "lease_duration": int(made.ttl.Seconds()), "renewable": made.renewable}}
}

func (s *standIn) force(name string, r reply) {
	s.change(func() { s.forced[name] = r })
}

func (s *standIn) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// wantCalls compares the calls since the last time.
func (s *standIn) wantCalls(tb testing.TB, want ...string) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := strings.Join(s.calls, ", "); got != strings.Join(want, ", ") {
		tb.Errorf("calls: %s\nwant:  %s", got, strings.Join(want, ", "))
	}
	s.calls = nil
}

// restart lets it answer again at the address that it had before Close.
func (s *standIn) restart(tb testing.TB) {
	tb.Helper()
	listener, err := net.Listen("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		tb.Fatal(err)
	}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.Listener.Close()
	s.Listener = listener
	s.Start()
	tb.Cleanup(s.Close)
}

// The calls that are made.
const (
	reads     = "GET secret/data/abuseipdb"
	looksUp   = "GET auth/token/lookup-self"
	renews    = "PUT auth/token/renew-self"
	logsIn    = "PUT auth/approle/login"
	logsInPod = "PUT auth/kubernetes/login"
)

// load returns a store as Caddy makes it: from JSON.
func load(tb testing.TB, config object) (*Vault, error) {
	tb.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	tb.Cleanup(cancel)
	module, err := ctx.LoadModuleByID("ip_reputation.secrets.vault", text)
	if err != nil {
		return nil, err
	}
	return module.(*Vault), nil
}

// write returns a file, and a placeholder for what it holds.
func write(tb testing.TB, text string) (path, placeholder string) {
	tb.Helper()
	path = filepath.Join(tb.TempDir(), "file")
	rewrite(tb, path, text)
	return path, "{file." + path + "}"
}

func rewrite(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// The ways to log in.
func byToken(tb testing.TB) object {
	_, text := write(tb, rootToken+"\n")
	return object{"token": text}
}

func byAppRole(tb testing.TB) object {
	_, text := write(tb, secretID+"\n")
	return object{"approle": object{"role_id": roleID, "secret_id": text}}
}

func byServiceAccount(tb testing.TB) object {
	path, _ := write(tb, jwt+"\n")
	return object{"kubernetes": object{"role": "caddy", "jwt": path}}
}

var ways = map[string]func(testing.TB) object{"token": byToken, "approle": byAppRole, "kubernetes": byServiceAccount}

// open returns a store that asks the stand-in.
func open(tb testing.TB, s *standIn, configs ...object) *Vault {
	tb.Helper()
	config := object{"path": "secret/abuseipdb", "address": s.URL}
	for _, more := range configs {
		maps.Copy(config, more)
	}
	v, err := load(tb, config)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// failing fetches, and returns the error, which must hold no secret.
func failing(tb testing.TB, v *Vault) error {
	tb.Helper()
	got, err := v.Fetch(tb.Context())
	if err == nil || got.Value != "" {
		tb.Fatalf("got a secret and error %v, want an error alone", err)
	}
	harmless(tb, fmt.Sprintf("%v\n%+v\n%#v", err, err, err.Error()))
	return err
}

func harmless(tb testing.TB, text string) {
	tb.Helper()
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			tb.Errorf("%q is in %s", secret, text)
		}
	}
}

func wantValue(tb testing.TB, v *Vault, want string) reputation.Secret {
	tb.Helper()
	got, err := v.Fetch(tb.Context())
	if err != nil || got.Value != want {
		tb.Fatalf("got %q and error %v, want %q", got.Value, err, want)
	}
	return got
}

// later lets time pass, for the store and for the stand-in.
func later(s *standIn, v *Vault, by time.Duration) {
	for _, at := range []*time.Time{&v.session.due, &v.session.end} {
		if !at.IsZero() {
			*at = at.Add(-by)
		}
	}
	s.change(func() {
		for _, t := range s.tokens {
			if !t.end.IsZero() {
				t.end = t.end.Add(-by)
			}
		}
	})
}
