package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// The clients of these tests. The published ranges hold the first; the second has a name of Googlebot that leads back.
const (
	rangeClient = "203.0.113.10"
	namedClient = "203.0.113.66"
	otherClient = "203.0.113.77"
	farClient   = "198.51.100.9"

	googlebot = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
	browser   = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
)

// publishRanges serves the published ranges of bots: Googlebot's and Claude's in the form that most use, uptime
// robots' as text.
func publishRanges(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/common-crawlers.json":
			fmt.Fprint(w, `{"creationTime": "2026-11-29T15:00:00.000000", "prefixes": [`+
				`{"ipv6Prefix": "2001:db8:4801:10::/64"}, {"ipv4Prefix": "203.0.113.0/27"}]}`)
		case "/bots.json":
			fmt.Fprint(w, `{"creationTime": "2026-11-29T15:00:00Z", "prefixes": [{"ipv4Prefix": "203.0.113.32/30"}]}`)
		case "/IPv4andIPv6.txt":
			fmt.Fprint(w, "203.0.113.40\n2001:db8:40::1\n")
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// botsConfig exempts three bots, and denies the cloud that all clients of these tests but one are in.
func botsConfig(t *testing.T) (*config, *testenv.DNS) {
	t.Helper()
	d := testenv.ServeDNS(t)
	d.Name(namedClient, map[string][]string{"crawl-66.googlebot.com": {namedClient}})
	d.Name(otherClient, map[string][]string{"vm-77.bc.googleusercontent.com": {otherClient}})
	from := publishRanges(t)
	c := newConfig(t)
	c.app["deny"] = []any{"203.0.113.0/24"}
	c.app["verified_bots"] = object{
		"exempt":    []any{"googlebot", "claudebot", "uptimerobot"},
		"resolvers": []any{d.Addr},
		"ranges": object{
			"googlebot":   []any{from + "/common-crawlers.json"},
			"claudebot":   []any{from + "/bots.json"},
			"uptimerobot": []any{from + "/IPv4andIPv6.txt"},
		},
	}
	c.next = []any{object{"handler": "static_response", "body": "bot={http.ip_reputation.bot} " +
		"header={http.request.header.X-IP-Reputation-Bot} {http.ip_reputation.status} {http.ip_reputation.reasons}"}}
	return c, d
}

// visitAs requests the site's first page as a client with a user agent, which names a bot in our header, too.
func (r *running) visitAs(tb testing.TB, client, userAgent string) reply {
	tb.Helper()
	return send(tb, http.MethodGet, r.site+"/", "", http.Header{
		"X-Forwarded-For": {client}, "User-Agent": {userAgent}, "X-Ip-Reputation-Bot": {"forged"},
	})
}

// awaitBots waits until all ranges are loaded.
func (r *running) awaitBots(tb testing.TB) {
	tb.Helper()
	for _, name := range []string{"bot_googlebot", "bot_anthropic", "bot_uptimerobot"} {
		eventually(tb, name+" is loaded", func() bool { return r.metric(tb, `feed_entries{feed="`+name+`"}`) > 0 })
	}
}

// TestVerifiedBots proves that a site which denies a cloud still lets the bots pass that are in it, and nobody else.
func TestVerifiedBots(t *testing.T) {
	c, _ := botsConfig(t)
	r := startCaddy(t, c)
	r.awaitBots(t)
	for _, tc := range []struct {
		client, userAgent string
		status            int
		body              string
	}{
		{rangeClient, googlebot, http.StatusOK, "bot=googlebot header=googlebot exempt "},
		{"2001:db8:4801:10::5", googlebot, http.StatusOK, "bot=googlebot header=googlebot exempt "},
		{namedClient, googlebot, http.StatusOK, "bot=googlebot header=googlebot exempt "},
		{"203.0.113.33", "ClaudeBot/1.0", http.StatusOK, "bot=claudebot header=claudebot exempt "},
		{"203.0.113.40", "UptimeRobot/2.0", http.StatusOK, "bot=uptimerobot header=uptimerobot exempt "},

		{rangeClient, browser, http.StatusForbidden, ""}, // an address alone is no bot
		{rangeClient, "ClaudeBot/1.0", http.StatusForbidden, ""},
		{namedClient, browser, http.StatusForbidden, ""},
		{otherClient, googlebot, http.StatusForbidden, ""},
		{farClient, googlebot, http.StatusOK, "bot= header= fresh fake_bot;points=14.0"},
		{farClient, "ClaudeBot/1.0", http.StatusOK, "bot= header= fresh fake_bot;points=14.0"},
		{farClient, browser, http.StatusOK, "bot= header= unknown "}, // the fake one's neighbour behind the address
	} {
		got := r.visitAs(t, tc.client, tc.userAgent)
		if got.status != tc.status || tc.body != "" && got.body != tc.body {
			t.Errorf("%s as %.40s: %d %q, want %d %q", tc.client, tc.userAgent, got.status, got.body, tc.status, tc.body)
		}
	}
	for outcome, want := range map[string]float64{"verified": 5, "fake": 4} {
		if got := r.metric(t, `bot_claims_total{outcome="`+outcome+`"}`); got < want {
			t.Errorf("%v claims are %s, want %v", got, outcome, want)
		}
	}
	if log := r.logs(t); !strings.Contains(log, `"list in force"`) {
		t.Error("the lists are not in the log")
	}
	status := r.run(t, "status")
	for _, want := range []string{"bots", "3 verified, 3 of them exempt", "of bot_googlebot"} {
		if !strings.Contains(status, want) {
			t.Errorf("status is without %q:\n%s", want, status)
		}
	}
	for _, tc := range []struct{ client, userAgent, want string }{
		{rangeClient, googlebot, "the ranges of googlebot hold the address"},
		{namedClient, googlebot, "crawl-66.googlebot.com, which leads back"},
		{otherClient, googlebot, "vm-77.bc.googleusercontent.com; none of *.googlebot.com leads back"},
	} {
		if page := r.run(t, "check", tc.client, "--fresh", "--user-agent", tc.userAgent); !strings.Contains(page, tc.want) {
			t.Errorf("the check of %s is without %q:\n%s", tc.client, tc.want, page)
		}
	}
}

// TestBotsWithoutExemption proves that a bot which is verified and not exempt has points in its favour, and that the
// operator's own deny list is the stronger one.
func TestBotsWithoutExemption(t *testing.T) {
	c, d := botsConfig(t)
	settings := c.app["verified_bots"].(object)
	settings["bots"], settings["exempt"] = settings["exempt"], []any{"claudebot"}
	delete(c.app, "deny")
	c.app["feeds"] = []any{object{"name": "bad", "sources": []any{"203.0.113.0/24"}, "category": []any{"botnet_c2"}}}
	r := startCaddy(t, c)
	r.awaitBots(t)
	d.Name("203.0.113.67", map[string][]string{"crawl-67.googlebot.com": {"203.0.113.67"}})
	for _, tc := range []struct{ client, userAgent, body string }{
		{rangeClient, googlebot, "bot=googlebot header=googlebot fresh verified_bots;points=-60.0;bot=googlebot, bad;points=12.0"},
		{"203.0.113.67", googlebot, "bot=googlebot header=googlebot fresh verified_bots;points=-60.0;bot=googlebot, bad;points=12.0"},
		{rangeClient, browser, "bot= header= fresh bad;points=12.0"},
	} {
		if got := r.visitAs(t, tc.client, tc.userAgent); got.body != tc.body {
			t.Errorf("%s as %.40s: %d %q, want %q", tc.client, tc.userAgent, got.status, got.body, tc.body)
		}
	}
	c.app["deny"] = []any{rangeClient}
	r.reload(t)
	if got := r.visitAs(t, rangeClient, googlebot); got.status != http.StatusForbidden {
		t.Errorf("a denied bot: %d %q", got.status, got.body)
	}
}
