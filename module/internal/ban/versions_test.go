package ban

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

// A change that is made where the clock is behind wins over what was seen there before.
func TestAClockThatIsBehind(t *testing.T) {
	ahead, behind := newClock(), newClock()
	behind.add(-10 * time.Minute)
	a, _ := openAt(t, "", ahead.now)
	b, _ := openAt(t, "", behind.now)
	put(t, a, prefix, 0)
	exchange(t, a, b)
	unban(t, b, prefix)
	exchange(t, a, b)
	if got := lookup(a, addr); got != "" {
		t.Errorf("removed where the clock is behind, and still %s", got)
	}
	put(t, b, prefix, time.Hour)
	put(t, b, prefix, 2*time.Hour)
	exchange(t, a, b)
	if diff := cmp.Diff(b.List(Ban), a.List(Ban), comparePrefixes); diff != "" || len(a.List(Ban)) != 1 {
		t.Errorf("banned again where the clock is behind: %s", diff)
	}
}

func TestRemovalsAreRemembered(t *testing.T) {
	tests := map[string]struct {
		lasts, kept time.Duration
	}{
		"for a time": {3 * time.Hour, 4*time.Hour - time.Minute},
		"for good":   {0, 30 * 24 * time.Hour},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			path := filepath.Join(t.TempDir(), "bans.json")
			s, _ := openAt(t, path, c.now)
			put(t, s, prefix, tc.lasts)
			old := s.Entries()
			c.add(time.Minute)
			unban(t, s, prefix)
			if s.List(Ban) != nil || s.Len(Ban) != 0 || s.Find(netip.MustParseAddr(addr)) != nil || lookup(s, addr) != "" {
				t.Error("the removal is seen as an entry")
			}
			if ok, err := s.Remove(Ban, netip.MustParsePrefix(prefix)); ok || err != nil {
				t.Errorf("removed twice: %v, %v", ok, err)
			}
			removal := s.Entries()
			if len(removal) != 1 || !removal[0].Expires.Equal(c.now().Add(tc.kept)) {
				t.Fatalf("got %v, want one until %s", removal, c.now().Add(tc.kept))
			}
			c.add(tc.kept - 1)
			s.expire(false)
			restarted, _ := openAt(t, path, c.now)
			for _, s := range []*Store{s, restarted} {
				if changed, newer := merge(t, s, old); changed != 0 || !cmp.Equal(newer, removal) || s.Len(Ban) != 0 {
					t.Errorf("it came back: %d, %v", changed, newer)
				}
			}
			c.add(1)
			s.expire(false)
			if all := known(s); all.tombstones.len() != 0 || len(s.Entries()) != 0 {
				t.Errorf("not forgotten: %v", all.tombstones)
			}
		})
	}
}

// What one instance missed while it was off holds when it is back, whatever it still has.
func TestWhatWasMissedIsNotUndone(t *testing.T) {
	const removal, endless, day = -1, 0, 24 * time.Hour
	tests := map[string]struct {
		before time.Duration   // how long the ban was to last
		missed []time.Duration // what was done to it, one after the other
		later  time.Duration   // when the instance is on again
	}{
		"a removal":                         {endless, []time.Duration{removal}, 29 * day},
		"a removal of what would end":       {7 * day, []time.Duration{removal}, 6 * day},
		"a shorter time":                    {endless, []time.Duration{time.Hour}, 29 * day},
		"a shorter time than before":        {7 * day, []time.Duration{time.Hour}, 6 * day},
		"twice a shorter time":              {endless, []time.Duration{time.Hour, 2 * time.Hour}, 29 * day},
		"a shorter time, removed":           {endless, []time.Duration{time.Hour, removal}, 29 * day},
		"a removal, and a short time again": {endless, []time.Duration{removal, time.Hour}, 29 * day},
		"a long time made endless, removed": {100 * day, []time.Duration{endless, removal}, 99 * day},
	}
	for name, tc := range tests {
		for witness, who := range []string{"who did it", "who heard of it"} {
			t.Run(name+", by "+who, func(t *testing.T) {
				c := newClock()
				dir := t.TempDir()
				open := func(name string) *Store {
					s, _ := openAt(t, filepath.Join(dir, name), c.now)
					return s
				}
				a, b, off := open("a"), open("b"), open("off")
				put(t, a, prefix, tc.before)
				exchange(t, a, b, off)
				if err := off.Close(); err != nil {
					t.Fatal(err)
				}
				for _, lasts := range tc.missed {
					c.add(time.Minute)
					if lasts == removal {
						unban(t, a, prefix)
					} else {
						put(t, a, prefix, lasts)
					}
				}
				exchange(t, a, b)
				c.add(tc.later)
				for _, s := range []*Store{a, b} {
					s.expire(false)
					put(t, s, prefix2, 0) // writes the file
				}
				left, off := open([]string{"a", "b"}[witness]), open("off") // the other one is gone
				if lookup(off, addr) != "banned" || lookup(left, addr) != "" {
					t.Fatal("nothing is to be told")
				}
				exchange(t, off, left)
				if lookup(off, addr) != "" || lookup(left, addr) != "" {
					t.Errorf("the ban is back: %v", left.List(Ban))
				}
			})
		}
	}
}

