package feed

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func stream(name string) Spec { return Spec{Name: name, Pushed: "stream.example.org"} }

func entry(id uint64, prefix string) Entry {
	return Entry{ID: id, Prefix: netip.MustParsePrefix(prefix)}
}

// all yields entries as a stream does.
func all(entries ...Entry) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func mustPush(t testing.TB, s *Set, name string, c Changes) {
	t.Helper()
	if _, err := s.Push(name, c); err != nil {
		t.Fatal(err)
	}
	s.rebuild()
}

// checkListed compares which of the addresses are on the list.
func checkListed(t testing.TB, s *Set, name string, listed []string, others ...string) {
	t.Helper()
	for _, addr := range listed {
		if !isListed(s.Current(), addr, name) {
			t.Errorf("%s is not listed", addr)
		}
	}
	for _, addr := range others {
		if isListed(s.Current(), addr, name) {
			t.Errorf("%s is listed", addr)
		}
	}
}

func TestPush(t *testing.T) {
	s := mustOpen(t, Options{}, stream("stream"), Spec{Name: "deny", Values: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	if state := s.Current().Lists[0]; state.Loaded {
		t.Errorf("before anything is pushed: %+v", state)
	}
	mustPush(t, s, "stream", Changes{})
	if state := s.Current().Lists[0]; !state.Loaded || state.Entries != 0 {
		t.Errorf("an empty list: %+v", state)
	}
	mustPush(t, s, "stream", Changes{Added: []Entry{
		entry(7, "198.51.100.7/32"), entry(3, "203.0.113.99/25"), entry(9, "2001:db8:1::5/48"), entry(8, "::ffff:198.51.100.8/128"),
	}})
	checkListed(t, s, "stream", []string{"198.51.100.7", "198.51.100.8", "203.0.113.1", "2001:db8:1:2::3"}, "198.51.100.9", "203.0.113.128", "2001:db8:2::")
	checkListed(t, s, "deny", []string{"192.0.2.1"}, "198.51.100.7")

	// several may name the same, in other words and in other sizes: it is listed until the last of them is gone
	mustPush(t, s, "stream", Changes{Added: []Entry{entry(20, "198.51.100.7/32"), entry(21, "198.51.100.0/28")}})
	mustPush(t, s, "stream", Changes{Deleted: []uint64{7, 7, 500}})
	checkListed(t, s, "stream", []string{"198.51.100.7"})
	mustPush(t, s, "stream", Changes{Deleted: []uint64{21}})
	checkListed(t, s, "stream", []string{"198.51.100.7", "198.51.100.8"}, "198.51.100.3")
	mustPush(t, s, "stream", Changes{Deleted: []uint64{20}})
	checkListed(t, s, "stream", []string{"198.51.100.8"}, "198.51.100.7")

	// an ID that comes again replaces what it was, and one that is both deleted and added stays
	mustPush(t, s, "stream", Changes{Deleted: []uint64{8}, Added: []Entry{entry(8, "198.51.100.80/32"), entry(9, "198.51.100.90/32")}})
	checkListed(t, s, "stream", []string{"198.51.100.80", "198.51.100.90"}, "198.51.100.8", "2001:db8:1::5")
	if got := statusOf(t, s, "stream"); got.Kind != KindPushed || got.Source != "stream.example.org" || got.Entries != 3 || got.Lines != 3 ||
		got.LastResult != "ok" || got.LastSuccess.IsZero() || got.Patience != pushPatience {
		t.Errorf("status %+v", got)
	}
	if _, err := s.Push("deny", Changes{}); !errors.Is(err, ErrNoSuchFeed) {
		t.Errorf("pushing a list that is not pushed: %v", err)
	}
	if err := s.Refresh(t.Context(), "stream"); !errors.Is(err, ErrPushed) {
		t.Errorf("refreshing a list that is pushed: %v", err)
	}
}

func TestPushSkipsWrongEntries(t *testing.T) {
	s := mustOpen(t, Options{}, stream("stream"))
	wrong := []Entry{entry(1, "0.0.0.0/0"), entry(2, "2000::/3"), {ID: 3}, entry(1<<56, "198.51.100.1/32")}
	mustPush(t, s, "stream", Changes{Added: append(wrong, entry(5, "10.0.0.0/8"), entry(6, "198.51.100.6/32"))})
	checkListed(t, s, "stream", []string{"198.51.100.6"}, "198.51.100.1", "10.0.0.1", "2001:db8::")
	if got := statusOf(t, s, "stream"); got.Ignored != len(wrong) || !strings.Contains(got.FirstIgnored, "0.0.0.0/0") || got.Entries != 1 {
		t.Errorf("status %+v", got)
	}
}

func TestPushIsBounded(t *testing.T) {
	spec := stream("stream")
	spec.MaxEntries = 10
	var seen results
	s := mustOpen(t, Options{Observe: seen.observe}, spec)
	var many []Entry
	for i := range uint64(30) {
		many = append(many, entry(i, fmt.Sprintf("198.51.100.%d/32", i)))
	}
	_, err := s.Push("stream", Changes{Added: many[:8]})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time the same does not fit
		if _, err = s.Push("stream", Changes{Added: many[8:16]}); err == nil || !strings.Contains(err.Error(), "more than 10 entries") {
			t.Errorf("error %v", err)
		}
	}
	s.rebuild()
	checkListed(t, s, "stream", []string{"198.51.100.0", "198.51.100.7", "198.51.100.9"}, "198.51.100.10", "198.51.100.15")
	if got := seen.last(t, "stream"); got != ResultTooLarge {
		t.Errorf("observed %s", got)
	}
	if _, err = s.Replace("stream", all(many...)); err == nil {
		t.Error("a set of 30 fits")
	}
	if got := statusOf(t, s, "stream"); got.Lines != 10 || got.LastError == "" || got.Ignored != 20 {
		t.Errorf("status %+v", got)
	}
}

func TestReplace(t *testing.T) {
	s := mustOpen(t, Options{}, stream("stream"))
	mustPush(t, s, "stream", Changes{Added: []Entry{entry(1, "198.51.100.1/32"), entry(2, "2001:db8::/64")}})
	if _, err := s.Replace("stream", all(entry(3, "198.51.100.4/32"), entry(3, "198.51.100.3/32"))); err != nil {
		t.Fatal(err)
	}
	s.rebuild()
	checkListed(t, s, "stream", []string{"198.51.100.3"}, "198.51.100.1", "198.51.100.4", "2001:db8::1")

	broken := errors.New("the stream broke off")
	_, err := s.Replace("stream", func(yield func(Entry, error) bool) {
		_ = yield(entry(9, "198.51.100.9/32"), nil) && yield(Entry{}, broken)
	})
	s.rebuild()
	if checkListed(t, s, "stream", []string{"198.51.100.3"}, "198.51.100.9"); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if err := s.PushFailed("stream", broken); err != nil {
		t.Fatal(err)
	}
	if got := statusOf(t, s, "stream"); got.LastError != broken.Error() || got.LastResult != "error" || got.Entries != 1 {
		t.Errorf("status %+v", got)
	}
	mustPush(t, s, "stream", Changes{})
	if got := statusOf(t, s, "stream"); got.LastError != "" || got.LastResult != "unchanged" {
		t.Errorf("status %+v", got)
	}
}

// One answer never drops most of a list: it may be cut off in good form. What it adds counts at once.
func TestReplaceByLittle(t *testing.T) {
	var many []Entry
	for i := range uint64(100) {
		many = append(many, entry(i, fmt.Sprintf("198.51.100.%d/32", i)))
	}
	few := append(slices.Clone(many[:10]), entry(200, "203.0.113.1/32"))
	start := func() *Set {
		s := mustOpen(t, Options{}, stream("stream"))
		mustPush(t, s, "stream", Changes{Added: many})
		if _, err := s.Replace("stream", all(few...)); classify(err) != ResultShrunk {
			t.Errorf("error %v", err)
		}
		s.rebuild()
		checkListed(t, s, "stream", []string{"198.51.100.3", "198.51.100.99", "203.0.113.1"})
		if got := statusOf(t, s, "stream"); got.LastResult != "refused_shrunk" || got.LastSuccess.After(got.LastAttempt) {
			t.Errorf("status %+v", got)
		}
		return s
	}
	t.Run("said again for long enough", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := start()
			for range 9 { // an API in trouble says the same for a while
				time.Sleep(time.Minute)
				if _, err := s.Replace("stream", all(few...)); classify(err) != ResultShrunk {
					t.Errorf("error %v", err)
				}
			}
			s.rebuild()
			checkListed(t, s, "stream", []string{"198.51.100.99"})
			time.Sleep(time.Minute)
			if _, err := s.Replace("stream", all(few...)); err != nil {
				t.Error(err)
			}
			s.rebuild()
			checkListed(t, s, "stream", []string{"198.51.100.3", "203.0.113.1"}, "198.51.100.99")
		})
	})
	t.Run("cut off elsewhere", func(t *testing.T) {
		s := start()
		if _, err := s.Replace("stream", all(few[:3]...)); classify(err) != ResultShrunk {
			t.Errorf("error %v", err)
		}
		s.rebuild()
		checkListed(t, s, "stream", []string{"198.51.100.99"})
	})
	t.Run("whole again", func(t *testing.T) {
		s := start()
		if _, err := s.Replace("stream", all(many...)); err != nil {
			t.Error(err)
		}
		if _, err := s.Replace("stream", all(few...)); classify(err) != ResultShrunk {
			t.Errorf("error %v", err)
		}
	})
}

