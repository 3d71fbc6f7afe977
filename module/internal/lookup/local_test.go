package lookup

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// sameFacts are databases that say the same of every address.
type sameFacts reputation.Facts

func (f sameFacts) Facts(netip.Addr) reputation.Facts { return reputation.Facts(f) }

var (
	hosting  = reputation.Nature{}.With(reputation.NatureHosting, true)
	database = sameFacts{Country: "DE", ASN: 64999, ASName: "Example Net", Nature: hosting}
)

// Whatever decides, the verdict says what the databases know.
func TestFactsOfDatabasesAreInEveryVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lists, meanings := someLists()
		banned, exempt := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
		slow := asked("p", after(time.Minute, abusive, nil))
		cases := []struct {
			name string
			addr netip.Addr
			c    Config
		}{
			{"without any source", client, Config{}},
			{"lists only, not listed", client, Config{Lists: lists, Meanings: meanings}},
			{"lists only, listed", netip.MustParseAddr("192.0.2.3"), Config{Lists: lists, Meanings: meanings}},
			{"exempt by a list", netip.MustParseAddr("192.0.2.1"), Config{Lists: lists, Meanings: meanings}},
			{"denied", netip.MustParseAddr("192.0.2.2"), Config{Lists: lists, Meanings: meanings}},
			{"settled by a list", netip.MustParseAddr("192.0.2.4"), Config{Lists: lists, Meanings: meanings, Providers: []Provider{slow}}},
			{"banned", banned, Config{Overrides: overrides{banned: {true, false}}}},
			{"exempt while the server runs", exempt, Config{Overrides: overrides{exempt: {false, true}}}},
			{"reserved", netip.MustParseAddr("10.0.0.1"), Config{Providers: []Provider{slow}}},
			{"of class E", netip.MustParseAddr("240.0.0.1"), Config{Providers: []Provider{slow}}},
			{"asked about now", client, Config{Providers: []Provider{slow}}},
		}
		for _, tc := range cases {
			tc.c.Databases = database
			e := newEngine(t, tc.c)
			want := reputation.Facts(database)
			if v := e.Lookup(t.Context(), tc.addr, 0); v.Facts != want {
				t.Errorf("%s: Lookup says %+v; want %+v", tc.name, v.Facts, want)
			}
			if v := e.Explain(tc.addr).Verdict; v.Facts != want {
				t.Errorf("%s: Explain says %+v; want %+v", tc.name, v.Facts, want)
			}
		}
	})
}

func TestFactsOfDatabasesBeatThoseOfProviders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		report := abusive // from NL and 64500
		report.Facts.Nature = reputation.Nature{}.With(reputation.NatureHosting, false).With(reputation.NatureVPN, true)
		providers := []Provider{asked("p", after(0, report, nil))}
		for _, tc := range []struct {
			name      string
			databases sameFacts
			want      reputation.Facts
		}{
			{"all of them", database, reputation.Facts{
				Country: "DE", ASN: 64999, ASName: "Example Net", Nature: hosting.With(reputation.NatureVPN, true),
			}},
			{"those that are known", sameFacts{Country: "FR"}, reputation.Facts{Country: "FR", ASN: 64500, Nature: report.Facts.Nature}},
			{"none", sameFacts{}, reputation.Facts{Country: "NL", ASN: 64500, Nature: report.Facts.Nature}},
		} {
			e := newEngine(t, Config{Databases: tc.databases, Providers: providers})
			if v := e.Lookup(t.Context(), client, time.Second); v.Facts != tc.want || v.Origin != reputation.OriginProvider {
				t.Errorf("%s: got %+v from %s; want %+v", tc.name, v.Facts, v.Origin, tc.want)
			}
		}
	})
}

// One list that has seen a Tor exit outweighs a database that has not.
func TestNatureOfListsAndDatabases(t *testing.T) {
	lists, meanings := someLists()
	e := newEngine(t, Config{
		Lists: lists, Meanings: meanings, Databases: sameFacts{Nature: hosting.With(reputation.NatureTor, false)},
	})
	v := e.Lookup(context.Background(), netip.MustParseAddr("192.0.2.5"), 0)
	if want := hosting.With(reputation.NatureTor, true); v.Facts.Nature != want {
		t.Errorf("got %s; want %s", v.Facts.Nature, want)
	}
}

func TestFactsOfDatabasesDoNotAllocate(t *testing.T) {
	if testenv.Race {
		t.Skip("the race detector allocates")
	}
	lists, meanings := someLists()
	without := newEngine(t, Config{Lists: lists, Meanings: meanings, Databases: database})
	with := newEngine(t, Config{
		Lists: lists, Meanings: meanings, Databases: database, Providers: []Provider{asked("p", after(0, reputation.Report{}, nil))},
	})
	for name, e := range map[string]*Engine{"without providers": without, "with one": with} {
		for _, word := range []string{"203.0.113.10", "192.0.2.1", "192.0.2.2", "192.0.2.4", "10.0.0.1", "2001:db8::1"} {
			addr := netip.MustParseAddr(word)
			e.Lookup(t.Context(), addr, time.Second)
			if n := testing.AllocsPerRun(100, func() { e.Lookup(t.Context(), addr, time.Second) }); n != 0 {
				t.Errorf("%s, %s: %v allocations", name, word, n)
			}
		}
	}
}
