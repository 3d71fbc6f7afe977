package ban

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var comparePrefixes = cmpopts.EquateComparable(netip.Prefix{})

// open returns a store that ends with the test.
func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func add(t testing.TB, s *Store, kind Kind, prefix string, lasts time.Duration) Entry {
	t.Helper()
	e := Entry{Kind: kind, Prefix: netip.MustParsePrefix(prefix), Created: time.Now(), Reason: "test"}
	if lasts > 0 {
		e.Expires = e.Created.Add(lasts)
	}
	e, err := s.Add(e)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func lookup(s *Store, addr string) string {
	switch banned, exempt := s.Lookup(netip.MustParseAddr(addr)); {
	case banned && exempt:
		return "both"
	case banned:
		return "banned"
	case exempt:
		return "exempt"
	}
	return ""
}

func TestLookup(t *testing.T) {
	s := open(t, "")
	add(t, s, Ban, "192.0.2.0/24", 0)
	add(t, s, Ban, "198.51.100.7/32", 0)
	add(t, s, Ban, "2001:db8:bad::/48", 0)
	add(t, s, Exemption, "192.0.2.64/26", 0)
	add(t, s, Exemption, "2001:db8:bad:1::/64", 0)
	add(t, s, Exemption, "198.51.0.0/16", 0)

	tests := map[string]struct{ addr, want string }{
		"banned":                               {"192.0.2.1", "banned"},
		"exempt inside a ban":                  {"192.0.2.65", "exempt"},
		"banned inside an exemption":           {"198.51.100.7", "exempt"},
		"exempt":                               {"198.51.3.4", "exempt"},
		"neither":                              {"203.0.113.1", ""},
		"IPv6 banned":                          {"2001:db8:bad:2::1", "banned"},
		"IPv6 exempt inside a ban":             {"2001:db8:bad:1::1", "exempt"},
		"IPv6 neither":                         {"2001:db8::1", ""},
		"IPv4-mapped":                          {"::ffff:192.0.2.1", "banned"},
		"zoned":                                {"2001:db8:bad:2::1%eth0", "banned"},
		"IPv6 that ends like a banned address": {"2001:db8::192.0.2.1", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := lookup(s, tc.addr); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	if banned, exempt := s.Lookup(netip.Addr{}); banned || exempt {
		t.Error("the zero address is in a list")
	}
}

func TestFind(t *testing.T) {
	s := open(t, "")
	for _, p := range []string{"192.0.2.0/24", "192.0.2.7/32", "192.0.0.0/8", "2001:db8::/32"} {
		add(t, s, Ban, p, 0)
	}
	add(t, s, Exemption, "192.0.2.0/25", 0)
	find := func(addr string) string {
		var found []string
		for _, e := range s.Find(netip.MustParseAddr(addr)) {
			found = append(found, e.Kind.String()+" "+e.Prefix.String())
		}
		return strings.Join(found, ", ")
	}
	for addr, want := range map[string]string{
		"192.0.2.7":        "exemption 192.0.2.0/25, ban 192.0.2.7/32, ban 192.0.2.0/24, ban 192.0.0.0/8",
		"::ffff:192.0.3.1": "ban 192.0.0.0/8",
		"2001:db8::1%eth0": "ban 2001:db8::/32",
		"203.0.113.1":      "",
	} {
		if got := find(addr); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
	if got := s.Find(netip.Addr{}); got != nil {
		t.Errorf("the zero address: %v", got)
	}
}

func TestAddReturnsWhatIsKept(t *testing.T) {
	s := open(t, "")
	at := time.Date(2026, 3, 1, 12, 0, 0, 300e6, time.FixedZone("", 3600))
	tests := map[string]struct {
		given, want string
		expires     time.Time
	}{
		"host bits are cleared":     {"203.0.113.5/24", "203.0.113.0/24", time.Time{}},
		"an address stays one":      {"203.0.113.5/32", "203.0.113.5/32", time.Time{}},
		"IPv4-mapped becomes IPv4":  {"::ffff:203.0.113.5/120", "203.0.113.0/24", time.Time{}},
		"IPv6":                      {"2001:db8::5/64", "2001:db8::/64", time.Time{}},
		"an end in whole seconds":   {"203.0.113.6/32", "203.0.113.6/32", time.Date(2999, 1, 1, 0, 0, 1, 0, time.UTC)},
		"an end is rounded upwards": {"203.0.113.6/32", "203.0.113.6/32", time.Date(2999, 1, 1, 0, 0, 0, 1, time.UTC)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := s.Add(Entry{Kind: Ban, Prefix: netip.MustParsePrefix(tc.given), Created: at, Expires: tc.expires, Reason: "é / ☂"})
			if err != nil {
				t.Fatal(err)
			}
			want := Entry{
				Kind: Ban, Prefix: netip.MustParsePrefix(tc.want), Reason: "é / ☂",
				Created: time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC),
			}
			if !tc.expires.IsZero() {
				want.Expires = time.Date(2999, 1, 1, 0, 0, 1, 0, time.UTC)
			}
			if diff := cmp.Diff(want, got, comparePrefixes); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAddRefuses(t *testing.T) {
	now := time.Now()
	one := netip.MustParsePrefix("203.0.113.5/32")
	ban := func(prefix string) Entry { return Entry{Kind: Ban, Prefix: netip.MustParsePrefix(prefix)} }
	exempt := func(prefix string) Entry { return Entry{Kind: Exemption, Prefix: netip.MustParsePrefix(prefix)} }
	tests := map[string]struct {
		entry Entry
		want  string // in the error; empty: none
	}{
		"no prefix":                           {Entry{Kind: Ban}, "203.0.113.5/32"},
		"no kind":                             {Entry{Prefix: one}, "ban or exemption"},
		"another kind":                        {Entry{Kind: 3, Prefix: one}, "ban or exemption"},
		"a ban of everybody":                  {ban("0.0.0.0/0"), "/8 is the broadest: ban its parts"},
		"a ban of half the Internet":          {ban("0.0.0.0/7"), "too broad"},
		"the broadest ban":                    {ban("203.0.0.0/8"), ""},
		"a ban of IPv6":                       {ban("::/0"), "/16 is the broadest"},
		"a ban of much of IPv6":               {ban("2000::/15"), "too broad"},
		"the broadest ban of IPv6":            {ban("2001::/16"), ""},
		"a mapped ban of everybody":           {ban("::ffff:0.0.0.0/96"), "too broad"},
		"a mapped ban of more than everybody": {ban("::ffff:0.0.0.0/90"), "write the IPv4 prefix itself"},
		"an exemption of everybody":           {exempt("0.0.0.0/0"), "mode observe"},
		"an exemption of all of IPv6":         {exempt("::/0"), "mode observe"},
		"an exemption of the unique locals":   {exempt("fc00::/7"), ""},
		"the longest reason":                  {Entry{Kind: Ban, Prefix: one, Reason: strings.Repeat("x", 500)}, ""},
		"too long a reason":                   {Entry{Kind: Ban, Prefix: one, Reason: strings.Repeat("x", 501)}, "501 bytes: shorten it to 500"},
		"a reason of two lines":               {Entry{Kind: Ban, Prefix: one, Reason: "a\nb"}, "do not print"},
		"a reason that turns the line around": {Entry{Kind: Ban, Prefix: one, Reason: "a\u202eb"}, "do not print"},
		"a reason with an escape sequence":    {Entry{Kind: Ban, Prefix: one, Reason: "\x1b[2J"}, "do not print"},
		"a reason that is not text":           {Entry{Kind: Ban, Prefix: one, Reason: "\xff"}, "do not print"},
		"a second":                            {Entry{Kind: Ban, Prefix: one, Created: now, Expires: now.Add(time.Second)}, ""},
		"less than a second":                  {Entry{Kind: Ban, Prefix: one, Created: now, Expires: now.Add(time.Second - 1)}, "1s or more"},
		"no time at all":                      {Entry{Kind: Ban, Prefix: one, Created: now, Expires: now}, "1s or more"},
		"over already":                        {Entry{Kind: Ban, Prefix: one, Created: now.Add(-time.Hour), Expires: now.Add(-time.Minute)}, "1s or more"},
		"an end that JSON cannot say": {
			Entry{Kind: Ban, Prefix: one, Expires: time.Date(9999, 12, 31, 23, 59, 59, 1, time.UTC)}, "leave out the end",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := open(t, "")
			_, err := s.Add(tc.entry)
			if tc.want == "" {
				if err != nil || s.Len(tc.entry.Kind) != 1 {
					t.Fatalf("got %v and %d entries", err, s.Len(tc.entry.Kind))
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || errors.Is(err, ErrNotSaved) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
			if s.Len(Ban)+s.Len(Exemption) != 0 {
				t.Error("something was added")
			}
		})
	}
}

func TestAddReplacesAndRemoveEnds(t *testing.T) {
	s := open(t, "")
	add(t, s, Ban, "203.0.113.0/24", time.Hour)
	add(t, s, Exemption, "203.0.113.0/24", 0)
	forever := add(t, s, Ban, "203.0.113.0/24", 0)
	if diff := cmp.Diff([]Entry{forever}, s.List(Ban), comparePrefixes); diff != "" {
		t.Errorf("the second ban did not take the first one's place: %s", diff)
	}
	remove := func(kind Kind, prefix netip.Prefix, want bool) {
		t.Helper()
		if got, err := s.Remove(kind, prefix); got != want || err != nil {
			t.Errorf("removing: %v, %v", got, err)
		}
	}
	remove(Exemption, netip.MustParsePrefix("::ffff:203.0.113.9/120"), true)
	if got := lookup(s, "203.0.113.1"); got != "banned" {
		t.Errorf("without the exemption: %q", got)
	}
	remove(Exemption, forever.Prefix, false)
	remove(Ban, netip.MustParsePrefix("203.0.113.0/25"), false)
	remove(Ban, netip.Prefix{}, false)
	remove(9, forever.Prefix, false)
	remove(Ban, forever.Prefix, true)
	if got := lookup(s, "203.0.113.1"); got != "" || s.current.Load() != nil {
		t.Errorf("after all is removed: %q", got)
	}
	if s.List(Ban) != nil || s.List(9) != nil || s.Len(9) != 0 {
		t.Error("the store is not empty")
	}
}

func TestAddIsBounded(t *testing.T) {
	s := open(t, "")
	list := make([]Entry, maxEntries)
	for i := range list {
		addr := netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)})
		list[i] = Entry{Kind: Ban, Prefix: netip.PrefixFrom(addr, 32)}
	}
	s.publish(entriesOf(list))
	_, err := s.Add(Entry{Kind: Exemption, Prefix: netip.MustParsePrefix("192.0.2.0/24")})
	if err == nil || !strings.Contains(err.Error(), "deny or exempt file") || s.Len(Exemption) != 0 {
		t.Errorf("one entry too many: %v", err)
	}
	add(t, s, Ban, "203.0.0.0/32", time.Hour) // in the place of one that is there
	if _, err := s.Remove(Ban, netip.MustParsePrefix("203.0.0.1/32")); err != nil {
		t.Fatal(err)
	}
	add(t, s, Exemption, "192.0.2.0/24", 0)
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		expect := func(addr, want string) {
			t.Helper()
			synctest.Wait()
			if got := lookup(s, addr); got != want {
				t.Errorf("%s: got %q, want %q", addr, got, want)
			}
		}
		add(t, s, Ban, "192.0.2.1/32", time.Hour)
		add(t, s, Ban, "192.0.2.2/32", 10*time.Second) // later made, earlier over
		add(t, s, Exemption, "192.0.2.2/32", time.Second)
		add(t, s, Ban, "2001:db8::/64", 0)

		expect("192.0.2.2", "exempt")
		time.Sleep(time.Second)
		expect("192.0.2.2", "banned")
		time.Sleep(9*time.Second - 1)
		expect("192.0.2.2", "banned")
		time.Sleep(1)
		expect("192.0.2.2", "")
		expect("192.0.2.1", "banned")

		add(t, s, Ban, "192.0.2.1/32", 2*time.Hour) // prolonged
		time.Sleep(2*time.Hour - 1)
		expect("192.0.2.1", "banned")
		time.Sleep(1)
		expect("192.0.2.1", "")
		time.Sleep(30 * 24 * time.Hour)
		expect("2001:db8::1", "banned")
		if s.Len(Ban) != 1 || s.Len(Exemption) != 0 {
			t.Errorf("what is over is still there: %v %v", s.List(Ban), s.List(Exemption))
		}
	})
}

// panicky is a log handler that panics once.
type panicky struct {
	slog.Handler
	once *sync.Once
}

func (p panicky) Handle(context.Context, slog.Record) error {
	p.once.Do(func() { panic("once") })
	return nil
}

func TestExpirySurvivesAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open("", Options{Logger: slog.New(panicky{slog.Default().Handler(), new(sync.Once)})})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		add(t, s, Ban, "192.0.2.1/32", time.Second)
		add(t, s, Ban, "192.0.2.2/32", 2*time.Second)
		time.Sleep(2 * maxPause)
		synctest.Wait()
		if s.Len(Ban) != 0 {
			t.Errorf("left: %v", s.List(Ban))
		}
	})
}

