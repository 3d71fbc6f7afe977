package worth

import (
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// Visits counts how often clients have come of which nothing is known yet. Requests that follow a counted one at once
// belong to the same visit: a page loads its images. A count ends when the client has not come for visitsFor. It has a
// fixed size and no pointers, and takes no lock. A subject that is new replaces one of the eight that it shares a place
// with: one whose count has ended, else the one with the fewest visits. So a flood of clients that come once takes places
// from one another.
type Visits struct {
	seed  maphash.Seed
	words []atomic.Uint64 // the hash of a subject (32) · the second of its last visit (24) · their number (8)
}

const (
	visitsSets = 1 << 14
	visitsWays = 8 // of 8 bytes: one cache line

	visitsFor = uint32(10 * time.Minute / time.Second)
	visitFor  = uint32(3 * time.Second / time.Second)

	visitsMost = 1<<8 - 1
	visitsTime = 1<<24 - 1 // half a year: an older count is taken for a current one once in 27,000 times
)

// NewVisits returns a Visits without requests.
func NewVisits() *Visits {
	return &Visits{seed: maphash.MakeSeed(), words: make([]atomic.Uint64, visitsSets*visitsWays)}
}

// place returns the words that may hold a subject, and its hash in them.
func (v *Visits) place(key record.Key) (set []atomic.Uint64, tag uint64) {
	h := maphash.Comparable(v.seed, key)
	i := h % visitsSets * visitsWays
	return v.words[i : i+visitsWays], h >> 32
}

// age returns how long ago the last visit in a word was. It is large if a clock has stepped back.
func age(word uint64, now uint32) uint32 { return (now - uint32(word>>8)) & visitsTime }

// isSame reports whether a request belongs to the last visit in a word. That one may be a moment ahead, since requests come
// at the same time.
func isSame(word uint64, now uint32) bool { return age(word, now+visitFor) < 2*visitFor }

// current returns the number of visits in a word, 0 if the count has ended. A clock that has stepped back ends it, too.
func current(word uint64, now uint32) int {
	if word == 0 || age(word, now) >= visitsFor && !isSame(word, now) {
		return 0
	}
	return int(word & visitsMost)
}

// next returns the number of visits in the word of a client who makes a request.
func next(word uint64, now uint32) int {
	n := current(word, now)
	if n > 0 && isSame(word, now) {
		return n
	}
	return min(n+1, visitsMost)
}

// Count counts a request of a subject, and returns how often it has come. Of two at the same time, one may be lost.
func (v *Visits) Count(key record.Key, now uint32) int {
	set, tag := v.place(key)
	fewest, at := visitsMost+1, 0
	for i := range set {
		w := set[i].Load()
		if w>>32 == tag && w != 0 {
			n := next(w, now)
			if !isSame(w, now) {
				set[i].Store(wordOf(tag, now, n))
			}
			return n
		}
		if n := current(w, now); n < fewest {
			fewest, at = n, i
		}
	}
	set[at].Store(wordOf(tag, now, 1))
	return 1
}

// Peek returns what Count would, and counts nothing.
func (v *Visits) Peek(key record.Key, now uint32) int {
	set, tag := v.place(key)
	for i := range set {
		if w := set[i].Load(); w>>32 == tag && w != 0 {
			return next(w, now)
		}
	}
	return 1
}

func wordOf(tag uint64, now uint32, n int) uint64 {
	return tag<<32 | uint64(now&visitsTime)<<8 | uint64(n)
}
