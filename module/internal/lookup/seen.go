package lookup

import (
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// seen remembers which subjects were looked for in the last minute, in the memory that instances
// share. It has a fixed size and no pointers, and takes no lock: most requests of unknown clients
// ask it. A subject that is new replaces the one that was seen first of the eight that it shares a
// place with, which is then looked for once more.
type seen struct {
	seed  maphash.Seed
	words []atomic.Uint64 // the hash of a subject (32) · the second in which it was seen (32)
}

const (
	seenSets = 1 << 14
	seenWays = 8 // of 8 bytes: one cache line

	seenFor = uint32(time.Minute / time.Second)
)

func newSeen() *seen {
	return &seen{seed: maphash.MakeSeed(), words: make([]atomic.Uint64, seenSets*seenWays)}
}

// first reports whether the subject was not seen in the last minute, and notes that it is now.
func (s *seen) first(key record.Key, now uint32) bool {
	h := maphash.Comparable(s.seed, key)
	i := h % seenSets * seenWays
	set, tag := s.words[i:i+seenWays], h>>32
	oldest, at := 0, uint64(1<<63)
	for j := range set {
		w := set[j].Load()
		when := uint32(w)
		if w>>32 == tag {
			// a clock that has stepped back must not make it last
			if age := now - when; age < seenFor {
				return false
			}
			return set[j].CompareAndSwap(w, tag<<32|uint64(now)) // another request may be quicker
		}
		if uint64(when) < at {
			oldest, at = j, uint64(when)
		}
	}
	set[oldest].Store(tag<<32 | uint64(now))
	return true
}
