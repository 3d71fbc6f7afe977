package lossy

import (
	"math"
	"sync/atomic"
)

// Numbers has a number for each of many keys. It has no pointers and takes no lock: of two changes
// at the same time, one may be lost.
type Numbers struct {
	seed  seed
	words []atomic.Uint64 // the hash of a key (32) · its number (32)
}

// NewNumbers returns a table of so many sets of eight keys.
func NewNumbers(sets int) *Numbers {
	return &Numbers{seed: newSeed(), words: make([]atomic.Uint64, sets*ways)}
}

// set returns the words that may hold a key, and its hash in them.
func (n *Numbers) set(key uint64) (set []atomic.Uint64, tag uint64) {
	h := n.seed.hash(key)
	i := int(h%uint64(len(n.words)/ways)) * ways
	return n.words[i : i+ways], h >> 32
}

// Get returns the number of a key, 0 for none.
func (n *Numbers) Get(key uint64) uint32 {
	set, tag := n.set(key)
	for i := range set {
		if w := set[i].Load(); w>>32 == tag {
			return uint32(w)
		}
	}
	return 0
}

// Change gives a key the number that change makes of the present one, 0 for none, and returns it. A
// new key replaces the one of its set whose number weighs least.
func (n *Numbers) Change(key uint64, weight, change func(uint32) uint32) uint32 {
	set, tag := n.set(key)
	least, at, old := uint32(math.MaxUint32), 0, uint32(0)
	for i := range set {
		w := set[i].Load()
		if w>>32 == tag && w != 0 {
			at, old = i, uint32(w)
			break
		}
		if v := weight(uint32(w)); v < least {
			least, at = v, i
		}
	}
	number := change(old)
	if number != old {
		set[at].Store(tag<<32 | uint64(number))
	}
	return number
}
