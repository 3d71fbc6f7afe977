package e2e_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// startSites runs a Caddyfile of the given sites until the test ends. PORT stands for a free port, and HANDLER for an
// enforcing handler with the given rule.
func startSites(t *testing.T, rule, sites string) *running {
	t.Helper()
	c := newConfig(t)
	t.Setenv("XDG_DATA_HOME", c.dataDir)
	r := &running{config: c, admin: "http://" + c.adminAddr, site: "http://" + c.siteAddr}
	_, port, _ := strings.Cut(r.siteAddr, ":")
	handler := "ip_reputation {\nmode enforce\n" + rule + "\n}"
	text := `{
	admin ` + r.adminAddr + `
	persist_config off
	default_bind 127.0.0.1
	log {
		output file ` + r.logFile + `
	}
	servers {
		trusted_proxies static 127.0.0.0/8
		trusted_proxies_strict
	}
	ip_reputation {
		deny ` + deniedClient + `
	}
}
` + strings.NewReplacer("PORT", port, "HANDLER", handler).Replace(sites)
	if err := load(text); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.stop(t) })
	return r
}

// TestRefusalsAreNotStored proves that no refusal may be stored by a cache, whatever the site itself says about its pages,
// and whoever renders it.
func TestRefusalsAreNotStored(t *testing.T) {
	b := startBackend(t)
	application := strings.TrimPrefix(b.URL, "http://")
	const public = `"public, max-age=3600"`
	for name, site := range map[string]string{
		"nothing else":                "route {\nHANDLER\nrespond ok\n}",
		"the site's own header":       "route {\nheader Cache-Control " + public + "\nHANDLER\nrespond ok\n}",
		"a deferred header":           "route {\nheader >Cache-Control " + public + "\nHANDLER\nrespond ok\n}",
		"a header in front":           "header Cache-Control " + public + "\nhandle {\nHANDLER\nrespond ok\n}",
		"compressed":                  "route {\nencode {\n minimum_length 1\n}\nheader >Cache-Control " + public + "\nHANDLER\nrespond ok\n}",
		"an error page":               "route {\nheader Cache-Control " + public + "\nHANDLER\nrespond ok\n}\nhandle_errors {\nrespond page\n}",
		"a public error page":         "HANDLER\nrespond ok\nhandle_errors {\nheader Cache-Control " + public + "\nrespond page\n}",
		"a deferred public page":      "HANDLER\nrespond ok\nhandle_errors {\nheader >Cache-Control " + public + "\nrespond page\n}",
		"a page of the application":   "HANDLER\nrespond ok\nhandle_errors {\nheader >Cache-Control " + public + "\nreverse_proxy " + application + "\n}",
		"described public page":       "HANDLER\nrespond ok\nhandle_errors {\nip_reputation\nheader >Cache-Control " + public + "\nrespond page\n}",
		"an error page of other code": "header Cache-Control " + public + "\nhandle {\nHANDLER\nrespond ok\n}\nhandle_errors 500 {\nrespond page\n}",
	} {
		for rule, status := range map[string]int{
			"block score 85": 403, "block status 404 score 85": 404, "block status 410 score 85": 410, "block status 451 score 85": 451,
			"block status 503 score 85": 503, "limit 1/1h": 429,
		} {
			if name != "a public error page" && name != "a deferred header" && status != http.StatusForbidden {
				continue // who writes the page does not depend on the status
			}
			t.Run(name+" "+rule, func(t *testing.T) {
				r := startSites(t, rule, "http://:PORT {\n"+site+"\n}\n")
				visitor := deniedClient
				if status == http.StatusTooManyRequests {
					visitor = cleanClient
					r.visit(t, visitor)
				}
				got := r.visit(t, visitor)
				said := strings.Join(got.header["Cache-Control"], ", ")
				application := name == "a page of the application"
				if !strings.Contains(said, "no-store") || got.status != status && !application {
					t.Errorf("got %d, Cache-Control: %s", got.status, said)
				}
				if got := r.visit(t, exemptOf(cleanClient, status)); got.status != 200 || strings.Contains(strings.Join(got.header["Cache-Control"], ""), "no-store") {
					t.Errorf("a welcome visitor got %d, %v", got.status, got.header)
				}
			})
		}
	}
}

// exemptOf returns a client that has not come yet where the site limits.
func exemptOf(client string, status int) string {
	if status == http.StatusTooManyRequests {
		return shadyClient
	}
	return client
}