// An instance that hears of the longer entry after the shorter one that took its place remembers that too.
func TestWhatIsHeardLateIsNotTakenBack(t *testing.T) {
	tests := map[string]struct {
		lasts time.Duration
		kept  time.Time
	}{
		"without an end": {0, time.Date(2026, 1, 31, 12, 1, 0, 0, time.UTC)}, // 30 days after the change
		"longer":         {24 * time.Hour, time.Date(2026, 1, 2, 13, 0, 0, 0, time.UTC)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			a, _ := openAt(t, "", c.now)
			b, _ := openAt(t, "", c.now)
			put(t, a, prefix, tc.lasts)
			old := a.Entries()
			c.add(time.Minute)
			put(t, a, prefix, time.Hour)
			merge(t, b, a.Entries())
			merge(t, b, old)
			c.add(2 * time.Hour)
			b.expire(false)
			changed, newer := merge(t, b, old)
			if changed != 0 || b.Len(Ban) != 0 || len(newer) != 1 {
				t.Fatalf("%d, %v", changed, newer)
			}
			if !newer[0].Expires.Equal(tc.kept) {
				t.Errorf("to be kept until %s, want %s", newer[0].Expires, tc.kept)
			}
		})
	}
}

// What ends by itself, and took the place of nothing longer, leaves nothing behind.
func TestWhatEndsIsForgotten(t *testing.T) {
	c := newClock()
	a, _ := openAt(t, "", c.now)
	b, _ := openAt(t, "", c.now)
	put(t, a, prefix, time.Hour)
	put(t, a, prefix2, time.Hour)
	late := a.Entries()
	c.add(30 * time.Minute)
	put(t, a, prefix, time.Hour) // prolonged
	c.add(time.Hour)
	a.expire(false)
	if all := known(a); all.tombstones.len() != 0 || len(a.Entries()) != 0 {
		t.Errorf("left: %v", all.tombstones)
	}
	if changed, newer := merge(t, b, late); changed != 0 || newer != nil || len(b.Entries()) != 0 {
		t.Errorf("what is over was taken over: %d, %v", changed, newer)
	}
	// how long to remember it is not for others to say
	kept := change("ban "+prefix, 1, `"prefix":"203.0.113.0/24","kind":"ban","expires":"2026-01-01T00:00:00Z","version":1,"keep":"2099-01-01T00:00:00Z"`)
	if merge(t, b, []replica.Entry{kept}); len(b.Entries()) != 0 {
		t.Errorf("remembered because others do: %v", known(b).tombstones)
	}
}

