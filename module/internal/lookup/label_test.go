package lookup

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// labelled has a CDN's list, a relay's, a list of VPNs, one of hosting and one of attackers, and an address on each.
// The last address is on all but the CDN's.
func labelled() (*fixedLists, []listing.List) {
	relay := reputation.Nature{}.With(reputation.NatureRelay, true)
	vpn := reputation.Nature{}.With(reputation.NatureVPN, true)
	hosting := reputation.Nature{}.With(reputation.NatureHosting, true)
	feed := func(s score.Source, n reputation.Nature, c ...reputation.Category) listing.List {
		return listing.List{Source: s, Confidence: .6, Categories: reputation.CategoriesOf(c...), Nature: n}
	}
	of := func(name string, c ...reputation.Category) score.Source {
		return score.OfFeed(name, reputation.CategoriesOf(c...))
	}
	meanings := []listing.List{
		feed(score.OfLabel("cdn"), reputation.Nature{}),
		feed(score.OfLabel("relay"), relay),
		feed(of("vpns", reputation.VPN), vpn, reputation.VPN),
		feed(of("clouds", reputation.Hosting), hosting, reputation.Hosting),
		feed(of("attackers", reputation.Scanner), reputation.Nature{}, reputation.Scanner),
	}
	lists := &fixedLists{
		addrs:   map[netip.Addr]uint32{},
		members: [][]uint16{nil, {0}, {1}, {2}, {3}, {4}, {1, 2, 3, 4}},
	}
	for i := range lists.members {
		lists.addrs[numbered(i)] = uint32(i)
	}
	return lists, meanings
}

func numbered(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}) }

// A label is a reason without points. It accuses of nothing, and nobody is asked less for it.
func TestLabels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lists, meanings := labelled()
		service := after(time.Millisecond, clean, nil)
		service2 := asked("p", service)
		service2.UnlessListed = true
		e := newEngine(t, Config{Lists: lists, Meanings: meanings, Providers: []Provider{service2}})
		for i, want := range []struct {
			reasons    string
			categories string
			nature     string
			calls      int64
		}{
			{"p -2", "", "", 1},
			{"p -2, cdn 0", "", "", 1},
			{"p -2, relay 0", "", "relay", 1},
			{"vpns 4.8", "vpn", "vpn", 0},
			{"clouds 4.8", "hosting", "hosting", 0},
			{"attackers 12", "scanner", "", 0},
			{"attackers 12, relay 0", "scanner", "relay", 0},
		} {
			service.calls.Store(0)
			v := e.Lookup(t.Context(), numbered(i), time.Second)
			if got := reasonsOf(&v); got != want.reasons || v.Categories.String() != want.categories ||
				v.Facts.Nature.String() != want.nature || service.calls.Load() != want.calls {
				t.Errorf("%s: %s; categories %q, nature %q, %d calls; want %+v", numbered(i), got, v.Categories,
					v.Facts.Nature, service.calls.Load(), want)
			}
			if v.Status != reputation.Fresh || v.Coverage != 1 || !v.Scored {
				t.Errorf("%s: %+v", numbered(i), v)
			}
		}
	})
}

// That an address is on no CDN says nothing about it: without another source, nothing is known.
func TestLabelsAreNoScore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lists, meanings := labelled()
		lists.members, meanings = lists.members[:3], meanings[:2]
		for _, c := range []Config{
			{},
			{Providers: []Provider{asked("p", after(0, clean, errors.New("away")))}},
		} {
			c.Lists, c.Meanings = lists, meanings
			e := newEngine(t, c)
			for i, want := range []string{"", "cdn 0", "relay 0"} {
				v := e.Lookup(t.Context(), numbered(i), time.Second)
				if reasonsOf(&v) != want || v.Scored || v.Coverage != 0 || v.Status != reputation.Unknown {
					t.Errorf("%s: %+v; want the reasons %q", numbered(i), v, want)
				}
			}
		}
	})
}

// Whoever says that an address is a relay's, it is not punished for what relays are mistaken for.
func TestRelaysAreNotPunished(t *testing.T) {
	relay := reputation.Nature{}.With(reputation.NatureRelay, true)
	mistaken := reputation.Report{
		Severity: 1, Confidence: 1, Categories: reputation.CategoriesOf(reputation.VPN),
		Facts: reputation.Facts{Nature: reputation.Nature{}.With(reputation.NatureVPN, true)},
	}
	knows := mistaken
	knows.Facts.Nature = knows.Facts.Nature.With(reputation.NatureRelay, true)
	services := func(r reputation.Report) []Provider { return []Provider{asked("p", after(0, r, nil))} }
	for _, tc := range []struct {
		name    string
		c       Config
		on      uint32 // the set of lists
		reasons string
		nature  string
	}{
		{"nobody says so", Config{Providers: services(mistaken)}, 3, "p 32, vpns 4.8", "vpn"},
		{"a list", Config{Providers: services(mistaken)}, 6, "attackers 12, relay 0", "relay"},
		{"a database, no service", Config{Databases: sameFacts{Nature: relay}}, 3, "", "relay"},
		{"a database", Config{Databases: sameFacts{Nature: relay}, Providers: services(mistaken)}, 4, "", "relay"},
		{"a service", Config{Providers: services(knows)}, 3, "", "relay"},
		{"a database, of an attacker", Config{Databases: sameFacts{Nature: relay}}, 5, "attackers 12", "relay"},
	} {
		synctest.Test(t, func(t *testing.T) {
			lists, meanings := labelled()
			tc.c.Lists, tc.c.Meanings = lists, meanings
			e := newEngine(t, tc.c)
			for range 2 {
				v := e.Lookup(t.Context(), numbered(int(tc.on)), time.Second)
				if reasonsOf(&v) != tc.reasons || v.Facts.Nature.String() != tc.nature || v.Status != reputation.Fresh {
					t.Errorf("%s: %q, nature %q, %s; want %+v", tc.name, reasonsOf(&v), v.Facts.Nature, v.Status, tc)
				}
				if relay := tc.nature == "relay"; relay == v.Categories.Has(reputation.VPN) {
					t.Errorf("%s: categories %s", tc.name, v.Categories)
				}
			}
		})
	}
}

func reasonsOf(v *reputation.Verdict) string {
	var words []string
	for _, r := range v.Reasons {
		words = append(words, fmt.Sprintf("%s %g", r.Source, r.Points))
	}
	return strings.Join(words, ", ")
}