func TestCloseEndsChanges(t *testing.T) {
	s := open(t, "")
	add(t, s, Ban, "192.0.2.1/32", 0)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Add(Entry{Kind: Ban, Prefix: netip.MustParsePrefix("192.0.2.2/32")}); !errors.Is(err, ErrClosed) {
		t.Errorf("Add: %v", err)
	}
	if _, err := s.Remove(Ban, netip.MustParsePrefix("192.0.2.1/32")); !errors.Is(err, ErrClosed) {
		t.Errorf("Remove: %v", err)
	}
	if got := lookup(s, "192.0.2.1"); got != "banned" {
		t.Errorf("requests that are still under way see %q", got)
	}
}

func TestReadersNeverSeeAHalfMadeChange(t *testing.T) {
	s := open(t, "")
	add(t, s, Ban, "203.0.113.0/24", 0)
	var readers, writers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := lookup(s, "203.0.113.9"); got != "banned" {
					t.Errorf("a ban that nobody touches reads %q", got)
					return
				}
				if got := len(s.Find(netip.MustParseAddr("203.0.113.9"))); got != 1 {
					t.Errorf("%d entries found", got)
					return
				}
				_ = s.List(Ban)
			}
		})
	}
	for w := range 3 {
		writers.Go(func() {
			prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(w)}), 32)
			for range 200 {
				if _, err := s.Add(Entry{Kind: Ban, Prefix: prefix}); err != nil {
					t.Error(err)
				}
				if banned, _ := s.Lookup(prefix.Addr()); !banned {
					t.Error("a ban does not act when Add returns")
				}
				if ok, err := s.Remove(Ban, prefix); !ok || err != nil {
					t.Errorf("Remove: %v, %v", ok, err)
				}
				if banned, _ := s.Lookup(prefix.Addr()); banned {
					t.Error("a ban acts after Remove has returned")
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	if s.Len(Ban) != 1 {
		t.Errorf("%d bans are left, want 1", s.Len(Ban))
	}
}

// twin does what Store does, by looking at every entry.
type twin map[twinKey]Entry

type twinKey struct {
	kind   Kind
	prefix netip.Prefix
}

func (w twin) lookup(addr netip.Addr) (banned, exempt bool) {
	for k := range w {
		if k.prefix.Contains(addr) {
			banned = banned || k.kind == Ban
			exempt = exempt || k.kind == Exemption
		}
	}
	return banned && !exempt, exempt
}

func (w twin) find(addr netip.Addr) (n int) {
	for k := range w {
		if k.prefix.Contains(addr) {
			n++
		}
	}
	return n
}

func TestTwin(t *testing.T) {
	// few addresses, so that prefixes nest, meet and replace each other
	addrs := rapid.Custom(func(t *rapid.T) netip.Addr {
		low := byte(rapid.IntRange(0, 15).Draw(t, "low"))
		if rapid.Bool().Draw(t, "v4") {
			return netip.AddrFrom4([4]byte{203, 0, 113, low})
		}
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: low})
	})
	prefixes := rapid.Custom(func(t *rapid.T) netip.Prefix {
		addr := addrs.Draw(t, "addr")
		return netip.PrefixFrom(addr, addr.BitLen()-rapid.IntRange(0, 5).Draw(t, "host bits")).Masked()
	})
	kinds := rapid.SampledFrom([]Kind{Ban, Exemption})

	rapid.Check(t, func(t *rapid.T) {
		s, err := Open("", Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		slow := twin{}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				e := Entry{Kind: kinds.Draw(t, "kind"), Prefix: prefixes.Draw(t, "prefix"), Reason: rapid.StringMatching(`[a-z]{0,3}`).Draw(t, "reason")}
				e, err := s.Add(e)
				if err != nil {
					t.Fatal(err)
				}
				slow[twinKey{e.Kind, e.Prefix}] = e
			},
			"remove": func(t *rapid.T) {
				k := twinKey{kinds.Draw(t, "kind"), prefixes.Draw(t, "prefix")}
				_, want := slow[k]
				if got, err := s.Remove(k.kind, k.prefix); got != want || err != nil {
					t.Fatalf("Remove: %v, %v, want %v", got, err, want)
				}
				delete(slow, k)
			},
			"": func(t *rapid.T) {
				addr := addrs.Draw(t, "asked")
				banned, exempt := s.Lookup(addr)
				if wantBan, wantExempt := slow.lookup(addr); banned != wantBan || exempt != wantExempt {
					t.Fatalf("Lookup(%s) = %v, %v, want %v, %v", addr, banned, exempt, wantBan, wantExempt)
				}
				if got, want := len(s.Find(addr)), slow.find(addr); got != want {
					t.Fatalf("Find(%s) returns %d entries, want %d", addr, got, want)
				}
				all := append(s.List(Ban), s.List(Exemption)...)
				if len(all) != len(slow) || s.Len(Ban)+s.Len(Exemption) != len(slow) {
					t.Fatalf("%d entries, want %d", len(all), len(slow))
				}
				for _, e := range all {
					if slow[twinKey{e.Kind, e.Prefix}] != e {
						t.Fatalf("%v is not what was added last", e)
					}
				}
			},
		})
	})
}

func TestLookupAllocatesNothing(t *testing.T) {
	s := open(t, "")
	addr := netip.MustParseAddr("203.0.113.9")
	if n := testing.AllocsPerRun(100, func() { s.Lookup(addr) }); n != 0 {
		t.Errorf("without entries: %v allocations", n)
	}
	add(t, s, Ban, "203.0.113.0/24", 0)
	if n := testing.AllocsPerRun(100, func() { s.Lookup(addr) }); n != 0 {
		t.Errorf("banned: %v allocations", n)
	}
}