func TestAFileWithoutVersions(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "bans.json")
	content := `[
{"prefix":"203.0.113.0/24","kind":"ban","reason":"test","created":"2026-01-01T10:00:00Z","expires":"2026-01-01T14:00:00Z"},
{"prefix":"2001:db8::/64","kind":"exemption","created":"2026-01-01T11:00:00Z"}
]
`
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	s, log := openAt(t, path, c.now)
	want := []replica.Entry{
		{
			Name: "ban 203.0.113.0/24", Version: 1767261600000, Expires: time.Date(2026, 1, 1, 14, 0, 0, 0, time.UTC),
			Value: []byte(`{"prefix":"203.0.113.0/24","kind":"ban","reason":"test","created":"2026-01-01T10:00:00Z","expires":"2026-01-01T14:00:00Z","version":1767261600000}`),
		},
		{
			Name: "exemption 2001:db8::/64", Version: 1767265200000,
			Value: []byte(`{"prefix":"2001:db8::/64","kind":"exemption","created":"2026-01-01T11:00:00Z","version":1767265200000}`),
		},
	}
	if diff := cmp.Diff(want, s.Entries()); diff != "" {
		t.Error(diff)
	}
	unban(t, s, prefix)
	want[0] = replica.Entry{
		Name: "ban 203.0.113.0/24", Version: 1767268800000, Expires: time.Date(2026, 1, 1, 15, 0, 0, 0, time.UTC),
		Value: []byte(`{"prefix":"203.0.113.0/24","kind":"ban","reason":"test","created":"2026-01-01T10:00:00Z","expires":"2026-01-01T15:00:00Z","version":1767268800000,"removed":true}`),
	}
	restarted, _ := openAt(t, path, c.now)
	if text := log.Take(); text != "" {
		t.Errorf("logged %s", text)
	}
	for _, s := range []*Store{s, restarted} {
		if diff := cmp.Diff([]replica.Entry{want[1], want[0]}, s.Entries()); diff != "" {
			t.Errorf("after the removal: %s", diff)
		}
	}
}

// The admin API shows entries as they were before there were versions.
func TestVersionsAreNotShown(t *testing.T) {
	c := newClock()
	s, _ := openAt(t, "", c.now)
	put(t, s, prefix, 0)
	got, err := json.Marshal(s.List(Ban)[0])
	want := `{"prefix":"203.0.113.0/24","kind":"ban","reason":"test","created":"2026-01-01T12:00:00Z"}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}

func TestRemovalsAreBounded(t *testing.T) {
	c := newClock()
	s, _ := openAt(t, "", c.now)
	var full entries
	for i := range maxEntries {
		e := Entry{Kind: Kind(1 + i%2), Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}), 32)}
		// the oldest one is in the middle
		gone := stored{Entry: e}.tombstone(c.now().Add(-time.Duration((i+maxEntries/2)%maxEntries) * time.Millisecond).UnixMilli())
		*full.of(e.Kind) = append(*full.of(e.Kind), gone)
	}
	s.mu.Lock()
	s.publish(state{tombstones: full})
	s.mu.Unlock()
	put(t, s, "192.0.2.1/32", 0)
	c.add(time.Second)
	unban(t, s, "192.0.2.1/32")
	all := known(s)
	if all.tombstones.len() != maxEntries {
		t.Errorf("%d removals", all.tombstones.len())
	}
	if _, ok := all.tombstones.get(Ban, netip.MustParsePrefix("192.0.2.1/32")); !ok {
		t.Error("the last removal is not remembered")
	}
	for _, list := range full {
		for _, e := range list {
			oldest := c.now().Sub(time.UnixMilli(e.Version)) == time.Second+(maxEntries-1)*time.Millisecond
			if _, ok := all.tombstones.get(e.Kind, e.Prefix); ok == oldest {
				t.Fatalf("the removal of %s is there: %v", time.UnixMilli(e.Version), ok)
			}
		}
	}

	// those for which there is no room are not taken over again and again
	gone := stored{Entry: Entry{Kind: Ban, Prefix: netip.MustParsePrefix(prefix2)}}
	for ago, want := range map[time.Duration]bool{time.Hour: false, time.Millisecond: true} {
		merge(t, s, []replica.Entry{gone.tombstone(c.now().Add(-ago).UnixMilli()).entry()})
		if after := known(s); (&after.tombstones[0][0] != &all.tombstones[0][0]) != want || after.tombstones.len() != maxEntries {
			t.Errorf("a removal of %s ago was taken over: %v", ago, !want)
		}
		all = known(s)
	}
}

func TestTheNewestAreKept(t *testing.T) {
	versions := []int64{5, 3, 3, 1, 3, 9}
	var all entries
	for i, v := range versions {
		e := Entry{Kind: Kind(1 + i%2), Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 32)}
		*all.of(e.Kind) = append(*all.of(e.Kind), stored{Entry: e, Version: v})
	}
	slices.Sort(versions)
	for n := range len(versions) + 2 {
		var got []int64
		for _, list := range all.newest(n) {
			for _, e := range list {
				got = append(got, e.Version)
			}
		}
		slices.Sort(got)
		if want := versions[max(0, len(versions)-n):]; !slices.Equal(got, want) {
			t.Errorf("%d: got %v, want %v", n, got, want)
		}
	}
}
