package handler

import (
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
)

// TestRulesThatBanSpareForeignRequests: what a rule asks of a request, anybody's page can make a browser send.
func TestRulesThatBanSpareForeignRequests(t *testing.T) {
	w := newWatching(t, object{"mode": "enforce", "rules": []any{
		object{"action": "ban", "path": []string{"/.env"}}, object{"action": "ban", "source": []string{"own"}},
	}, "violations": []any{object{"name": "rude", "path": []string{"/guilty"}}}})
	for _, tc := range []struct {
		path, site string
		spared     int
	}{
		{"/.env", "cross-site", 1}, {"/.env", "same-site", 1}, {"/.env", "none", 0}, {"/.env", "same-origin", 0},
		{"/guilty", "none", 0}, {"/other", "cross-site", 0}, // the last is banned for what it did before
	} {
		before := countedBy(t, "bans_spared_total", "foreign")
		got, _ := w.ask(t, "192.0.2.1", tc.path, answersWith(204), with("Sec-Fetch-Site", tc.site))
		if spared := countedBy(t, "bans_spared_total", "foreign") - before; spared != tc.spared || got.Code != 403 {
			t.Errorf("%s, %s: answered %d, spared %d times", tc.path, tc.site, got.Code, spared)
		}
	}
}

// TestTheApplicationIsBelievedBeforeTheBrowser: what a rule has spared because of what the client says of itself, the
// application can still name, and what it names without being trusted spares nobody.
func TestTheApplicationIsBelievedBeforeTheBrowser(t *testing.T) {
	rules := []any{object{"name": "rude", "status": []string{"401"}}, object{"name": "mistake", "path": []string{"/trap"}}}
	for name, tc := range map[string]struct {
		trusted bool
		site    string
		want    map[string]int
	}{
		"a foreign page":              {true, "cross-site", map[string]int{"rude": 5, "mistake": 0}},
		"the visitor":                 {true, "none", map[string]int{"rude": 5, "mistake": 0}},
		"a foreign page, no trust":    {false, "cross-site", map[string]int{}},
		"the visitor, without trust":  {false, "none", map[string]int{"rude": 5, "mistake": 0}},
		"nobody says, and no browser": {false, "", map[string]int{"rude": 5, "mistake": 0}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := violationContext(t)
			outer := &watching{Handler: loadHandler(t, ctx, object{"violations": rules, "violations_from_application": tc.trusted})}
			inner := loadHandler(t, ctx, object{"violations_from_application": tc.trusted})
			app := caddyhttp.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) error {
				return inner.ServeHTTP(rw, r, answersWith(401, "rude", "mistake", "rude"))
			})
			_, _ = outer.ask(t, "192.0.2.1", "/trap", app, with("Sec-Fetch-Site", tc.site))
			if diff := cmp.Diff(tc.want, outer.points("192.0.2.1")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestSpared holds whose violations cost nothing, and that each is counted by its reason and logged.
func TestSpared(t *testing.T) {
	trap := object{"name": "rude", "path": []string{"/.env"}}
	behind := func(headers ...string) func(*http.Request) {
		return func(r *http.Request) {
			vars := request.VarsOf(r)
			vars[caddyhttp.TrustedProxyVarKey] = true
			r.RemoteAddr = "198.51.100.200:4711"
			for _, h := range headers {
				r.Header.Add("X-Forwarded-For", h)
			}
			server := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
			server.ClientIPHeaders = []string{"X-Forwarded-For"}
		}
	}
	strict := func(r *http.Request) {
		behind("203.0.113.9, 192.0.2.1")(r)
		r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server).TrustedProxiesStrict = 1
	}
	for name, tc := range map[string]struct {
		addr   string
		site   object
		change func(*http.Request)
		why    string // empty: it counts
	}{
		"a client":                {},
		"exempt":                  {addr: exemptAddr, why: "exempt"},
		"exempt from the site":    {site: object{"exempt": []string{"192.0.2.0/24"}}, why: "exempt"},
		"private":                 {addr: "10.0.0.1", why: "reserved"},
		"no address":              {change: func(r *http.Request) { request.VarsOf(r)[caddyhttp.ClientIPVarKey] = "@" }, why: "no_address"},
		"early data":              {change: func(r *http.Request) { r.ProtoMajor, r.TLS = 3, inEarlyData(t, cleanAddr).TLS }, why: "early_data"},
		"behind a proxy":          {change: behind("192.0.2.1")},
		"forged behind a proxy":   {change: behind("203.0.113.9, 192.0.2.1"), why: "forwarded"},
		"forged in two lines":     {change: behind("203.0.113.9", "192.0.2.1"), why: "forwarded"},
		"a strict server":         {change: strict},
		"forged without a proxy":  {change: with("X-Forwarded-For", "203.0.113.9, 203.0.113.10")},
		"the proxy itself":        {addr: "198.51.100.200", change: behind(), why: "trusted_proxy"},
		"an image of a page":      {change: with("Sec-Fetch-Dest", "image"), why: "foreign"},
		"a link of a page":        {change: with("Sec-Fetch-Site", "cross-site"), why: "foreign"},
		"fetched ahead":           {change: with("Sec-Purpose", "prefetch;prerender"), why: "foreign"},
		"a sibling's page":        {change: with("Sec-Fetch-Site", "same-site"), why: "foreign"},
		"a Referer of others":     {change: with("Referer", "https://evil.example/a"), why: "foreign"},
		"its own Referer":         {change: with("Referer", "https://APP.example.com/a")},
		"denied and refused":      {addr: deniedAddr, site: object{"mode": "enforce"}, why: "refused"},
		"denied and observed":     {addr: deniedAddr},
		"refused by a later one":  {addr: deniedAddr, site: object{"violations": []any{object{"name": "rude", "status": []string{"403"}}}}, change: func(r *http.Request) { r.Header.Set("Test", "later") }, why: "refused"},
		"refused as an error, so": {addr: deniedAddr, site: object{"violations": []any{object{"name": "rude", "status": []string{"403"}}}}, change: func(r *http.Request) { r.Header.Set("Test", "later error") }, why: "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			site := object{"violations": []any{trap}}
			for k, v := range tc.site {
				site[k] = v
			}
			ctx := violationContext(t)
			w := &watching{Handler: loadHandler(t, ctx, site)}
			core, logged := observer.New(zapcore.InfoLevel)
			w.decisions = decisionLogTo(t, core)
			later := loadHandler(t, ctx, object{"mode": "enforce"})
			addr := tc.addr
			if addr == "" {
				addr = "192.0.2.1"
			}
			app := caddyhttp.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) error {
				later.ownErrors = r.Header.Get("Test") == "later error"
				if r.Header.Get("Test") != "" {
					return later.ServeHTTP(rw, r, answersWith(204))
				}
				return answersWith(204)(rw, r)
			})
			before := ignoredBy(t, tc.why)
			_, _ = w.ask(t, addr, "/.env", app, tc.change)
			if got := w.points(addr)["rude"] > 0; got != (tc.why == "") {
				t.Errorf("counted: %v", got)
			}
			if tc.why != "" && ignoredBy(t, tc.why) != before+1 {
				t.Errorf("violations_ignored_total{reason=%q} has not risen by one", tc.why)
			}
			entries := logged.FilterMessage("violation").All()
			if tc.why != "refused" && (len(entries) != 1 || tc.why != "" && entries[0].ContextMap()["why"] != tc.why) {
				t.Errorf("logged %v", entries)
			}
		})
	}
}
