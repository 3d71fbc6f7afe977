package feed

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func asn(id uint64, number uint32) Entry { return Entry{ID: id, ASN: number} }

func country(id uint64, code string) Entry { return Entry{ID: id, Country: [2]byte{code[0], code[1]}} }

// checkNamed compares the names of the lists that name the ASN or the country.
func checkNamed(t testing.TB, s *Set, asn uint32, country string, want ...string) {
	t.Helper()
	var got []string
	for _, i := range s.Current().Named(asn, country) {
		got = append(got, s.Current().Lists[i].Name)
	}
	if !cmp.Equal(got, want) {
		t.Errorf("AS%d %q is named by %v, want %v", asn, country, got, want)
	}
}

func TestPushNames(t *testing.T) {
	s := mustOpen(t, Options{}, stream("one"), stream("two"))
	checkNamed(t, s, 64500, "US")
	mustPush(t, s, "one", Changes{Added: []Entry{asn(1, 64500), country(2, "US"), entry(3, "198.51.100.1/32"), asn(4, 64500)}})
	mustPush(t, s, "two", Changes{Added: []Entry{country(1, "US"), country(2, "AS")}})
	checkListed(t, s, "one", []string{"198.51.100.1"})
	checkNamed(t, s, 64500, "", "one")
	checkNamed(t, s, 64501, "")
	checkNamed(t, s, 0, "US", "one", "two")
	checkNamed(t, s, 64500, "US", "one", "two") // each once
	checkNamed(t, s, 64500, "AS", "one", "two")
	checkNamed(t, s, 64500, "DE", "one")
	checkNamed(t, s, 0, "")
	checkNamed(t, s, 0, "us") // facts are in upper case
	if got := s.Current().Lists[0].Entries; got != 3 {
		t.Errorf("%d entries, want an address, a country and one ASN", got)
	}

	mustPush(t, s, "one", Changes{Deleted: []uint64{1}})
	checkNamed(t, s, 64500, "", "one") // by another entry
	mustPush(t, s, "one", Changes{Deleted: []uint64{4, 2}})
	checkNamed(t, s, 64500, "US", "two")
	mustPush(t, s, "one", Changes{Added: []Entry{asn(3, 64501)}}) // the ID is now another thing
	checkNamed(t, s, 64501, "", "one")
	checkListed(t, s, "one", nil, "198.51.100.1")
}

func TestPushSkipsWrongNames(t *testing.T) {
	s := mustOpen(t, Options{}, stream("one"))
	both := entry(3, "198.51.100.3/32")
	both.ASN = 64500
	wrong := []Entry{country(1, "us"), country(2, "U1"), both, {ID: 4}}
	mustPush(t, s, "one", Changes{Added: append(wrong, asn(5, 64505))})
	checkNamed(t, s, 64505, "", "one")
	checkNamed(t, s, 64500, "US")
	if got := statusOf(t, s, "one"); got.Ignored != len(wrong) || !strings.Contains(got.FirstIgnored, `"us"`) || got.Entries != 1 {
		t.Errorf("status %+v", got)
	}
}

// Names end by themselves, and come back from disk as long as they have not.
func TestPushedNamesEnd(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := Open([]Spec{stream("one")}, Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		minute, hour := asn(1, 64500), country(2, "US")
		minute.Until, hour.Until = time.Now().Add(time.Minute), time.Now().Add(time.Hour)
		shown, err := s.Push("one", Changes{Added: []Entry{minute, hour, asn(3, 4200000000)}})
		if err != nil {
			t.Fatal(err)
		}
		<-shown
		checkNamed(t, s, 64500, "US", "one")
		time.Sleep(2 * time.Minute)
		checkNamed(t, s, 64500, "")
		checkNamed(t, s, 0, "US", "one")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, Options{Dir: dir}, stream("one"))
		checkNamed(t, s, 64500, "")
		checkNamed(t, s, 0, "US", "one")
		checkNamed(t, s, 4200000000, "", "one")
		time.Sleep(time.Hour)
		s.rebuild()
		checkNamed(t, s, 0, "US")
		checkNamed(t, s, 4200000000, "", "one")
	})
}