// Entries end by themselves, one after the other, without anybody pushing, and rebuilds leave the processor alone.
func TestPushedEntriesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, Options{Dir: t.TempDir()}, stream("stream"))
		s.Start()
		now := time.Now()
		shown, err := s.Push("stream", Changes{Added: []Entry{
			{ID: 1, Prefix: netip.MustParsePrefix("198.51.100.1/32"), Until: now.Add(time.Minute)},
			{ID: 2, Prefix: netip.MustParsePrefix("198.51.100.2/32"), Until: now.Add(time.Hour)},
			{ID: 3, Prefix: netip.MustParsePrefix("2001:db8::/64"), Until: now.Add(time.Minute)},
			{ID: 4, Prefix: netip.MustParsePrefix("198.51.100.4/32")},
			{ID: 5, Prefix: netip.MustParsePrefix("198.51.100.5/32"), Until: now.Add(-time.Second)},
		}})
		if err != nil {
			t.Fatal(err)
		}
		<-shown
		checkListed(t, s, "stream", []string{"198.51.100.1", "198.51.100.2", "2001:db8::1", "198.51.100.4"}, "198.51.100.5")
		time.Sleep(59 * time.Second)
		checkListed(t, s, "stream", []string{"198.51.100.1"})
		time.Sleep(4 * time.Second)
		checkListed(t, s, "stream", []string{"198.51.100.2", "198.51.100.4"}, "198.51.100.1", "2001:db8::1")
		before := s.Current()
		time.Sleep(50 * time.Minute)
		if s.Current() != before {
			t.Error("there was a rebuild though nothing ended")
		}
		time.Sleep(10 * time.Minute)
		checkListed(t, s, "stream", []string{"198.51.100.4"}, "198.51.100.2")
		time.Sleep(1000 * time.Hour)
		checkListed(t, s, "stream", []string{"198.51.100.4"})
	})
}

