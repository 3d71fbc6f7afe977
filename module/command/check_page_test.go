package command

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
)

// TestCheckShowsViolations: what the address and its neighbours did, with times, and what it means for the score. Only the
// sum, where they add up, has thousandths of points.
func TestCheckShowsViolations(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	score, prior, points, percent := uint8(39), -20., -2., 38.69
	c := adminapi.Check{
		Address: netip.MustParseAddr("203.0.113.5"), Score: &score, Prior: &prior, Points: &points, Percent: &percent, Status: "fresh", Coverage: 1,
		Reasons: []adminapi.Reason{
			{Source: "own.login_failed", Points: 12, Categories: []string{"bruteforce"}, AgeSeconds: 90},
			{Source: "neighbourhood", Points: 5, AgeSeconds: 3600}, {Source: "abuseipdb", Points: 1, AgeSeconds: 60},
		},
		Violations: []adminapi.Violation{
			{Name: "login_failed", Points: 11.999, Count: 8, Last: now.Add(-90 * time.Second)},
			{Name: "not_found", Count: 1, Last: now.Add(-26 * time.Hour)},
		},
		Providers: []adminapi.ProviderAnswer{{Name: "abuseipdb", Others: 1}},
		Neighbours: &adminapi.Neighbours{
			Network: netip.MustParsePrefix("203.0.113.0/24"), Offenders: 4, Last: now.Add(-time.Hour), Networks: 1,
		},
	}
	var out strings.Builder
	p := newPage(&out, 0)
	p.now = now
	p.check(c)
	if err := p.flush(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"   +12.000  own.login_failed: bruteforce, last 1m30s ago\n", "    +5.000  neighbourhood, last 1h0m ago\n",
		"    +1.000  abuseipdb, asked 1m0s ago\n",
		"violations  login_failed: 8 times, 12 points, last 1m30s ago\n            not_found: 1 time, no points, last 1d2h ago\n",
		"providers   abuseipdb: never answered; what it said of 1 other of the network counts a little\n",
		"neighbours  4 other offenders of 203.0.113.0/24 within a day, last 1h0m ago; 1 other network of its autonomous system with offenders\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the page lacks\n%s\nit is\n%s", want, out.String())
		}
	}
}
