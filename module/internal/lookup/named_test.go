package lookup

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// namedLists are lists that name autonomous systems and countries, too.
type namedLists struct {
	*fixedLists
	asns      map[uint32][]uint16
	countries map[string][]uint16
}

func (l *namedLists) Current() listing.Contents { return l }

func (l *namedLists) Named(asn uint32, country string) []uint16 {
	a, c := l.asns[asn], l.countries[country]
	switch {
	case len(c) == 0:
		return a
	case len(a) == 0:
		return c
	}
	all := slices.Concat(a, c)
	slices.Sort(all)
	return slices.Compact(all)
}

// cmpFacts compares facts as ==.
var cmpFacts = cmp.Comparer(func(a, b reputation.Facts) bool { return a == b })

// by is the reasons' sources.
func by(v reputation.Verdict) (sources []string) {
	for _, r := range v.Reasons {
		sources = append(sources, r.Source)
	}
	return sources
}

// someNames names with the lists of someLists: 0 is exempt, 1 denied, 2 weak, 3 strong, 4 says Tor.
func someNames() (*namedLists, []listing.List) {
	lists, meanings := someLists()
	return &namedLists{
		fixedLists: lists,
		asns:       map[uint32][]uint16{64500: {0}, 64501: {1}, 64502: {2}, 64503: {3}, 64504: {2, 4}},
		countries:  map[string][]uint16{"DE": {3}, "FR": {0}},
	}, meanings
}

// A list holds for an address whose network or country it names, as if it named the address.
func TestListsByName(t *testing.T) {
	lists, meanings := someNames()
	for _, tc := range []struct {
		name     string
		addr     string
		facts    reputation.Facts
		min, max uint8
		reasons  []string
	}{
		{"nothing known", "192.0.2.0", reputation.Facts{}, 0, 1, nil},
		{"another network", "192.0.2.0", reputation.Facts{ASN: 64499, Country: "AT"}, 0, 1, nil},
		{"weak", "192.0.2.0", reputation.Facts{ASN: 64502}, 10, 20, []string{"weak"}},
		{"by address and by network it is one witness", "192.0.2.3", reputation.Facts{ASN: 64502}, 10, 20, []string{"weak"}},
		{"by country", "192.0.2.0", reputation.Facts{Country: "DE"}, 94, 95, []string{"drop"}},
		{"by country and network", "192.0.2.0", reputation.Facts{ASN: 64502, Country: "DE"}, 95, 100, []string{"drop", "weak"}},
		{"by address and by network", "192.0.2.3", reputation.Facts{ASN: 64503}, 95, 100, []string{"drop", "weak"}},
		{"a nature", "192.0.2.0", reputation.Facts{ASN: 64504}, 40, 60, []string{"weak", "tor"}},
		{"denied", "192.0.2.0", reputation.Facts{ASN: 64501}, 100, 100, []string{"deny"}},
		{"deny beats feeds", "192.0.2.3", reputation.Facts{ASN: 64501, Country: "DE"}, 100, 100, []string{"deny"}},
		{"exempt", "192.0.2.0", reputation.Facts{ASN: 64500}, 0, 0, nil},
		{"exempt beats deny", "192.0.2.2", reputation.Facts{Country: "FR", ASN: 64501}, 0, 0, nil},
	} {
		e := newEngine(t, Config{Lists: lists, Meanings: meanings, Databases: sameFacts(tc.facts)})
		addr := netip.MustParseAddr(tc.addr)
		for range 2 { // computed, then stored
			v := e.Lookup(t.Context(), addr, 0)
			if v.Score < tc.min || v.Score > tc.max || !cmp.Equal(by(v), tc.reasons) {
				t.Errorf("%s: %+v", tc.name, v)
			}
			if v.Facts.ASN != tc.facts.ASN || v.Facts.Country != tc.facts.Country {
				t.Errorf("%s: facts %+v", tc.name, v.Facts)
			}
			if x := e.Explain(addr); !cmp.Equal(x.Verdict, v, cmpFacts) {
				t.Errorf("%s: explained as %+v", tc.name, x.Verdict)
			}
		}
	}
	e := newEngine(t, Config{Lists: lists, Meanings: meanings, Databases: sameFacts{ASN: 64504, Country: "DE"}})
	x := e.Explain(netip.MustParseAddr("192.0.2.3"))
	if !cmp.Equal(x.Lists, []uint16{2}) || !cmp.Equal(x.ByASN, []uint16{2, 4}) || !cmp.Equal(x.ByCountry, []uint16{3}) {
		t.Errorf("by address %v, network %v, country %v", x.Lists, x.ByASN, x.ByCountry)
	}
}

