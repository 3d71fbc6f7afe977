package lossy

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

const start = 1_796_000_000

func entry(who uint16, what uint16, when uint32) Entry {
	return Entry(uint64(who)<<48 | uint64(what)<<32 | uint64(when))
}

// read returns the entries of a key that count, from the oldest.
func (t *Newest) read(key uint64, now uint32) (all []Entry) {
	if !t.Each(key, now, func(e Entry) { all = append(all, e) }) {
		return nil
	}
	slices.SortFunc(all, byTime)
	return all
}

func byTime(a, b Entry) int { return int(a.When()) - int(b.When()) }

// newestTwin is a Newest of one set, slow and plain.
type newestTwin struct {
	most   int
	lasts  uint32
	places [ways]struct {
		key uint64
		of  map[uint16]Entry // by who it is
	}
}

// read returns the entries of a place that count, from the oldest.
func (w *newestTwin) read(place int, now uint32) (all []Entry) {
	for _, e := range w.places[place].of {
		if e.When()+w.lasts > now && e.When() <= now+uint32(record.Ahead/time.Second) {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, byTime)
	return all
}

func (w *newestTwin) find(key uint64) int {
	for i := range w.places {
		if w.places[i].key == key {
			return i
		}
	}
	return -1
}

func (w *newestTwin) note(key uint64, who uint16, e Entry, now uint32) {
	if e.When()+w.lasts <= now || e.When() > now+uint32(record.Ahead/time.Second) {
		return
	}
	place := w.find(key)
	if place < 0 {
		if place = w.find(0); place < 0 {
			place = w.least(now)
		}
		w.places[place].key, w.places[place].of = key, map[uint16]Entry{}
	}
	of := w.places[place].of
	if _, known := of[who]; !known && len(of) == w.most {
		oldest := slices.MinFunc(slices.Collect(maps.Values(of)), byTime)
		if oldest.When() > e.When() {
			return
		}
		delete(of, uint16(oldest>>48))
	}
	if e.When() >= of[who].When() {
		of[who] = e
	}
}

// least is the place that a new key is given.
func (w *newestTwin) least(now uint32) (least int) {
	last := func(all []Entry) (when uint32) {
		if len(all) > 0 {
			when = all[len(all)-1].When()
		}
		return when
	}
	for i := range w.places {
		a, b := w.read(i, now), w.read(least, now)
		if len(a) < len(b) || len(a) == len(b) && last(a) < last(b) {
			least = i
		}
	}
	return least
}

// A table holds what a plain one does, whatever is noted and forgotten, with more keys than places,
// and with clocks that go wrong.
func TestNewestTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const lasts, most = 3600, 3
		table := NewNewest(Options{Sets: 1, Most: most, Who: 16, For: lasts * time.Second})
		plain, now := &newestTwin{most: most, lasts: lasts}, uint32(start)
		used := map[uint32]bool{} // no two entries have the same time: which of them is replaced does not matter
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now += rapid.SampledFrom([]uint32{0, 1, 60, 900}).Draw(t, "later")
			key := uint64(rapid.IntRange(1, ways+3).Draw(t, "key"))
			who := rapid.Uint16Range(0, 4).Draw(t, "who")
			when := now - rapid.Uint32Range(0, 2*lasts).Draw(t, "ago")
			when += rapid.SampledFrom([]uint32{0, 0, 300, 600}).Draw(t, "ahead")
			e := entry(who, rapid.Uint16().Draw(t, "what"), when)
			place := plain.find(key)
			switch {
			case rapid.IntRange(0, 9).Draw(t, "forget") == 0:
				empty := false
				if place >= 0 {
					if of := plain.places[place].of; of[who].When() <= when {
						delete(of, who)
					}
					empty = len(plain.places[place].of) == 0
				}
				if got := table.Forget(key, e); got != empty {
					t.Fatalf("forgetting empties the key: %t, want %t", got, empty)
				}
			case !used[when]:
				used[when] = true
				table.Note(key, e, now)
				plain.note(key, who, e, now)
			}
			for key := range uint64(ways + 4) {
				var want []Entry
				place := plain.find(key)
				if key != 0 && place >= 0 {
					want = plain.read(place, now)
				}
				if key != 0 && table.Has(key) != (place >= 0) {
					t.Fatalf("key %d has a place: %t", key, table.Has(key))
				}
				if diff := cmp.Diff(want, table.read(key, now)); diff != "" {
					t.Fatalf("key %d (-want +got):\n%s", key, diff)
				}
			}
		}
	})
}

// Who reads a key while another one takes its place learns that nothing of it holds.
func TestDisplacedWhileItIsRead(t *testing.T) {
	table := NewNewest(Options{Sets: 1, Most: 4, Who: 16, For: time.Hour})
	table.Note(1, entry(1, 1, start), start)
	if table.Each(1, start, func(Entry) {
		for key := range uint64(ways) {
			for who := range uint16(2) {
				table.Note(2+key, entry(who, 1, start), start)
			}
		}
	}) {
		t.Error("the key has entries still")
	}
}

// Many read and note at the same time. Readers see the one entry of a key, or nothing once it is
// displaced, and all entries of the key with the most, always. Nothing is allocated.
func TestNewestTogether(t *testing.T) {
	table := NewNewest(Options{Sets: 1, Most: 4, Who: 16, For: time.Hour})
	if table.IsUsed() || table.Has(1) {
		t.Error("a new table knows somebody")
	}
	const heavy, churn = 8, 1000
	for key := range uint64(heavy) { // the last one of the set
		for who := range uint16(key+2) / 2 {
			table.Note(1+key, entry(who, 1, start), start)
		}
	}
	for round := range uint64(20) {
		mine := churn + round*10_000
		table.Note(mine, entry(0, 1, start), start)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for key := mine + 1; key < mine+5_000; key++ {
				table.Note(key, entry(1, 1, start), start)
				table.Note(key, entry(2, 1, start), start)
			}
		}()
		for ended := false; !ended; {
			n, foreign := 0, false
			if table.Each(mine, start, func(e Entry) { n, foreign = n+1, foreign || e>>48 != 0 }) && (n > 1 || foreign) {
				t.Fatalf("%d entries, foreign: %t", n, foreign)
			}
			if all := 0; !table.Each(heavy, start, func(Entry) { all++ }) || all != 4 {
				t.Fatalf("the key with the most entries has %d", all)
			}
			select {
			case <-done:
				ended = true
			default:
			}
		}
	}
	if !table.IsUsed() {
		t.Error("it does not say that it is used")
	}
	n := 0
	if allocs := testing.AllocsPerRun(100, func() {
		table.Note(1, entry(1, 1, start), start)
		table.Each(1, start, func(Entry) { n++ })
		table.Forget(1, entry(1, 0, start))
	}); allocs != 0 && !testenv.Race {
		t.Errorf("%v allocations", allocs)
	}
}
