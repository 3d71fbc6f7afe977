package listing

import (
	"net/netip"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The parts of a list are one source: it has one reason, with what its most severe part says, and counts once in the
// coverage.
func TestPartsAreOneSource(t *testing.T) {
	crowdsec := score.Source{Name: "crowdsec", Group: "crowdsec", Trust: 1, Weight: 32}
	part := func(severity float64, c reputation.Category, further bool) List {
		return List{
			Source: crowdsec, Severity: severity, Confidence: .95, Categories: reputation.CategoriesOf(c), Part: further,
		}
	}
	meanings := []List{
		part(1, reputation.Scanner, false),
		{Source: score.Source{Name: "other", Trust: 1, Weight: 20}, Confidence: .5, Categories: reputation.CategoriesOf(reputation.Spam)},
		part(.8, reputation.Spam, true), part(1, reputation.BruteForce, true), part(2.0/3, reputation.Abuse, true),
	}
	at := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, last}) }
	contents := &fixed{
		addrs:   map[netip.Addr]uint32{at(1): 1, at(2): 2, at(3): 3, at(4): 4},
		members: [][]uint16{nil, {0}, {2}, {4}, {2, 3, 4}},
	}
	lists := NewMatcher(contents, meanings).Current()
	for _, tc := range []struct {
		addr       netip.Addr
		score      int
		categories reputation.Categories
	}{
		{at(1), 92, reputation.CategoriesOf(reputation.Scanner)},
		{at(2), 73, reputation.CategoriesOf(reputation.Spam)},
		{at(3), 52, reputation.CategoriesOf(reputation.Abuse)},
		{at(4), 92, reputation.CategoriesOf(reputation.Spam, reputation.BruteForce, reputation.Abuse)},
	} {
		v := lists.Match(tc.addr).Verdict
		if int(v.Score) != tc.score || v.Categories != tc.categories || len(v.Reasons) != 1 || v.Coverage != 1 {
			t.Errorf("%s: %+v; want score %d, categories %v, one reason", tc.addr, v, tc.score, tc.categories)
		}
	}
	if v := lists.Match(netip.MustParseAddr("203.0.113.10")).Verdict; v.Score != 1 && v.Score != 0 || len(v.Reasons) != 0 {
		t.Errorf("an address on no list: %+v", v)
	}
}
