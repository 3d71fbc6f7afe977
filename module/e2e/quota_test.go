package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// budget is a site whose provider may be asked a few times only. The window is long, so that its end does not fall into the
// test.
func budget(t *testing.T, s *standIn, quota string) *config {
	t.Helper()
	c := newConfig(t)
	c.ask(s)
	c.app["providers"].([]any)[0].(object)["quota"] = []any{quota}
	c.next = []any{object{"handler": "static_response", "body": "{http.ip_reputation.status}"}}
	return c
}

// remaining is the series of what is left of the quota.
const remaining = `provider_quota_remaining{provider="abuseipdb",window="month"}`

// TestTheQuotaIsKept proves promise 5: no more calls than the plan includes, whatever the number of visitors, and neither a
// reload nor a failed one nor a stop forgets what was spent.
func TestTheQuotaIsKept(t *testing.T) {
	s := startStandIn(t)
	c := budget(t, s, "5/month")
	r := startCaddy(t, c)
	before := r.outcomes(t)
	next := 0
	visit := func(n int) (statuses map[string]int) {
		t.Helper()
		statuses = map[string]int{}
		for range n {
			next++
			got := r.visit(t, fmt.Sprintf("198.51.100.%d", next))
			if got.status != http.StatusOK {
				t.Errorf("visitor %d is answered with status %d", next, got.status)
			}
			statuses[got.body]++
		}
		return statuses
	}

	if got := visit(3); got["fresh"] != 3 {
		t.Errorf("within the quota the statuses are %v", got)
	}
	r.reload(t)
	if left := r.metric(t, remaining); left != 2 {
		t.Errorf("after a reload %v calls are left, want 2", left)
	}
	if got := visit(47); got["fresh"] != 2 || got["unknown"] != 45 {
		t.Errorf("at the end of the quota the statuses are %v", got)
	}
	if n := s.asked(); n != 5 {
		t.Errorf("%d calls about 50 addresses, want 5", n)
	}
	if got := r.outcomesSince(t, before); got["ok"] != 5 || got["skipped_quota"] != 45 {
		t.Errorf("counted %v", got)
	}

	good := c.app["memory"]
	c.app["memory"] = -1
	if r.tryReload(t) == nil {
		t.Fatal("a wrong configuration was accepted")
	}
	c.app["memory"] = good
	visit(10)
	r.reload(t)
	visit(10)
	r.stop(t)
	r = startCaddy(t, c)
	visit(10)
	if n := s.asked(); n != 5 {
		t.Errorf("%d calls in the end, want 5", n)
	}
	if left := r.metric(t, remaining); left != 0 {
		t.Errorf("%v calls are left", left)
	}
	// a larger quota acts at once, and counts what was spent
	c.app["providers"].([]any)[0].(object)["quota"] = []any{"7/month"}
	r.reload(t)
	if got := visit(10); got["fresh"] != 2 || s.asked() != 7 {
		t.Errorf("with a larger quota the statuses are %v, %d calls", got, s.asked())
	}
}

// TestTheQuotaSurvivesTheProcess proves it for a process that ends, in order or, once the count is on disk, not.
func TestTheQuotaSurvivesTheProcess(t *testing.T) {
	s := startStandIn(t)
	c := budget(t, s, "5/month")
	file := filepath.Join(c.dataDir, "caddy", "ip_reputation", "quota.json")
	for i, signal := range []os.Signal{os.Interrupt, os.Kill, os.Interrupt} {
		p := startProcess(t, c)
		for n := range 3 {
			p.visit(t, fmt.Sprintf("198.51.100.%d", 10*i+n))
		}
		if signal == os.Kill {
			eventually(t, "the count is on disk", func() bool {
				text, err := os.ReadFile(file)
				return err == nil && strings.Contains(string(text), `"used": 5`)
			})
		}
		p.end(signal)
	}
	if n := s.asked(); n != 5 {
		t.Errorf("%d calls in three processes, want 5", n)
	}
}