// Where no database knows the network of an address, a provider's answer may: from then on it is listed.
func TestListsByNameOfProviders(t *testing.T) {
	lists, meanings := someNames()
	report := func(asn uint32) reputation.Report {
		return reputation.Report{Severity: -1, Confidence: .5, Facts: reputation.Facts{ASN: asn}}
	}
	for _, tc := range []struct {
		name    string
		asn     uint32
		reasons []string
	}{
		{"denied", 64501, []string{"deny"}},
		{"exempt", 64500, nil},
		{"evidence", 64502, []string{"weak", "p"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := after(5*time.Millisecond, report(tc.asn), nil)
			e := newEngine(t, Config{Lists: lists, Meanings: meanings, Providers: []Provider{asked("p", p)}})
			if v := e.Lookup(t.Context(), client, 0); len(v.Reasons) != 0 || v.Status != reputation.Pending {
				t.Errorf("%s, before it is known: %+v", tc.name, v)
			}
			for _, wait := range []time.Duration{time.Second, 0} {
				v := e.Lookup(t.Context(), client, wait)
				if !cmp.Equal(by(v), tc.reasons) || v.Facts.ASN != tc.asn {
					t.Errorf("%s: %+v", tc.name, v)
				}
				if (v.Status == reputation.Exempt) != (tc.name == "exempt") {
					t.Errorf("%s: status %s", tc.name, v.Status)
				}
			}
			time.Sleep(48 * time.Hour) // the answer is out of date
			e.Lookup(t.Context(), client, time.Second)
			synctest.Wait()
			if want := map[bool]int64{true: 2, false: 1}[tc.name == "evidence"]; p.calls.Load() != want {
				t.Errorf("%s: %d calls, want %d: what you decide needs no evidence", tc.name, p.calls.Load(), want)
			}
		})
	}
}

// A list that settles an address by its network spares the calls, and so does any list with UnlessListed.
func TestListsByNameSpareCalls(t *testing.T) {
	lists, meanings := someNames()
	synctest.Test(t, func(t *testing.T) {
		settled, listed := after(0, clean, nil), after(0, clean, nil)
		e := newEngine(t, Config{
			Lists: lists, Meanings: meanings, Databases: sameFacts{ASN: 64503}, Providers: []Provider{asked("p", settled)},
		})
		if v := e.Lookup(t.Context(), client, time.Second); v.Origin != reputation.OriginList || v.Status != reputation.Fresh {
			t.Errorf("settled: %+v", v)
		}
		p := asked("p", listed)
		p.UnlessListed = true
		e = newEngine(t, Config{Lists: lists, Meanings: meanings, Databases: sameFacts{ASN: 64502}, Providers: []Provider{p}})
		e.Lookup(t.Context(), client, time.Second)
		e.Refresh(t.Context(), client)
		if settled.calls.Load() != 0 || listed.calls.Load() != 0 {
			t.Errorf("%d and %d calls", settled.calls.Load(), listed.calls.Load())
		}
	})
}

