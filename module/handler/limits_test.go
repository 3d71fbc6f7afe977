package handler

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/limit"
)

// refusing is a store in which other instances have used every limit up.
type refusing struct{}

func (refusing) TakeTokens(_ context.Context, b limit.Batch) (bool, time.Duration, error) {
	time.Sleep(5 * time.Millisecond)
	return false, b.Rate.Per, nil
}

// TestLimitAfterSlowHandlers proves that a limit waits for the other instances' counts, however long handlers between the
// look-up and the limit took: only the look-up's own wait counts.
func TestLimitAfterSlowHandlers(t *testing.T) {
	ctx := testContext(t)
	h := loadHandler(t, ctx, object{"mode": "enforce", "rules": []any{object{"action": "limit", "limit": "1/1m"}}})
	m := loadModule(t, ctx, "http.matchers.ip_reputation", object{"score": "85"}).(*MatchIPReputation)
	request := prepared(t, cleanAddr)
	synctest.Test(t, func(t *testing.T) {
		limiter := limit.New(limit.NewLocal(1), refusing{}, limit.Options{})
		defer limiter.Close()
		before := h.runtime.Limiter
		h.runtime.Limiter = limiter
		defer func() { h.runtime.Limiter = before }()
		r := request()
		if _, err := m.MatchWithError(r); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // a forward_auth
		if got := serve(h, r); got.Code != http.StatusTooManyRequests {
			t.Errorf("got %d, want 429", got.Code)
		}
	})
}

// TestPreflightsAreNotCounted proves that CORS preflights, and nothing that only looks like one, pass a limit that is used
// up, and no block.
func TestPreflightsAreNotCounted(t *testing.T) {
	const origin, method = "Origin", "Access-Control-Request-Method"
	ctx := testContext(t)
	h := loadHandler(t, ctx, object{"mode": "enforce", "rules": []any{object{"action": "limit", "limit": "1/1h"}}})
	ask := func(client, verb string, header ...string) int {
		r := prepared(t, client)()
		r.Method = verb
		for _, name := range header {
			r.Header.Set(name, "GET")
		}
		return serve(h, r).Code
	}
	for range 3 {
		if got := ask(listedAddr, http.MethodOptions, origin, method); got != http.StatusNoContent {
			t.Errorf("a preflight got %d", got)
		}
	}
	if got := ask(listedAddr, http.MethodGet); got != http.StatusNoContent {
		t.Errorf("the first request got %d", got)
	}
	for name, tc := range map[string]struct {
		client, verb string
		header       []string
		want         int
	}{
		"a preflight":                    {listedAddr, http.MethodOptions, []string{origin, method}, 204},
		"without an origin":              {listedAddr, http.MethodOptions, []string{method}, 429},
		"without a method":               {listedAddr, http.MethodOptions, []string{origin}, 429},
		"another method":                 {listedAddr, http.MethodGet, []string{origin, method}, 429},
		"a preflight of a denied client": {deniedAddr, http.MethodOptions, []string{origin, method}, 403},
	} {
		if got := ask(tc.client, tc.verb, tc.header...); got != tc.want {
			t.Errorf("%s: got %d, want %d", name, got, tc.want)
		}
	}
}

