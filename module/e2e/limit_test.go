package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// limiting is a site that lets suspicious visitors in three times an hour, and everybody five times.
func limiting(t *testing.T, s *standIn) *config {
	t.Helper()
	c := newConfig(t)
	c.ask(s)
	c.handler["rules"] = []any{
		object{"action": "limit", "limit": "3/1h", "score": "50"},
		object{"action": "limit", "limit": "5/1h"},
	}
	return c
}

// TestALimit proves that who is faster than allowed is refused with all that a well-behaved client needs to come back in time,
// that the application never sees the request, and that others are not touched.
func TestALimit(t *testing.T) {
	s := startStandIn(t)
	s.know(badClient, 100, 60)
	app := startBackend(t)
	c := limiting(t, s)
	c.next = []any{proxyTo(app.Server)}
	c.server = object{"errors": object{"routes": []any{object{"handle": []any{object{
		"handler": "static_response", "body": "slower, please: {http.error.status_code} {http.ip_reputation.request_id} {http.ip_reputation.action}",
	}}}}}}
	r := startCaddy(t, c)
	refused := r.metric(t, `requests_total{action="limit",mode="enforce",status="fresh"}`)
	began := time.Now()
	for n := range 3 {
		if got := r.visit(t, badClient); got.status != http.StatusAccepted || got.header.Get("RateLimit") != "" {
			t.Errorf("visit %d: %d, %v", n, got.status, got.header)
		}
		wantTold(t, app.only(t), map[string]string{
			"Score": "88", "Status": "fresh", "Action": "pass", "Coverage": "1.00", "Country": "NL", "Nature": "hosting",
			"Categories": "abuse", "Reasons": "abuseipdb;points=28.8",
		})
	}
	got := r.visit(t, badClient)
	app.none(t)
	if got.status != http.StatusTooManyRequests {
		t.Fatalf("the fourth visit is answered with %d", got.status)
	}
	for name, want := range map[string]string{
		"Retry-After":      `^1[12][0-9]{2}$`,
		"RateLimit-Policy": `^"rule-1";q=3;w=3600$`,
		"RateLimit":        `^"rule-1";r=0;t=1[12][0-9]{2}$`,
		"X-Request-Id":     `^[0-9a-f]{32}$`,
	} {
		if value := got.header.Get(name); !regexp.MustCompile(want).MatchString(value) {
			t.Errorf("%s is %q, want %s", name, value, want)
		}
	}
	after, _ := strconv.Atoi(got.header.Get("Retry-After"))
	if least := 1199 - int(time.Since(began)/time.Second); after < least || after > 1200 {
		t.Errorf("Retry-After is %d, want %d to 1200", after, least)
	}
	if want := "slower, please: 429 " + got.header.Get("X-Request-Id") + " limit"; got.body != want {
		t.Errorf("the page says %q, want %q", got.body, want)
	}
	if n := r.metric(t, `requests_total{action="limit",mode="enforce",status="fresh"}`) - refused; n != 1 {
		t.Errorf("%v requests are counted as limited, want 1", n)
	}
	for n := range 6 {
		want := http.StatusAccepted
		if n == 5 {
			want = http.StatusTooManyRequests
		}
		if got := r.visit(t, "198.51.100.1"); got.status != want {
			t.Errorf("visit %d of somebody else is answered with %d", n, got.status)
		}
	}
	if got := r.visit(t, "198.51.100.2"); got.status != http.StatusAccepted {
		t.Errorf("a third visitor is answered with %d", got.status)
	}
}

// TestALimitObserved proves that a site which observes says what would have happened, and lets everybody pass.
func TestALimitObserved(t *testing.T) {
	s := startStandIn(t)
	app := startBackend(t)
	c := limiting(t, s)
	c.handler["mode"] = "observe"
	c.next = []any{proxyTo(app.Server)}
	r := startCaddy(t, c)
	for n := range 7 {
		got := r.visit(t, "198.51.100.1")
		want := "pass;mode=observe"
		if n >= 5 {
			want = "limit;mode=observe"
		}
		if told := app.only(t).told()["Action"]; told != want || got.status != http.StatusAccepted || got.header.Get("Retry-After") != "" {
			t.Errorf("visit %d: %d, the application is told %q, want %q", n, got.status, told, want)
		}
	}
}

// TestObservingTakesNothing proves that visits to a site which observes do not count against a visitor of one that enforces,
// although both have the same limit.
func TestObservingTakesNothing(t *testing.T) {
	s := startStandIn(t)
	c := newConfig(t)
	c.ask(s)
	c.handler["rules"] = []any{object{"action": "limit", "limit": "2/1h"}}
	c.handler["mode"] = "observe"
	r := startCaddy(t, c)
	for range 5 {
		r.visit(t, "198.51.100.1")
	}
	c.handler["mode"] = "enforce"
	r.reload(t)
	if got := r.visit(t, "198.51.100.1"); got.status != http.StatusOK {
		t.Errorf("the first visit that counts is answered with %d", got.status)
	}
}

