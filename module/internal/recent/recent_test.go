package recent

import (
	"maps"
	"slices"
	"sync"
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
func (t *Table) read(key uint64, now uint32) (all []Entry) {
	if !t.Each(key, now, func(e Entry) { all = append(all, e) }) {
		return nil
	}
	slices.SortFunc(all, byTime)
	return all
}

func byTime(a, b Entry) int { return int(a.When()) - int(b.When()) }

// twin is a table of one set, slow and plain.
type twin struct {
	newest int
	lasts  uint32
	places [ways]struct {
		key uint64
		of  map[uint16]Entry // by who it is
	}
}

// read returns the entries of a place that count, from the oldest.
func (w *twin) read(place int, now uint32) (all []Entry) {
	for _, e := range w.places[place].of {
		if e.When()+w.lasts > now && e.When() <= now+uint32(record.Ahead/time.Second) {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, byTime)
	return all
}

func (w *twin) find(key uint64) int {
	for i := range w.places {
		if w.places[i].key == key {
			return i
		}
	}
	return -1
}

func (w *twin) note(key uint64, who uint16, e Entry, now uint32) {
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
	if _, known := of[who]; !known && len(of) == w.newest {
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
func (w *twin) least(now uint32) (least int) {
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

// A table holds what a plain one does, whatever is noted and forgotten, with more keys than places, and with clocks that
// go wrong.
func TestTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const lasts, most = 3600, 3
		table := New(Options{Sets: 1, Newest: most, Who: 16, For: lasts * time.Second})
		plain, now := &twin{newest: most, lasts: lasts}, uint32(start)
		used := map[uint32]bool{} // no two entries have the same time: which of them is replaced does not matter
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now += rapid.SampledFrom([]uint32{0, 1, 60, 900}).Draw(t, "later")
			key := uint64(rapid.IntRange(1, ways+3).Draw(t, "key"))
			who := rapid.Uint16Range(0, 4).Draw(t, "who")
			when := now - rapid.Uint32Range(0, 2*lasts).Draw(t, "ago") + rapid.SampledFrom([]uint32{0, 0, 300, 600}).Draw(t, "ahead")
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
	table := New(Options{Sets: 1, Newest: 4, Who: 16, For: time.Hour})
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

// Readers see entries of the key that they ask for, or none, while it is displaced and comes back. Nothing is allocated.
func TestWhileItChanges(t *testing.T) {
	table := New(Options{Sets: 1, Newest: 4, Who: 16, For: time.Hour})
	if table.IsUsed() || table.Has(1) {
		t.Error("a new table knows somebody")
	}
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				foreign, most := false, 0
				if table.Each(1, start, func(e Entry) { foreign, most = foreign || e>>48 != 1, most+1 }) && (foreign || most > 1) {
					t.Errorf("%d entries, foreign: %t", most, foreign)
					return
				}
			}
		})
	}
	for i := range 30_000 {
		table.Note(1, entry(1, 1, start), start)
		key := uint64(2 + i%20)
		table.Note(key, entry(uint16(key), 1, start), start)
		table.Note(key, entry(uint16(key)+1, 1, start), start)
	}
	close(done)
	readers.Wait()
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