// An entry that ends soon is removed soon, also when nothing else happens.
func TestPushedEntryEndsSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, Options{}, stream("stream"))
		s.Start()
		time.Sleep(10 * time.Second)
		soon := entry(1, "198.51.100.1/32")
		soon.Until = time.Now().Add(5 * time.Second)
		if _, err := s.Push("stream", Changes{Added: []Entry{soon}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second)
		checkListed(t, s, "stream", []string{"198.51.100.1"})
		time.Sleep(3 * time.Second)
		checkListed(t, s, "stream", nil, "198.51.100.1")
	})
}

// However many pushes come at once, they are shown together.
func TestPushesCoalesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, Options{}, stream("stream"))
		s.Start()
		snapshots := map[*Snapshot]bool{}
		for i := range uint64(100) {
			if _, err := s.Push("stream", Changes{Added: []Entry{entry(i, fmt.Sprintf("198.51.100.%d/32", i))}}); err != nil {
				t.Fatal(err)
			}
			snapshots[s.Current()] = true
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		checkListed(t, s, "stream", []string{"198.51.100.0", "198.51.100.99"})
		if len(snapshots) > 2 {
			t.Errorf("%d snapshots in 0.1 s", len(snapshots))
		}
	})
}

// Whatever is pushed, replaced and passes away, the snapshot says what a map of the entries says.
func TestPushTwin(t *testing.T) {
	addrs := []string{"198.51.100.0", "198.51.100.1", "198.51.100.2", "203.0.113.1", "2001:db8::", "2001:db8::2"}
	prefixes := []string{"198.51.100.0/24", "198.51.100.0/31", "198.51.100.1/32", "203.0.113.1/32", "2001:db8::/32", "2001:db8::/127"}
	rapid.Check(t, func(rt *rapid.T) {
		spec := stream("stream")
		spec.MaxShrink = new(1.0)
		s := mustOpen(t, Options{}, spec)
		twin, now := map[uint64]Entry{}, time.Now()
		draw := rapid.Custom(func(t *rapid.T) Entry {
			e := entry(rapid.Uint64Range(0, 9).Draw(t, "id"), rapid.SampledFrom(prefixes).Draw(t, "prefix"))
			if rapid.Bool().Draw(t, "ends") {
				e.Until = now.Add(time.Duration(rapid.IntRange(-1, 20).Draw(t, "in")) * time.Second)
			}
			return e
		})
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			var c Changes
			var err error
			switch rapid.IntRange(0, 2).Draw(rt, "step") {
			case 0:
				now = now.Add(time.Duration(rapid.IntRange(1, 9).Draw(rt, "pause")) * time.Second)
			case 1:
				clear(twin)
				c.Added = rapid.SliceOfNDistinct(draw, 0, 4, func(e Entry) uint64 { return e.ID }).Draw(rt, "all")
				_, err = s.Replace("stream", all(c.Added...))
			case 2:
				c.Deleted = rapid.SliceOfN(rapid.Uint64Range(0, 9), 0, 4).Draw(rt, "deleted")
				c.Added = rapid.SliceOfNDistinct(draw, 0, 4, func(e Entry) uint64 { return e.ID }).Draw(rt, "added")
				_, err = s.Push("stream", c)
			}
			if err != nil {
				rt.Fatal(err)
			}
			for _, id := range c.Deleted {
				delete(twin, id)
			}
			for _, e := range c.Added {
				twin[e.ID] = e
			}
			s.rebuildAt(now)
			for _, addr := range addrs {
				want := false
				for _, e := range twin {
					ended := !e.Until.IsZero() && e.Until.Unix() <= now.Unix()
					want = want || !ended && e.Prefix.Contains(netip.MustParseAddr(addr))
				}
				if got := isListed(s.Current(), addr, "stream"); got != want {
					rt.Fatalf("%s is listed: %t; want %t of %v", addr, got, want, twin)
				}
			}
		}
	})
}

