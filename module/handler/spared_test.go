package handler

import (
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
)

// TestSpared holds whose violations cost nothing, and that each is counted by its reason and logged.
func TestSpared(t *testing.T) {
	trap := object{"name": "rude", "path": []string{"/.env"}}
	behind := func(headers ...string) func(*http.Request) {
		return func(r *http.Request) {
			vars := runtime.VarsOf(r)
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
		"no address":              {change: func(r *http.Request) { runtime.VarsOf(r)[caddyhttp.ClientIPVarKey] = "@" }, why: "no_address"},
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
			change := tc.change
			if change == nil {
				change = func(*http.Request) {}
			}
			_, _ = w.ask(t, addr, "/.env", app, change)
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
