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
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var comparePrefixes = cmpopts.EquateComparable(netip.Prefix{})

var equateEmpty = cmpopts.EquateEmpty()

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

// fill makes the entries all that the store holds, faster than Add.
func fill(s *Store, list []Entry) {
	all := make([]stored, len(list))
	for i, e := range list {
		all[i] = stored{Entry: e, Version: max(0, e.Created.UnixMilli())}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publish(state{live: entriesOf(all, stored.Join)})
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
	fill(s, list)
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
		time.Sleep(time.Nanosecond)
		expect("192.0.2.2", "")
		expect("192.0.2.1", "banned")

		add(t, s, Ban, "192.0.2.1/32", 2*time.Hour) // prolonged
		time.Sleep(2*time.Hour - 1)
		expect("192.0.2.1", "banned")
		time.Sleep(time.Nanosecond)
		expect("192.0.2.1", "")
		time.Sleep(30 * 24 * time.Hour)
		expect("2001:db8::1", "banned")
		if s.Len(Ban) != 1 || s.Len(Exemption) != 0 {
			t.Errorf("what is over is still there: %v %v", s.List(Ban), s.List(Exemption))
		}
	})
}

func TestWhatWasMergedEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := open(t, ""), open(t, "")
		add(t, a, Ban, "192.0.2.1/32", 10*time.Second)
		synctest.Wait() // b waits for its next end, and knows of none
		merge(t, b, a.Entries())
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := lookup(b, "192.0.2.1"); got != "" {
			t.Errorf("after its end: %s", got)
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