// A million entries: what it costs to change a few of them, to replace all, and to write them down.
func BenchmarkPushMillion(b *testing.B) {
	const n = 1_000_000
	million := func(yield func(Entry, error) bool) {
		for i := range uint64(n) {
			addr := uint32(0x0b00_0000 + i*197)
			e := Entry{ID: i, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(addr >> 24), byte(addr >> 16), byte(addr >> 8), byte(addr)}), 32)}
			if !yield(e, nil) {
				return
			}
		}
	}
	s := mustOpen(b, Options{Dir: b.TempDir()}, stream("stream"))
	if _, err := s.Replace("stream", million); err != nil {
		b.Fatal(err)
	}
	s.rebuild()
	b.Run("replace", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = s.Replace("stream", million)
		}
	})
	b.Run("push", func(b *testing.B) {
		b.ReportAllocs()
		for i := uint64(0); b.Loop(); i++ {
			_, _ = s.Push("stream", Changes{Deleted: []uint64{i % n}, Added: []Entry{entry(n+1, "198.51.100.1/32")}})
		}
	})
	b.Run("rebuild", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.lists[0].pushed.dirty = true
			s.rebuild()
		}
	})
	b.Run("save", func(b *testing.B) {
		for b.Loop() {
			s.lists[0].pushed.unsaved = true
			s.lists[0].savePushed()
		}
	})
	b.ReportMetric(float64(16*cap(s.lists[0].pushed.entries.v4)+s.Current().Index.Size())/n, "B/entry")
}
