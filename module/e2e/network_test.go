package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// TestTheNetworkSpeaksForAnAddress proves that once a network has used its share, the reasons have what the service said of
// its other addresses. They are marked, speak only against the client, have no category, and outlive a reload. If an
// operator asks about the client, the service is asked, and its answer replaces them.
func TestTheNetworkSpeaksForAnAddress(t *testing.T) {
	s := startStandIn(t)
	c := newConfig(t)
	c.ask(s)
	p := c.app["providers"].([]any)[0].(object)
	p["quota"], p["burst"] = []any{"100/month"}, 1 // a tenth for each network
	c.handler["mode"], c.handler["headers"] = "observe", "full"
	c.handler["rules"] = []any{
		object{"action": "block", "category": []any{"abuse"}}, object{"action": "block", "source": []any{"abuseipdb"}},
	}
	c.next = []any{object{
		"handler": "static_response",
		"body": "{http.ip_reputation.status} {http.ip_reputation.score} {http.ip_reputation.action} " +
			"{http.ip_reputation.reasons}",
	}}
	r := startCaddy(t, c)
	for i := range 10 {
		addr := fmt.Sprintf("203.0.113.%d", i)
		s.know(addr, 100, 60)
		if got := r.visit(t, addr).body; !strings.HasPrefix(got, "fresh 88 block") {
			t.Fatalf("%s: %s", addr, got)
		}
	}
	const client = "203.0.113.200"
	wantSpokenFor := func(when string) {
		t.Helper()
		got := r.visit(t, client).body
		if !strings.HasPrefix(got, "unknown 12 pass abuseipdb;points=11.5") || !strings.HasSuffix(got, ";network") {
			t.Errorf("%s: %s", when, got)
		}
	}
	r.visit(t, client) // so that an age is seen
	eventually(t, "the answers have an age", func() bool { return strings.Contains(r.visit(t, client).body, ";age=") })
	wantSpokenFor("at first")
	if got := r.run(t, "check", client); !strings.Contains(got, "abuseipdb, of others of its network, asked ") ||
		!strings.Contains(got, "never answered; what it said of 4 others of the network counts a little") ||
		!strings.Contains(got, "203.0.113.0/24 has used its share of the calls (network_share)") {
		t.Errorf("check says\n%s", got)
	}
	if got := r.visit(t, "198.51.100.200").body; got != "fresh 1 block abuseipdb;points=-2.0" {
		t.Errorf("a visitor of another network: %s", got)
	}
	r.reload(t)
	// what was said of the network is learnt in the background, one address after another
	eventually(t, "all of it is known after a reload", func() bool {
		return strings.Contains(r.visit(t, client).body, "points=11.5")
	})
	wantSpokenFor("after a reload")
	if n := s.asked(); n != 11 {
		t.Errorf("%d questions, want 11", n)
	}
	r.ask(t, http.MethodGet, "check/"+client+"?fresh", "")
	if got := r.visit(t, client).body; got != "fresh 1 block abuseipdb;points=-2.0" || s.asked(client) != 1 {
		t.Errorf("its own answer: %s, %d questions", got, s.asked(client))
	}
}

// TestOneNetworkAndAFleet proves that a network has no more than its share at each of the instances that share a Redis,
// that none asks what another has asked, and that a visitor from elsewhere is asked about at once. `go test -v` prints
// the numbers.
func TestOneNetworkAndAFleet(t *testing.T) {
	const clients = 500
	s := startStandIn(t)
	redis := testenv.Redis(t)
	instances := fleet(t, 2, redis.Addr, s, func(c *config) {
		p := c.app["providers"].([]any)[0].(object)
		p["quota"], p["burst"] = []any{"1000/month"}, 1
	})
	for name, client := range map[string]func(int) string{
		"/64s of a /48":      func(i int) string { return fmt.Sprintf("2001:db8:bad:%x::1", i%clients) },
		"addresses of a /24": func(i int) string { return fmt.Sprintf("203.0.113.%d", i%256) },
	} {
		before := s.asked()
		answers := crowd(t, instances, 2*clients, 32, client)
		n := s.asked() - before
		t.Logf("%d requests of %s: %d questions of two instances, %v", 2*clients, name, n, answers)
		if n < 20 || n > 40 {
			t.Errorf("%s: %d questions, want 20 of each instance at most", name, n)
		}
	}
	for i, p := range instances {
		if got := p.visit(t, fmt.Sprintf("198.51.%d.1", i)).body; got != "fresh 1" {
			t.Errorf("a visitor from elsewhere: %q", got)
		}
	}
}