// Whatever lists name, look-ups find what a search through all entries finds, without allocating.
func TestNamedTwin(t *testing.T) {
	asns, countries := []uint32{0, 64500, 64501, 64502}, []string{"", "US", "DE", "AS"}
	rapid.Check(t, func(rt *rapid.T) {
		specs := []Spec{stream("a"), stream("b"), stream("c")}
		s := mustOpen(t, Options{}, specs...)
		now, twin := time.Now(), make([]map[uint64]Entry, len(specs))
		for range rapid.IntRange(1, 6).Draw(rt, "steps") {
			i := rapid.IntRange(0, len(specs)-1).Draw(rt, "list")
			added := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) Entry {
				e := Entry{ID: rapid.Uint64Range(0, 5).Draw(t, "id")}
				switch rapid.IntRange(0, 2).Draw(t, "kind") {
				case 0:
					e.ASN = rapid.SampledFrom(asns[1:]).Draw(t, "asn")
				case 1:
					e.Country = [2]byte([]byte(rapid.SampledFrom(countries[1:]).Draw(t, "country")))
				case 2:
					e.Prefix = netip.MustParsePrefix("198.51.100.0/24")
				}
				if rapid.Bool().Draw(t, "ends") {
					e.Until = now.Add(time.Duration(rapid.IntRange(-1, 3).Draw(t, "in")) * time.Second)
				}
				return e
			}), 0, 4, func(e Entry) uint64 { return e.ID }).Draw(rt, "added")
			deleted := rapid.SliceOfN(rapid.Uint64Range(0, 5), 0, 3).Draw(rt, "deleted")
			if _, err := s.Push(specs[i].Name, Changes{Deleted: deleted, Added: added}); err != nil {
				rt.Fatal(err)
			}
			if twin[i] == nil {
				twin[i] = map[uint64]Entry{}
			}
			for _, id := range deleted {
				delete(twin[i], id)
			}
			for _, e := range added {
				twin[i][e.ID] = e
			}
			now = now.Add(time.Second)
			s.rebuildAt(now)
		}
		for _, asn := range asns {
			for _, country := range countries {
				var want []uint16
				for i := range twin {
					for _, e := range twin[i] {
						named := e.ASN != 0 && e.ASN == asn || e.Country != [2]byte{} && string(e.Country[:]) == country
						if named && (e.Until.IsZero() || e.Until.Unix() > now.Unix()) {
							want = append(want, uint16(i))
							break
						}
					}
				}
				if got := s.Current().Named(asn, country); !cmp.Equal(got, want) {
					rt.Fatalf("AS%d %q: %v, want %v", asn, country, got, want)
				}
			}
		}
	})
}

// Whatever is pushed, the sets of lists that are united in advance are bounded.
func TestUnionsAreBounded(t *testing.T) {
	spec := stream("one")
	spec.Parts = MaxParts
	s := mustOpen(t, Options{}, spec)
	var many []Entry
	add := func(e Entry, parts int) { // in a set of parts of its own
		for bit := range 11 {
			if parts&(1<<bit) != 0 {
				e.ID, e.Part = uint64(len(many)), uint8(bit)
				many = append(many, e)
			}
		}
	}
	for i := 1; i < 1<<11; i++ {
		add(Entry{ASN: uint32(i)}, i)
		if i < 26*26 {
			add(Entry{Country: [2]byte{byte('A' + i/26), byte('A' + i%26)}}, i)
		}
	}
	mustPush(t, s, "one", Changes{Added: many})
	if n := len(s.Current().named.unions); n > maxUnions {
		t.Errorf("%d unions", n)
	}
	if got := s.Current().Named(4, "AE"); len(got) == 0 || !slices.Equal(got, s.Current().Named(4, "")) {
		t.Errorf("AS4 in AE is on %v, want what AS4 is on", got)
	}
	if got := s.Current().Named(0, "AE"); len(got) == 0 {
		t.Error("AE is not on the list")
	}
}

func TestNamedDoesNotAllocate(t *testing.T) {
	s := mustOpen(t, Options{}, stream("a"), stream("b"))
	mustPush(t, s, "a", Changes{Added: []Entry{asn(1, 64500)}})
	mustPush(t, s, "b", Changes{Added: []Entry{country(1, "US")}})
	if n := testing.AllocsPerRun(100, func() {
		if len(s.Current().Named(64500, "US")) != 2 {
			t.Error("not named")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What a look-up costs that lists have nothing to say about, beside one that they have.
func BenchmarkNamed(b *testing.B) {
	s := mustOpen(b, Options{}, stream("one"))
	none := s.Current()
	var many []Entry
	for i := range uint64(10_000) {
		many = append(many, asn(i, uint32(i+1)))
	}
	mustPush(b, s, "one", Changes{Added: append(many, country(10_000, "US"))})
	for name, x := range map[string]struct {
		in  *Snapshot
		asn uint32
	}{"nothing": {none, 64500}, "miss": {s.Current(), 64500}, "hit": {s.Current(), 500}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = x.in.Named(x.asn, "DE")
			}
		})
	}
	b.Run(fmt.Sprintf("index of %d", len(many)), func(b *testing.B) {
		for b.Loop() {
			indexNames(s.Current().named.lists)
		}
	})
}