// TestACrowdIsAnswered proves that of visitors who come all at once, those who find the provider busy are not forgotten: it
// is asked about them when they come again a moment later.
func TestACrowdIsAnswered(t *testing.T) {
	const crowd = 50
	s, _, release := startGated(t)
	c := budget(t, s, "100000/day") // at midnight, too, so many that they are not short
	c.app["providers"].([]any)[0].(object)["timeout"] = "30s"
	c.app["wait"] = "10ms"
	r := startCaddy(t, c)
	visit := func(i int) string { return r.visit(t, fmt.Sprintf("198.51.%d.1", i)).body } // of many networks
	for i := range crowd {
		if got := visit(i); got != "pending" && got != "unknown" {
			t.Errorf("before the provider has answered, visitor %d is %s", i, got)
		}
	}
	release()
	for i := range crowd {
		eventually(t, "the provider is asked about all of them", func() bool { return visit(i) == "fresh" })
	}
	if n := s.asked(); n != crowd {
		t.Errorf("%d calls about %d visitors", n, crowd)
	}
}

// TestOneNetworkDoesNotSpendTheQuota proves promise 13 for the quota: whoever has a network and changes addresses in it uses
// a share, and the visitors of other networks are asked about.
func TestOneNetworkDoesNotSpendTheQuota(t *testing.T) {
	s := startStandIn(t)
	c := budget(t, s, "100/month")
	c.app["providers"].([]any)[0].(object)["burst"] = 1
	r := startCaddy(t, c)
	for name, address := range map[string]string{"a /48": "2001:db8:bad:%x::1", "a /24": "203.0.113.%d"} {
		statuses := map[string]int{}
		for i := range 60 {
			statuses[r.visit(t, fmt.Sprintf(address, i)).body]++
		}
		if statuses["fresh"] != 10 || statuses["unknown"] != 50 {
			t.Errorf("%s that rotates: %v, want a tenth of the quota", name, statuses)
		}
	}
	r.reload(t)
	if got := r.visit(t, "2001:db8:bad:ffff::1").body; got != "unknown" {
		t.Errorf("after a reload it has another share: %s", got)
	}
	for i := range 20 {
		if got := r.visit(t, fmt.Sprintf("198.51.%d.1", i)).body; got != "fresh" {
			t.Errorf("a visitor of another network is %s", got)
		}
	}
	if n := s.asked(); n != 40 {
		t.Errorf("%d calls, want 40", n)
	}
}

// TestNobodyIsAskedAbout proves that no call is made about addresses that have no reputation, that the operator has judged,
// or that lists leave no doubt about; and that IPv6 is asked by /64.
func TestNobodyIsAskedAbout(t *testing.T) {
	s := startStandIn(t)
	c := newConfig(t)
	c.ask(s)
	c.app["exempt"] = []any{"192.0.2.0/24"}
	c.app["deny"] = []any{"203.0.113.0/24"}
	c.handler["exempt"] = []any{"198.51.100.0/24"}
	r := startCaddy(t, c)
	for _, client := range []string{
		"10.0.0.1", "172.16.0.1", "192.168.0.1", "127.0.0.1", "100.64.0.1", "169.254.0.1", "224.0.0.1", "240.0.0.1", "0.0.0.0",
		"255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "fd12:3456::1", "ff02::1", "::ffff:10.0.0.1",
		"192.0.2.1", "203.0.113.1", "198.51.100.1", "nonsense", "",
	} {
		r.visit(t, client)
	}
	if n := s.asked(); n != 0 {
		t.Errorf("%d calls about addresses that nobody may be asked about", n)
	}
	for n := range 50 {
		r.visit(t, fmt.Sprintf("2001:db8:0:1::%x", n))
	}
	if n := s.asked(); n != 1 {
		t.Errorf("%d calls about one /64", n)
	}
	r.visit(t, "2001:db8:0:2::1")
	if n := s.asked(); n != 2 {
		t.Errorf("%d calls about two /64", n)
	}
	for _, client := range []string{"::ffff:9.9.9.9", "9.9.9.9", "::ffff:909:909"} {
		r.visit(t, client)
		if n := s.asked("9.9.9.9"); n != 1 || s.asked() != 3 {
			t.Errorf("after %s: %d calls about one address in several forms, %d in all", client, n, s.asked())
		}
	}
}