// newBareEngine is newEngine for an engine without goroutines, which needs no closing.
func newBareEngine(t *rapid.T, c Config) *Engine {
	c.Observer, c.Logger = new(countingObserver), slog.New(slog.DiscardHandler)
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// factsOf are databases written as a map.
type factsOf map[netip.Addr]reputation.Facts

func (f factsOf) Facts(addr netip.Addr) reputation.Facts { return f[addr] }

// Whatever lists name, a verdict is that of an address which all of them list, also when there are more combinations
// than are stored.
func TestListsByNameTwin(t *testing.T) {
	_, meanings := someLists()
	set := rapid.SliceOfNDistinct(rapid.Uint16Range(0, uint16(len(meanings)-1)), 0, 3, rapid.ID[uint16])
	rapid.Check(t, func(t *rapid.T) {
		addrs := &fixedLists{members: [][]uint16{nil}, addrs: map[netip.Addr]uint32{}}
		named := &namedLists{fixedLists: addrs, asns: map[uint32][]uint16{}, countries: map[string][]uint16{}}
		for _, asn := range []uint32{64500, 64501} {
			named.asns[asn] = slices.Sorted(slices.Values(set.Draw(t, "asn")))
		}
		for _, country := range []string{"DE", "FR"} {
			named.countries[country] = slices.Sorted(slices.Values(set.Draw(t, "country")))
		}
		databases, twin := factsOf{}, &fixedLists{members: [][]uint16{nil}, addrs: map[netip.Addr]uint32{}}
		for i := range byte(5) {
			addr := netip.AddrFrom4([4]byte{198, 51, 100, i})
			facts := reputation.Facts{ASN: 64500 + uint32(i)%3, Country: []string{"", "DE", "FR"}[int(i)*7%3]}
			own := slices.Sorted(slices.Values(set.Draw(t, "own")))
			databases[addr] = facts
			addrs.members = append(addrs.members, own)
			addrs.addrs[addr] = uint32(len(addrs.members) - 1)
			all := slices.Concat(own, named.Named(facts.ASN, facts.Country))
			slices.Sort(all)
			twin.members = append(twin.members, slices.Compact(all))
			twin.addrs[addr] = uint32(len(twin.members) - 1)
		}
		one := newBareEngine(t, Config{Lists: named, Meanings: meanings, Databases: databases})
		other := newBareEngine(t, Config{Lists: twin, Meanings: meanings, Databases: databases})
		for range 2 {
			for addr := range databases {
				got, want := one.Lookup(context.Background(), addr, 0), other.Lookup(context.Background(), addr, 0)
				if diff := cmp.Diff(want, got, cmpFacts); diff != "" {
					t.Fatalf("%s (-want +got):\n%s", addr, diff)
				}
			}
		}
	})
}

// TestManyCombinations: results that replace each other are never mixed up.
func TestManyCombinations(t *testing.T) {
	const combinations = 1024 // four times as many as are stored
	lists, meanings := someNames()
	databases := factsOf{}
	for i := range combinations {
		addr := netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)})
		databases[addr] = reputation.Facts{ASN: 64501 + uint32(i)%3}
		lists.members = append(lists.members, nil)
		lists.addrs[addr] = uint32(len(lists.members) - 1)
	}
	e := newEngine(t, Config{Lists: lists, Meanings: meanings, Databases: databases})
	for range 2 {
		for addr, facts := range databases {
			want := []string{"deny", "weak", "drop"}[facts.ASN-64501]
			if v := e.Lookup(t.Context(), addr, 0); !cmp.Equal(by(v), []string{want}) {
				t.Fatalf("%s of AS%d: %+v", addr, facts.ASN, v)
			}
		}
	}
}

func TestListsByNameDoNotAllocate(t *testing.T) {
	if testenv.Race {
		t.Skip("the race detector allocates")
	}
	lists, meanings := someNames()
	silent := reputation.Report{Facts: reputation.Facts{ASN: 64502}}
	for name, c := range map[string]Config{
		"without providers": {Databases: sameFacts{ASN: 64502}},
		"denied":            {Databases: sameFacts{ASN: 64501}},
		"a provider knows":  {Providers: []Provider{asked("p", after(0, silent, nil))}},
	} {
		c.Lists, c.Meanings = lists, meanings
		e := newEngine(t, c)
		e.Lookup(t.Context(), client, time.Second)
		if n := testing.AllocsPerRun(100, func() { e.Lookup(t.Context(), client, time.Second) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// What a look-up by name costs, beside one that no list names anything for.
func BenchmarkListsByName(b *testing.B) {
	lists, meanings := someNames()
	for name, c := range map[string]Config{
		"nothing": {Lists: lists.fixedLists}, "another": {Lists: lists, Databases: sameFacts{ASN: 64499}},
		"named": {Lists: lists, Databases: sameFacts{ASN: 64502}},
	} {
		c.Meanings = meanings
		e := newEngine(b, c)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e.Lookup(b.Context(), client, 0)
			}
		})
	}
}