// TestOwnPageFirst proves that the built-in page is for those refusals only that no error route answers, of whichever site.
func TestOwnPageFirst(t *testing.T) {
	r := startSites(t, "", `
http://a.example.com:PORT {
	HANDLER
	handle_errors {
		respond "own page {err.status_code}"
	}
}
http://b.example.com:PORT {
	HANDLER
	handle_errors 404 5xx {
		respond "own page"
	}
}
http://c.example.com:PORT {
	HANDLER
}
http://d.example.com:PORT {
	HANDLER
	handle_errors 4xx {
		@api path /api/*
		handle @api {
			respond "own JSON"
		}
	}
}
http://e.example.com:PORT {
	handle_path /prefix/* {
		HANDLER
	}
	handle_errors {
		@prefix path /prefix/*
		respond @prefix "own page below"
	}
}
http://f.example.com:PORT {
	HANDLER
	handle_errors {
		ip_reputation
	}
}
http://g.example.com:PORT {
	HANDLER
	handle_errors {
		respond 403
	}
}
`)
	for _, tc := range []struct{ host, path, want string }{
		{"a.example.com", "/", "own page 403"},
		{"b.example.com", "/", "built in"},
		{"c.example.com", "/", "built in"},
		{"d.example.com", "/", "built in"},
		{"d.example.com", "/api/x", "own JSON"},
		{"e.example.com", "/prefix/x", "own page below"},
		{"f.example.com", "/", "built in"},
		{"g.example.com", "/", ""},
	} {
		answer := parsed(t, speak(t, "tcp", r.siteAddr, lines("GET "+tc.path+" HTTP/1.1", "Host: "+tc.host, "Connection: close",
			"X-Forwarded-For: "+deniedClient, "")))
		got := answer.body
		if strings.Contains(got, "Request ID: "+answer.header.Get("X-Request-Id")) && answer.header.Get("X-Request-Id") != "" {
			got = "built in"
		}
		if got != tc.want || answer.status != http.StatusForbidden || !strings.Contains(strings.Join(answer.header["Cache-Control"], ""), "no-store") {
			t.Errorf("%s%s: got %d, %q, %v; want %q", tc.host, tc.path, answer.status, answer.body, answer.header, tc.want)
		}
	}
}

// TestErrorsOfJSONSubroutes proves that an error page which only JSON can express is shown, too.
func TestErrorsOfJSONSubroutes(t *testing.T) {
	c := newConfig(t)
	c.app["deny"] = []any{deniedClient}
	handler := object{"handler": "ip_reputation", "mode": "enforce"}
	c.handler = nil
	c.next = []any{object{
		"handler": "subroute",
		"routes":  []any{object{"handle": []any{object{"handler": "subroute", "routes": []any{object{"handle": []any{handler}}}}}}},
		"errors":  object{"routes": []any{object{"handle": []any{object{"handler": "static_response", "body": "own page"}}}}},
	}}
	r := startCaddy(t, c)
	if got := r.visit(t, deniedClient); got.body != "own page" || got.status != http.StatusForbidden {
		t.Errorf("got %d, %q", got.status, got.body)
	}
}

