package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// secretMarks are in every secret that the tests of this package use, and in nothing else.
var secretMarks = []string{
	keyText, "key-of-", "key%2Dof%2D", "password-of-", "token-of-", "the-account-s-own-secret", dsnSecret, hookSecret,
}

// keepsSecrets is run at the end of every test that started a Caddy: whatever the test was about, what the process has shown by
// then, in its log, its metrics, its configuration and its admin API, holds no secret (promise 10).
func (r *running) keepsSecrets(tb testing.TB) {
	tb.Helper()
	shown := map[string]string{}
	for _, path := range []string{"/metrics", "/config/", "/ip_reputation/status", "/ip_reputation/keys"} {
		resp, err := client.Get(r.admin + path)
		if err != nil {
			continue // the process has ended
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			shown[path] = string(text)
		}
	}
	if text, err := os.ReadFile(r.logFile); err == nil {
		shown["the log"] = string(text)
	}
	wantSecrecy(tb, shown)
}

// wantSecrecy fails the test for texts that hold a secret.
func wantSecrecy(tb testing.TB, shown map[string]string) {
	tb.Helper()
	for where, text := range shown {
		for _, mark := range secretMarks {
			if i := strings.Index(text, mark); i >= 0 {
				tb.Errorf("%s shows a secret: %q", where, text[max(i-100, 0):min(i+60, len(text))])
			}
		}
	}
}

// everySecret is a configuration with a secret wherever one can be, most of them wrong, so that whoever is asked refuses and
// quotes them, and all that reports something to somebody.
func everySecret(t *testing.T, redis *testenv.RedisServer, s *standIn, h *hook) *config {
	t.Helper()
	put, store := awsStore(t)
	put("key-of-the-store")
	redis.ACL("caddy", "password-of-yesterday", "+@all", "~*", "&*")
	publisher := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		http.Error(w, strings.Join([]string{r.URL.RawQuery, user, password, r.Header.Get("X-Key")}, " "), http.StatusForbidden)
	}))
	t.Cleanup(publisher.Close)
	for name, value := range map[string]string{
		"TEST_REDIS": "password-of-today", "TEST_PRIVACY": "key-of-pseudonyms", "TEST_HOOK_SECRET": hookSecret,
		"TEST_HOOK": strings.Replace(h.URL, "://", "://us3r:password-of-hook@", 1) + "/?token=token-of-hook",
		"TEST_FEED": "us3r:password-of-feed@" + strings.TrimPrefix(publisher.URL, "http://") + "/?token=token-of-feed",
	} {
		t.Setenv(name, value)
	}
	c := newConfig(t)
	c.ask(s)
	provider := c.app["providers"].([]any)[0].(object)
	provider["keys"] = []any{provider["keys"].([]any)[0], object{"store": store, "expires": time.Now().AddDate(0, 0, 3).Format(time.DateOnly)}}
	c.app["providers"] = append(c.app["providers"].([]any), keysInURLs(t)...)
	c.app["feeds"] = []any{object{
		"name": "partner", "sources": []any{"http://{env.TEST_FEED}"}, "header": object{"X-Key": "Bearer {key}"}, "key": object{"store": store},
	}}
	c.app["feeds"] = append(c.app["feeds"].([]any), object{ // what only looks like a placeholder
		"name": "braces", "sources": []any{"http://127.0.0.1:1/"}, "header": object{"X-Key": "{key}"}, "key": object{"value": "key-of-{braces}-{"},
	})
	c.share(redis.Addr, object{"username": "caddy", "password": object{"value": "{env.TEST_REDIS}"}})
	t.Setenv("TEST_API_TOKEN", "token-of-an-application-0123456789")
	c.next = []any{
		object{"handler": "subroute", "routes": []any{object{
			"match": []any{object{"path": []any{"/v1/*"}}}, "terminal": true,
			"handle": []any{object{"handler": "ip_reputation_api", "tokens": []any{
				object{"secret": object{"value": "{env.TEST_API_TOKEN}", "expires": time.Now().AddDate(0, 0, 3).Format(time.DateOnly)}, "scopes": []any{"read", "ask"}},
				object{"secret": object{"store": store}, "scopes": []any{"history"}},
			}}},
		}}},
		object{"handler": "static_response", "body": "passed"},
	}
	database := testenv.PostgreSQL(t)
	database.SQL("CREATE ROLE caddy PASSWORD 'password-of-yesterday'") // who may not log in
	c.remember(t, loginOf(t, database.DSN, "caddy", "password-of-the-database"), nil)
	c.app["privacy"] = object{"mode": "hash", "key": object{"value": "{env.TEST_PRIVACY}"}}
	c.handler["log"] = object{"decisions": "all"}
	c.report()
	c.core()
	c.subscribe(object{
		"handler": "ip_reputation_webhook", "url": "{env.TEST_HOOK}", "secrets": []any{object{"value": "{env.TEST_HOOK_SECRET}"}},
	})
	c.follow()
	return c
}

// servicesWithKeysInURLs have it in the path, and in the query.
var servicesWithKeysInURLs = []string{"ipqualityscore", "proxycheck", "ipapi_is"}

