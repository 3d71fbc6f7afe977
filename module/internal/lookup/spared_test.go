package lookup

import (
	"net/netip"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// botsByName is someNames with a list of bots, which has 192.0.2.8 and AS64505.
func botsByName() (*namedLists, []listing.List) {
	lists, meanings := someNames()
	bots := uint16(len(meanings))
	lists.asns[64505] = []uint16{bots}
	lists.addrs[netip.MustParseAddr("192.0.2.8")] = uint32(len(lists.members))
	lists.members = append(lists.members, []uint16{2, bots})
	return lists, append(meanings, listing.List{Kind: listing.Bots})
}

// TestSpared holds that exempt addresses and bots are known by address, by what databases and by what providers say.
func TestSpared(t *testing.T) {
	type spared struct{ exempt, bot bool }
	lists, meanings := botsByName()
	for _, tc := range []struct {
		name string
		addr string
		asn  uint32
		want spared
	}{
		{"nothing", "192.0.2.0", 0, spared{}}, {"weak", "192.0.2.3", 0, spared{}},
		{"exempt", "192.0.2.1", 0, spared{exempt: true}},
		{"denied", "192.0.2.2", 0, spared{}},
		{"a bot", "192.0.2.8", 0, spared{bot: true}},
		{"reserved", "10.0.0.1", 0, spared{exempt: true}},
		{"a network that is exempt", "192.0.2.0", 64500, spared{exempt: true}},
		{"a network of bots", "192.0.2.0", 64505, spared{bot: true}},
	} {
		addr := netip.MustParseAddr(tc.addr)
		e := newEngine(t, Config{Lists: lists, Meanings: meanings, Databases: sameFacts{ASN: tc.asn}})
		if exempt, bot := e.Spared(addr); (spared{exempt, bot}) != tc.want {
			t.Errorf("%s: exempt %t, a bot %t; want %+v", tc.name, exempt, bot, tc.want)
		}
		p := after(0, reputation.Report{Severity: -1, Confidence: .5, Facts: reputation.Facts{ASN: tc.asn}}, nil)
		e = newEngine(t, Config{Lists: lists, Meanings: meanings, Providers: []Provider{asked("p", p)}})
		e.Lookup(t.Context(), addr, time.Minute)
		if exempt, bot := e.Spared(addr); (spared{exempt, bot}) != tc.want {
			t.Errorf("%s, which a provider has said: exempt %t, a bot %t; want %+v", tc.name, exempt, bot, tc.want)
		}
		if got := e.Explain(addr).Verdict.Status == reputation.Exempt; got != tc.want.exempt {
			t.Errorf("%s, which a provider has said: explained as exempt: %t", tc.name, got)
		}
		if n := testing.AllocsPerRun(100, func() { e.Spared(addr) }); n > 0 && !testenv.Race {
			t.Errorf("%s: %v allocations", tc.name, n)
		}
	}
}

func BenchmarkSpared(b *testing.B) {
	lists, meanings := botsByName()
	e := newEngine(b, Config{Lists: lists, Meanings: meanings, Providers: []Provider{asked("p", after(0, reputation.Report{}, nil))}})
	b.ReportAllocs()
	for b.Loop() {
		e.Spared(client)
	}
}