// TestRequestsThatFailEarly proves that ip_reputation in error routes removes what clients forge in requests that no
// other handler has seen, and describes them.
func TestRequestsThatFailEarly(t *testing.T) {
	b := startBackend(t)
	c := forgedConfig(t, b)
	c.server["logs"] = object{}
	next := c.next
	describe := object{"handler": "ip_reputation"}
	c.server["errors"] = object{"routes": []any{object{"handle": []any{describe, proxyTo(b.Server)}}}}
	c.server["routes"] = []any{
		object{"match": []any{object{"path": []any{"/static-error"}}}, "handle": []any{object{"handler": "error", "status_code": 404}}},
		object{"handle": append([]any{withHandler(c.handler)}, next...)},
	}
	r := startCaddy(t, c)
	decided := r.metric(t, `requests_total{action="pass",mode="enforce",status="fresh"}`) + r.metric(t, `requests_total{action="pass",mode="observe",status="fresh"}`)
	for name, start := range map[string][]string{
		"a long method":               {strings.Repeat("A", 40) + " / HTTP/1.1", "Host: " + siteName},
		"a Host of dots":              {"GET / HTTP/1.1", "Host: ..."},
		"an error before the handler": {"GET /static-error HTTP/1.1", "Host: " + siteName},
	} {
		t.Run(name, func(t *testing.T) {
			request := slices.Concat(start, []string{
				"X-Forwarded-For: " + shadyClient, "Content-Length: 0", "Connection: close, X-IP-Reputation-Score",
			}, forgeries, []string{""})
			answer := parsed(t, speak(t, "tcp", c.siteAddr, lines(request...)))
			got := b.only(t)
			wantTold(t, got, map[string]string{
				"Score": "45", "Status": "fresh", "Action": "pass;mode=observe", "Coverage": "1.00",
				"Reasons": "abuseipdb;points=19.2", "Country": "NL", "Nature": "hosting", "Categories": "abuse",
			})
			id := answer.header.Get("X-Request-Id")
			if len(id) != 32 || got.header.Get("X-Request-Id") != id {
				t.Errorf("the application was given the request ID %q, the answer has %q", got.header["X-Request-Id"], id)
			}
			eventually(t, "the access log names "+id, func() bool { return strings.Contains(r.logs(t), `"request_id":"`+id+`"`) })
		})
	}
	if now := r.metric(t, `requests_total{action="pass",mode="enforce",status="fresh"}`) + r.metric(t, `requests_total{action="pass",mode="observe",status="fresh"}`); now != decided {
		t.Errorf("%v requests were counted that nobody decided about", now-decided)
	}
}

// TestMisdirectedRequest proves the same for a Host that is not the name in the TLS handshake.
func TestMisdirectedRequest(t *testing.T) {
	b := startBackend(t)
	c := forgedConfig(t, b)
	trust := c.secure(t)
	c.server["strict_sni_host"] = true
	c.server["errors"] = object{"routes": []any{object{"handle": []any{object{"handler": "ip_reputation"}, proxyTo(b.Server)}}}}
	startCaddy(t, c)
	transport := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+c.siteAddr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "other.example.com"
	req.Header = http.Header{"X-Ip-Reputation-Score": {"0"}, "X-Request-Id": {"not well-formed"}, "X-Forwarded-For": {exemptClient}}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	got := b.only(t)
	wantTold(t, got, map[string]string{"Status": "exempt", "Action": "pass;mode=observe", "Coverage": "0.00"})
	if id := resp.Header.Get("X-Request-Id"); len(id) != 32 || got.header.Get("X-Request-Id") != id {
		t.Errorf("the application was given the request ID %q, the answer has %q", got.header["X-Request-Id"], id)
	}
}

func withHandler(settings object) object {
	handler := object{"handler": "ip_reputation"}
	for name, value := range settings {
		handler[name] = value
	}
	return handler
}

// TestErrorRoutesDecideNothing proves that ip_reputation in error routes leaves the page and the decision as they are.
func TestErrorRoutesDecideNothing(t *testing.T) {
	c := newConfig(t)
	c.app["deny"] = []any{deniedClient}
	c.handler["log"] = object{"decisions": "all"}
	again := withHandler(c.handler)
	again["rules"] = []any{object{"action": "drop", "score": "1"}, object{"action": "limit", "limit": "1/1h"}}
	c.server = object{
		"logs": object{},
		"errors": object{"routes": []any{object{"handle": []any{
			again, object{"handler": "static_response", "body": "page {http.ip_reputation.action} {http.ip_reputation.rule} {http.ip_reputation.mode}"},
		}}}},
	}
	r := startCaddy(t, c)
	const series = `requests_total{action="block",mode="enforce",status="fresh"}`
	before := r.metric(t, series)
	for range 3 {
		got := r.visit(t, deniedClient)
		if got.status != http.StatusForbidden || got.body != "page block 1 enforce" {
			t.Errorf("got %d, %q", got.status, got.body)
		}
		if diff := cmp.Diff([]string{"no-store"}, got.header["Cache-Control"]); diff != "" {
			t.Errorf("Cache-Control (-want +got):\n%s", diff)
		}
		if n := len(got.header["X-Request-Id"]); n != 1 {
			t.Errorf("%d request IDs", n)
		}
	}
	if n := r.metric(t, series) - before; n != 3 {
		t.Errorf("3 requests were counted as %v", n)
	}
	eventually(t, "3 decisions are logged, and once that the rules have no effect", func() bool {
		log := r.logs(t)
		return strings.Count(log, `"msg":"decision"`) == 3 && strings.Count(log, "rules and violations of ip_reputation in handle_errors have no effect") == 1
	})
}
