package e2e_test

import (
	"fmt"
	"net/http"
	"testing"
)

// matched is a route that answers with a word, for requests that a matcher lets in.
func matched(word string, matcher object) object {
	return object{
		"match":    []any{matcher},
		"handle":   []any{object{"handler": "static_response", "body": word}},
		"terminal": true,
	}
}

// otherwise is the route for the rest.
func otherwise() object {
	return object{"handle": []any{object{"handler": "static_response", "body": "rest"}}}
}

// TestMatcher proves that every condition can route requests, and that the matcher needs no handler: before one, after one,
// and without any.
func TestMatcher(t *testing.T) {
	handler := object{"handler": "ip_reputation", "mode": "observe"}
	routes := []any{
		matched("exempt", object{"ip_reputation": object{"status": []any{"exempt"}}}),
		matched("denied", object{"ip_reputation": object{"source": []any{"deny"}}}),
		matched("cel", object{"expression": `ip_reputation('score 1-4', 'nature tor') && method('GET')`}),
		matched("scanner", object{"ip_reputation": object{"category": []any{"scanner"}, "nature": []any{"hosting"}}}),
		matched("bad", object{"ip_reputation": object{"score": "85"}}),
		matched("shady", object{"ip_reputation": object{"score": "40-84", "country": []any{"nl"}}}),
		matched("nobody", object{"ip_reputation": object{"asn": []any{64496}}}),
		otherwise(),
	}
	for name, all := range map[string][]any{
		"without a handler":  routes,
		"behind a handler":   append([]any{object{"handle": []any{handler}}}, routes...),
		"before the handler": append(append([]any{}, routes[:7]...), object{"handle": []any{handler}}, routes[7]),
	} {
		t.Run(name, func(t *testing.T) {
			c := tellingConfig(t, startBackend(t))
			c.server = object{"routes": all}
			r := startCaddy(t, c)
			for client, want := range map[string]string{
				cleanClient: "rest", badClient: "bad", shadyClient: "shady", scannerClient: "scanner", torClient: "cel",
				deniedClient: "denied", exemptClient: "exempt", reservedClient: "exempt",
			} {
				for range 2 {
					if got := r.visit(t, client); got.status != http.StatusOK || got.body != want {
						t.Errorf("%s: status %d, body %q, want %q", client, got.status, got.body, want)
					}
				}
			}
			if got := r.metric(t, `provider_quota_remaining{provider="abuseipdb",window="day"}`); got != 1000-5 {
				t.Errorf("%v calls are left of 1000 after 5 addresses", got)
			}
		})
	}
}

// TestExpression proves that the matcher stands in an expression with others.
func TestExpression(t *testing.T) {
	c := tellingConfig(t, startBackend(t))
	c.server = object{"routes": []any{
		matched("login", object{"expression": `ip_reputation('score 40-84') && path('/login')`}),
		matched("shady", object{"expression": `ip_reputation('score 40-84')`}),
		otherwise(),
	}}
	r := startCaddy(t, c)
	for _, tc := range []struct{ client, path, want string }{
		{shadyClient, "/login", "login"}, {shadyClient, "/", "shady"}, {cleanClient, "/login", "rest"}, {badClient, "/login", "rest"},
	} {
		got := send(t, http.MethodGet, r.site+tc.path, "", http.Header{"X-Forwarded-For": {tc.client}})
		if got.body != tc.want {
			t.Errorf("%s at %s: %q, want %q", tc.client, tc.path, got.body, tc.want)
		}
	}
	for _, wrong := range []string{
		`ip_reputation('score 850')`, `ip_reputation('mood bad')`, `ip_reputation('score')`, `ip_reputation('source nobody')`,
		`ip_reputation('score 1', 'score 2')`,
	} {
		c.server["routes"] = []any{matched("never", object{"expression": wrong})}
		if err := r.tryReload(t); err == nil {
			t.Errorf("%s was accepted", wrong)
		}
	}
}

// TestTwoSites proves that sites decide for themselves and share one engine: one call for both.
func TestTwoSites(t *testing.T) {
	s := startStandIn(t)
	s.know(shadyClient, 80, 10)
	c := newConfig(t)
	c.ask(s)
	site := func(host string, handler object) object {
		handler["handler"] = "ip_reputation"
		return object{
			"match": []any{object{"host": []any{host}}},
			"handle": []any{handler, object{"handler": "static_response",
				"body": host + " {http.ip_reputation.score} {http.ip_reputation.action} {http.ip_reputation.mode}"}},
			"terminal": true,
		}
	}
	c.server = object{"routes": []any{
		site("strict.example.com", object{"mode": "enforce", "rules": []any{rule("block", object{"score": "40"})}}),
		site("lax.example.com", object{"mode": "enforce", "rules": []any{rule("block", object{"score": "85"})}}),
		site("watching.example.com", object{"rules": []any{rule("drop", object{"score": "40"})}}),
		site("exempting.example.com", object{"mode": "enforce", "exempt": []any{shadyClient}, "rules": []any{rule("block", object{"score": "40"})}}),
	}}
	startCaddy(t, c)
	for host, want := range map[string]string{
		"strict.example.com":    "403 ",
		"lax.example.com":       "200 lax.example.com 45 pass enforce",
		"watching.example.com":  "200 watching.example.com 45 block observe", // a drop behind a proxy
		"exempting.example.com": "200 exempting.example.com  pass enforce",
	} {
		answer := parsed(t, speak(t, "tcp", c.siteAddr,
			lines("GET / HTTP/1.1", "Host: "+host, "Connection: close", "X-Forwarded-For: "+shadyClient, "")))
		if got := fmt.Sprint(answer.status, " ", ownBody(answer)); got != want {
			t.Errorf("%s answers %q, want %q", host, got, want)
		}
	}
	if n := s.asked(); n != 1 {
		t.Errorf("the provider was asked %d times for four sites", n)
	}
}

// TestASiteMayNotWait proves that `wait` of a site holds for that site alone, while the provider does not answer.
func TestASiteMayNotWait(t *testing.T) {
	s, knowing, release := startGated(t)
	knowing.know(badClient, 100, 60)
	c := newConfig(t)
	c.ask(s)
	c.app["providers"].([]any)[0].(object)["timeout"] = "30s"
	c.app["wait"] = "10s"
	c.server = object{"routes": []any{
		object{"match": []any{object{"path": []any{"/hurried"}}}, "terminal": true, "handle": []any{
			object{"handler": "ip_reputation", "wait": 0},
			object{"handler": "static_response", "body": "{http.ip_reputation.status}"},
		}},
		object{"handle": []any{
			object{"handler": "ip_reputation"},
			object{"handler": "static_response", "body": "{http.ip_reputation.status} {http.ip_reputation.score}"},
		}},
	}}
	r := startCaddy(t, c)
	visit := func(path string) string {
		return send(t, http.MethodGet, r.site+path, "", http.Header{"X-Forwarded-For": {badClient}}).body
	}
	patient := make(chan string, 1)
	go func() { patient <- visit("/patient") }()
	eventually(t, "the provider is asked", func() bool { return s.asked() == 1 })
	if got := visit("/hurried"); got != "pending" {
		t.Errorf("the site that does not wait answers %q", got)
	}
	select {
	case got := <-patient:
		t.Errorf("the site that waits has answered %q before the provider", got)
	default:
	}
	release()
	if got := <-patient; got != "fresh 88" {
		t.Errorf("the site that waits answers %q", got)
	}
}