// TestWhoIsLimited proves that IPv6 is limited by /64, that exempt visitors are not limited, that banned ones are not let in,
// and that a key counts where there is one.
func TestWhoIsLimited(t *testing.T) {
	s := startStandIn(t)
	c := newConfig(t)
	c.ask(s)
	c.handler["rules"] = []any{object{"action": "limit", "limit": "3/1h", "key": "{http.request.header.X-Api-Key}"}}
	c.handler["exempt"] = []any{"198.51.100.7"}
	r := startCaddy(t, c)
	visit := func(client, key string) int {
		t.Helper()
		h := http.Header{"X-Forwarded-For": {client}}
		if key != "" {
			h.Set("X-Api-Key", key)
		}
		return send(t, http.MethodGet, r.site+"/", "", h).status
	}
	through := func(n int, client func(int) string, key string) (passed int) {
		t.Helper()
		for i := range n {
			if visit(client(i), key) == http.StatusOK {
				passed++
			}
		}
		return passed
	}
	same := func(client string) func(int) string { return func(int) string { return client } }
	for name, tc := range map[string]struct {
		client func(int) string
		key    string
		want   int
	}{
		"one address":            {same("198.51.100.1"), "", 3},
		"a /64":                  {func(i int) string { return fmt.Sprintf("2001:db8:7:7::%d", i+1) }, "", 3},
		"many /64":               {func(i int) string { return fmt.Sprintf("2001:db8:7:%d::1", 100+i) }, "", 6},
		"many addresses, a key":  {func(i int) string { return fmt.Sprintf("198.51.100.%d", 20+i) }, "a-secret-key", 3},
		"another key":            {same("198.51.100.1"), "another", 3},
		"an exempt address":      {same("198.51.100.7"), "", 6},
		"a private address":      {same("10.1.2.3"), "", 6},
		"an address and no key":  {same("198.51.100.40"), " ", 3},
		"mapped to IPv6 and not": {func(i int) string { return []string{"198.51.100.50", "::ffff:198.51.100.50"}[i%2] }, "", 3},
	} {
		t.Run(name, func(t *testing.T) {
			if n := through(6, tc.client, tc.key); n != tc.want {
				t.Errorf("%d of 6 requests are let through, want %d", n, tc.want)
			}
		})
	}
	c.handler["rules"] = []any{object{"action": "limit", "limit": "3/1h", "key": "{http.request.header.X-Tenant} {http.ip_reputation.subject}"}}
	r.reload(t)
	for _, tenant := range []string{"a", "b"} {
		h := http.Header{"X-Forwarded-For": {"2001:db8:9:9::1"}, "X-Tenant": {tenant}}
		for range 3 {
			if got := send(t, http.MethodGet, r.site+"/", "", h); got.status != http.StatusOK {
				t.Errorf("tenant %s is answered with %d", tenant, got.status)
			}
		}
		h.Set("X-Forwarded-For", "2001:db8:9:9::2") // of the same /64
		if got := send(t, http.MethodGet, r.site+"/", "", h); got.status != http.StatusTooManyRequests {
			t.Errorf("the fourth request for tenant %s is answered with %d", tenant, got.status)
		}
	}
	r.ask(t, http.MethodPost, "bans", `{"prefix": "198.51.100.60"}`)
	if status := visit("198.51.100.60", ""); status != http.StatusForbidden {
		t.Errorf("a banned visitor is answered with %d: the limit let it in", status)
	}
	if strings.Contains(r.logs(t), "a-secret-key") {
		t.Error("the log shows a key")
	}
}

// TestALimitOutlivesReloads proves that a reload gives nobody a new start, unless the rule has changed.
func TestALimitOutlivesReloads(t *testing.T) {
	s := startStandIn(t)
	c := newConfig(t)
	c.ask(s)
	c.handler["rules"] = []any{object{"action": "limit", "limit": "2/1h", "country": []any{"NL"}}}
	r := startCaddy(t, c)
	const client = "198.51.100.90"
	for range 2 {
		r.visit(t, client)
		r.reload(t)
	}
	if got := r.visit(t, client); got.status != http.StatusTooManyRequests {
		t.Errorf("after a reload, the third of two requests is answered with %d", got.status)
	}
	c.handler["rules"] = []any{object{"action": "limit", "limit": "20/1h", "country": []any{"NL"}}}
	r.reload(t)
	if got := r.visit(t, client); got.status != http.StatusOK {
		t.Errorf("with another limit, a request is answered with %d", got.status)
	}
}