// TestWhoCountsTogether proves what a client is counted by, and that all spellings of the same have the same counts.
func TestWhoCountsTogether(t *testing.T) {
	const v4, v6 = "203.0.113.7", "2001:db8:1:2fff::1"
	for _, tc := range []struct{ by, v4, v6, known string }{
		{"", "203.0.113.7", "2001:db8:1:2fff::/64", "203.0.113.7"},
		{"network", "203.0.113.0/24", "2001:db8:1::/48", "203.0.113.0/24"},
		{"asn", "203.0.113.0/24", "2001:db8:1::/48", "AS64500"},
		{"/56", "203.0.113.7", "2001:db8:1:2f00::/56", "203.0.113.7"},
		{"/24", "203.0.113.0/24", "2001:db8:1:2fff::/64", "203.0.113.0/24"},
		{"/24,/48", "203.0.113.0/24", "2001:db8:1::/48", "203.0.113.0/24"},
		{"/33,/8", "203.0.0.0/8", "2001:db8::/33", "203.0.0.0/8"},
		{"/64,/32", "203.0.113.7", "2001:db8:1:2fff::/64", "203.0.113.7"},
	} {
		by, err := parseBy(tc.by)
		if err != nil {
			t.Fatal(err)
		}
		for _, client := range []struct {
			addr string
			asn  uint32
			want string
		}{{v4, 0, tc.v4}, {v6, 0, tc.v6}, {v4, 64500, tc.known}} {
			if got := by.subject(netip.MustParseAddr(client.addr), client.asn).String(); got != client.want {
				t.Errorf("by %q, %s in AS%d: counted by %s, want %s", tc.by, client.addr, client.asn, got, client.want)
			}
		}
		if got := by.subject(netip.Addr{}, 0); got != (limit.Subject{}) {
			t.Errorf("by %q, no address: counted by %s", tc.by, got)
		}
	}
	for text, want := range map[string]string{
		"subnet": `by "subnet": use network (IPv4 /24, IPv6 /48), asn, or lengths of prefixes as in /56 or /24,/56`, "56": `by "56": use network`,
		"/": `by "/": use network`, "/24,": `by "/24,": use network`, "network,/56": `by "network,/56": use network`, "/-8": "use network",
		"/128": "by /128: use a length from /8 to /32 for IPv4, or from /33 to /64 for IPv6", "/7": "by /7: use a length",
		"/24,/28": "by /24,/28 has two lengths for one family: use one up to /32 for IPv4", "/48,/56": "has two lengths for one family",
	} {
		if _, err := parseBy(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("by %s: error %v, want %s", text, err, want)
		}
	}
}

// TestLimitsCountApart proves which rules share their counts.
func TestLimitsCountApart(t *testing.T) {
	id := func(change func(*Rule)) uint64 {
		r := Rule{Action: "limit", Limit: "10/1m"}
		change(&r)
		l, err := r.limited(1, "enforce")
		if err != nil {
			t.Fatal(err)
		}
		return l.ID()
	}
	path := func(p string) func(*Rule) { return func(r *Rule) { r.Path = []string{p} } }
	by := func(text string) func(*Rule) { return func(r *Rule) { r.By = text } }
	plain := id(func(*Rule) {})
	if plain != 0xf6e70f4a5dc3a3d2 {
		t.Errorf("a limit without conditions has the identity %#x: instances of other versions count it apart", plain)
	}
	seen := map[uint64]string{plain: "plain"}
	for name, change := range map[string]func(*Rule){
		"path": path("/login"), "another path": path("/search"), "by network": by("network"), "by asn": by("asn"), "by /56": by("/56"),
		"method":  func(r *Rule) { r.Method = []string{"POST"} },
		"header":  func(r *Rule) { r.Header = map[string][]string{"Origin": nil} },
		"network": func(r *Rule) { r.Network = []string{"203.0.113.0/24"} },
	} {
		n := id(change)
		if other, ok := seen[n]; ok {
			t.Errorf("%s counts with %s", name, other)
		}
		seen[n] = name
	}
	for a, b := range map[string]string{"network": "/24,/48", "/24,/56": "/56,/24", "": "/64"} {
		if id(by(a)) != id(by(b)) {
			t.Errorf("by %q and by %q count apart", a, b)
		}
	}
}

// TestLimitByNetwork proves that addresses of a network use up one limit, early data a limit of its own.
func TestLimitByNetwork(t *testing.T) {
	h := loadHandler(t, testContext(t), object{"mode": "enforce", "rules": []any{object{"action": "limit", "limit": "2/1h", "by": "network"}}})
	for _, tc := range []struct {
		addr string
		want int
	}{
		{"192.0.2.1", 204}, {"192.0.2.2", 204}, {"192.0.2.3", 429}, {"2001:db8:1:1::1", 204}, {"2001:db8:1:2::1", 204},
		{"2001:db8:1:3::1", 429}, {"2001:db8:2::1", 204}, {exemptAddr, 204}, {"10.0.0.1", 204}, {"10.0.0.2", 204}, {"10.0.0.3", 204},
	} {
		if got := serve(h, prepared(t, tc.addr)()); got.Code != tc.want {
			t.Errorf("%s: got %d, want %d", tc.addr, got.Code, tc.want)
		}
	}
	for i, want := range []int{204, 204, 425} {
		if got := serve(h, inEarlyData(t, "192.0.2."+strconv.Itoa(10+i))); got.Code != want {
			t.Errorf("early request %d: got %d, want %d", i+1, got.Code, want)
		}
	}
}