// keysInURLs are providers that send their key so. Their service quotes the URL, percent-encoded too.
func keysInURLs(t *testing.T) []any {
	t.Helper()
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		message := "no such key: " + r.RequestURI
		if strings.Contains(r.RequestURI, "/json/") {
			message = "no such key: " + strings.ReplaceAll(r.RequestURI, "-", "%2D")
		}
		fmt.Fprintf(w, `{"success": false, "status": "denied", "message": %[1]q, "error": %[1]q, "error_code": "API_KEY"}`, message)
	}))
	t.Cleanup(service.Close)
	t.Setenv("TEST_KEY_OF_URLS", "key-of-the/path&query")
	var providers []any
	for _, name := range servicesWithKeysInURLs {
		providers = append(providers, object{
			"service": object{"service": name, "url": service.URL}, "keys": []any{object{"value": "{env.TEST_KEY_OF_URLS}"}},
		})
	}
	return providers
}

// TestNoSecretLeaves proves promise 10 over everything that leaves a process: log, metrics, configuration, admin API, commands,
// pages for visitors, what is kept on disk, reports, events and traces.
func TestNoSecretLeaves(t *testing.T) {
	collector, sentry, h, redis, s := startTraces(t), startSentry(t), startHook(t), testenv.Redis(t), startStandIn(t)
	s.behave(func(w http.ResponseWriter, r *http.Request) { // it quotes the key, as some services do
		fail(w, http.StatusUnauthorized, "Authentication failed for "+r.Header.Get("Key"))
	})
	c := everySecret(t, redis, s, h)
	p := startProcess(t, c)
	shown := map[string]string{}
	show := func(where, text string) {
		t.Helper()
		if text == "" {
			t.Errorf("there is nothing of %s, which proves nothing", where)
		}
		shown[where] = text
	}
	p.traced(t, badClient, "7", "01")
	show("a visitor's page", p.traced(t, cleanClient, "8", "01").header.Get("X-Request-Id"))
	eventually(t, "all is reported", func() bool {
		p.visit(t, cleanClient)
		for _, name := range servicesWithKeysInURLs {
			if !strings.Contains(p.logs(t), `"provider":"`+name+`"`) {
				return false
			}
		}
		return len(sentry.told(allRefused)) > 0 && len(h.received()) > 1 && strings.Contains(p.logs(t), "redis is away") &&
			strings.Contains(p.logs(t), "the database of the history cannot be used")
	})
	eventually(t, "it can be followed", func() bool {
		_, ours, _ := collector.of(trace("7"))
		return len(ours) > 0
	})
	collector.holdNone(t, secretMarks...)

	for _, token := range []string{"token-of-an-application-0123456789", "token-of-a-thief-0123456789", "key-of-the-store", ""} {
		for _, path := range []string{"/v1/ip/" + cleanClient + "?ask", "/v1/ip/" + cleanClient + "/history"} {
			got := p.look(t, token, http.MethodGet, path, "", nil)
			show("an answer of the API to "+token+" "+path, fmt.Sprint(got.body, got.header))
		}
	}
	for _, path := range []string{"status", "keys", "bans", "history?by=rule", "history/" + badClient, "check/" + badClient, "check/" + cleanClient + "?fresh"} {
		show(path, p.ask(t, http.MethodGet, path, "").body)
	}
	show("a refresh", p.ask(t, http.MethodPost, "feeds/partner/refresh", "").body)
	show("a refused configuration", send(t, http.MethodPost, p.admin+"/load",
		`{"admin":{"listen":"`+p.adminAddr+`"},"apps":{"ip_reputation":{"sentry":{"dsn":{"value":"https://`+dsnSecret+`@"}}}}}`, http.Header{"Content-Type": {"application/json"}}).body)
	for _, command := range []string{"status", "keys", "bans"} {
		text, err := c.caddyCommand(t, "ip-reputation", command, "--address", p.adminAddr).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v", command, err)
		}
		show("the command "+command, string(text))
	}
	show("a refused secret", send(t, http.MethodPost, p.admin+"/load",
		`{"admin":{"listen":"`+p.adminAddr+`"},"apps":{"ip_reputation":{"redis":{"addresses":["x"],"password":{"value":"password-of-{env.NO_SUCH_VARIABLE}"}}}}}`,
		http.Header{"Content-Type": {"application/json"}}).body)
	show("metrics", send(t, http.MethodGet, p.admin+"/metrics", "", nil).body)
	literal := strings.NewReplacer("key-of-{braces}-{", "(as the operator wrote it)") // which is warned about
	show("the configuration", literal.Replace(send(t, http.MethodGet, p.admin+"/config/", "", nil).body))
	p.end(os.Interrupt)
	show("the output", p.output.String())
	show("the log", p.logs(t))
	show("reports", sentry.everything())
	var events strings.Builder
	for _, got := range h.received() {
		events.Write(got.body)
	}
	show("events", events.String())
	err := filepath.WalkDir(c.dataDir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		shown[path] = literal.Replace(string(text))
		return err
	})
	if err != nil {
		t.Error(err)
	}
	wantSecrecy(t, shown)
}