// TestRulesOnRequests proves, over a real connection and in front of a rewrite, that rules ask for the path, method and
// header that the client has sent, and that the log and the admin API name them.
func TestRulesOnRequests(t *testing.T) {
	const client = "198.51.100.30"
	c := newConfig(t)
	c.handler["rules"] = []any{
		object{"action": "block", "method": []any{"POST"}, "path": []any{"/login"}, "header": object{"Sec-Fetch-Site": []any{"cross-site"}}},
		object{"action": "block", "status_code": 451, "path": []any{"/admin/*"}, "network": []any{"198.51.100.0/24"}},
		object{"action": "limit", "limit": "1/1h", "path": []any{"/search"}},
	}
	c.next = []any{
		object{"handler": "rewrite", "uri": "/admin/rewritten"},
		object{"handler": "static_response", "body": "{http.ip_reputation.network}"},
	}
	r := startCaddy(t, c)
	ask := func(client, method, path, site string) reply {
		t.Helper()
		return r.requestBy(t, method, client, path, "Sec-Fetch-Site: "+site)
	}
	for _, tc := range []struct {
		client, method, path, site string
		want                       int
	}{
		{client, http.MethodPost, "/login", "cross-site", 403},
		{client, http.MethodPost, "/login?a=b", "cross-site", 403},
		{client, http.MethodPost, "//x/../LOGIN", "cross-site", 403},
		{client, http.MethodGet, "/login", "cross-site", 200},
		{client, http.MethodPost, "/login", "same-origin", 200},
		{client, http.MethodGet, "/admin/users", "none", 451},
		{client, http.MethodGet, "/%61dmin/users", "none", 451},
		{"192.0.2.30", http.MethodGet, "/admin/users", "none", 200},
		{client, http.MethodGet, "/search", "none", 200},
		{client, http.MethodGet, "/search", "none", 429},
		{client, http.MethodGet, "/", "none", 200},
	} {
		got := ask(tc.client, tc.method, tc.path, tc.site)
		if got.status != tc.want {
			t.Errorf("%+v: answered with %d", tc, got.status)
		}
		if got.status == http.StatusOK && tc.client == client && got.body != "198.51.100.0/24" {
			t.Errorf("%+v: the network is %q", tc, got.body)
		}
	}
	const text = "block method POST path /login header Sec-Fetch-Site cross-site"
	id := ask(client, http.MethodPost, "/login", "cross-site").header.Get("X-Request-Id")
	if page := r.run(t, "check", id); !strings.Contains(page, text) {
		t.Errorf("check of the request does not name the rule:\n%s", page)
	}
	if !strings.Contains(r.logs(t), `"decided_by":"`+text+`"`) {
		t.Error("the log does not name the rule")
	}
}

// TestALimitByNetwork proves that addresses of a network, or of an autonomous system, use up one limit, and that Caddy
// warns where no source knows such systems.
func TestALimitByNetwork(t *testing.T) {
	database := filepath.Join(t.TempDir(), "asn.mmdb")
	if err := os.WriteFile(database, testenv.MMDB{Networks: []testenv.Network{
		{Prefix: "203.0.113.0/24", Record: map[string]any{"asn": "AS64500"}}, {Prefix: "192.0.2.0/24", Record: map[string]any{"asn": "AS64500"}},
	}}.Bytes(t), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newConfig(t)
	c.app["mmdb"] = []any{object{"file": database}}
	limitBy := func(by string) { c.handler["rules"] = []any{object{"action": "limit", "limit": "2/1h", "by": by}} }
	limitBy("network")
	r := startCaddy(t, c)
	answers := func(by, client string, want ...int) {
		t.Helper()
		for i, status := range want {
			if got := r.visit(t, fmt.Sprintf(client, i+1)).status; got != status {
				t.Errorf("by %s, %s %d: answered with %d, want %d", by, client, i+1, got, status)
			}
		}
	}
	answers("network", "198.51.100.%d", 200, 200, 429)
	answers("network", "2001:db8:5:%d::1", 200, 200, 429)
	answers("network", "2001:db8:%d::1", 200, 200, 200)
	limitBy("asn")
	r.reload(t)
	answers("asn", "203.0.113.%d", 200, 200, 429)
	answers("asn", "192.0.2.%d", 429)
	answers("asn", "198.51.100.%d", 200, 200, 429)
	limitBy("/24,/56")
	r.reload(t)
	answers("/24,/56", "2001:db8:6:%d::1", 200, 200, 429)
	answers("/24,/56", "2001:db8:6:10%d::1", 200, 200, 429)
	const warning = "a limit by asn counts by network"
	if strings.Contains(r.logs(t), warning) {
		t.Errorf("the log warns although a database knows the systems")
	}
	limitBy("asn")
	delete(c.app, "mmdb")
	r.reload(t)
	if !strings.Contains(r.logs(t), warning) {
		t.Errorf("the log does not warn")
	}
}
