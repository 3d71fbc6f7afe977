package lossy

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// Entry is who was noted and when, in seconds since 1970. From the highest bit on: who (as many bits
// as Options.Who says) · a value of the caller's (the rest of the upper half) · when (32).
type Entry uint64

// When returns when the entry was noted.
func (e Entry) When() uint32 { return uint32(e) }

// Newest has the newest few entries of each of many keys. It has no pointers, and readers take no
// lock. A new key replaces the one of its set with the fewest entries that count, of those the one
// whose newest entry is the oldest.
type Newest struct {
	Options
	seed seed
	used atomic.Bool // something was noted

	mu      sync.Mutex      // held by those who change something
	keys    []atomic.Uint64 // 0 is none; or changing
	entries []atomic.Uint64 // Most of a key, in the order of keys
}

// changing is in the place of a key that makes room.
const changing = math.MaxUint64

// Options are the dimensions of a Newest.
type Options struct {
	Sets int           // of eight keys each
	Most int           // entries of a key
	Who  int           // bits of an Entry that say who it is
	For  time.Duration // how long an entry counts
}

// NewNewest returns a table without entries.
func NewNewest(o Options) *Newest {
	return &Newest{
		Options: o, seed: newSeed(),
		keys: make([]atomic.Uint64, o.Sets*ways), entries: make([]atomic.Uint64, o.Sets*ways*o.Most),
	}
}

// Hash returns a hash of a key that nobody outside can foresee.
func (t *Newest) Hash(key uint64) uint64 { return t.seed.hash(key) }

// IsUsed reports whether anything was ever noted.
func (t *Newest) IsUsed() bool { return t.used.Load() }

// Has reports whether there may be entries of a key.
func (t *Newest) Has(key uint64) bool { return t.find(key) >= 0 }

// find returns the index of a key, or -1. Sets are filled from the first place on.
func (t *Newest) find(key uint64) int {
	first := t.set(key)
	for i := first; i < first+ways; i++ {
		switch t.keys[i].Load() {
		case key:
			return i
		case 0:
			return -1
		}
	}
	return -1
}

func (t *Newest) set(key uint64) int { return int(t.seed.hash(key)>>32%uint64(t.Sets)) * ways }

// of returns the entries of the key with an index.
func (t *Newest) of(index int) []atomic.Uint64 { return t.entries[index*t.Most : (index+1)*t.Most] }

// counts reports whether an entry counts. A clock that was ahead is not believed.
func (t *Newest) counts(e Entry, now uint32) bool {
	age := int64(now) - int64(e.When())
	return e.When() != 0 && age < int64(t.For/time.Second) && -age <= int64(record.Ahead/time.Second)
}

// Each calls f with the entries of a key that count. If it returns false, what f was called with
// does not count: meanwhile another key has taken the place. Where that one has given it back
// already, f may have been called with an entry of it.
func (t *Newest) Each(key uint64, now uint32, f func(Entry)) bool {
	i := t.find(key)
	if i < 0 {
		return false
	}
	entries := t.of(i)
	for j := range entries {
		if e := Entry(entries[j].Load()); t.counts(e, now) {
			f(e)
		}
	}
	return t.keys[i].Load() == key
}

// Note adds an entry to a key, which must be neither 0 nor the largest number. It replaces that of
// the same who, else the oldest, unless that is newer.
func (t *Newest) Note(key uint64, e Entry, now uint32) {
	if !t.counts(e, now) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.used.Store(true)
	entries, at := t.of(t.room(key, now)), 0
	for j := range entries {
		known := Entry(entries[j].Load())
		if t.same(known, e) {
			at = j
			break
		}
		if known.When() < Entry(entries[at].Load()).When() {
			at = j
		}
	}
	if e.When() >= Entry(entries[at].Load()).When() {
		entries[at].Store(uint64(e))
	}
}

func (t *Newest) same(known, e Entry) bool { return known != 0 && (known^e)>>(64-t.Who) == 0 }

// room returns the index of a key, which gets a place if it has none.
func (t *Newest) room(key uint64, now uint32) int {
	if i := t.find(key); i >= 0 {
		return i
	}
	first := t.set(key)
	least, fewest, oldest := first, t.Most+1, uint32(0)
	for i := first; i < first+ways; i++ {
		if t.keys[i].Load() == 0 {
			least = i
			break
		}
		count, newest := 0, uint32(0)
		for j := range t.of(i) {
			if e := Entry(t.of(i)[j].Load()); t.counts(e, now) {
				count, newest = count+1, max(newest, e.When())
			}
		}
		if count < fewest || count == fewest && newest < oldest {
			least, fewest, oldest = i, count, newest
		}
	}
	t.keys[least].Store(changing) // readers find nothing here meanwhile
	for j := range t.of(least) {
		t.of(least)[j].Store(0)
	}
	t.keys[least].Store(key)
	return least
}

// Forget removes the entry of the same who from a key, unless it is newer than e. It reports
// whether the key has no entry any more.
func (t *Newest) Forget(key uint64, e Entry) (emptied bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.find(key)
	if i < 0 {
		return false
	}
	emptied = true
	entries := t.of(i)
	for j := range entries {
		known := Entry(entries[j].Load())
		if t.same(known, e) && known.When() <= e.When() {
			entries[j].Store(0)
		} else if known != 0 {
			emptied = false
		}
	}
	return emptied
}
