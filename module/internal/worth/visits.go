package worth

import (
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// Visits counts the requests of clients of which nothing is known yet. A count ends when the client has made none for
// visitsFor. It has a fixed size and no pointers, and takes no lock. A subject that is new replaces one of the
// eight that it shares a place with: one whose count has ended, else the one with the fewest requests. So a flood of
// clients that come once takes places from one another.
type Visits struct {
	seed  maphash.Seed
	words []atomic.Uint64 // the hash of a subject (32) · the second of its last request (24) · their number (8)
}

const (
	visitsSets = 1 << 14
	visitsWays = 8 // of 8 bytes: one cache line

	visitsFor = uint32(10 * time.Minute / time.Second)

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

// current returns the number of requests in a word, 0 if the count has ended. A clock that has stepped back ends it, too.
func current(word uint64, now uint32) int {
	if word == 0 || (now-uint32(word>>8))&visitsTime >= visitsFor {
		return 0
	}
	return int(word & visitsMost)
}

// Count counts a request of a subject, and returns how many there are. Of two at the same time, one may be lost.
func (v *Visits) Count(key record.Key, now uint32) int {
	set, tag := v.place(key)
	fewest, at := visitsMost+1, 0
	for i := range set {
		w := set[i].Load()
		n := current(w, now)
		if w>>32 == tag && w != 0 {
			n = min(n+1, visitsMost)
			set[i].Store(wordOf(tag, now, n))
			return n
		}
		if n < fewest {
			fewest, at = n, i
		}
	}
	set[at].Store(wordOf(tag, now, 1))
	return 1
}

// Peek returns how many requests of a subject were counted.
func (v *Visits) Peek(key record.Key, now uint32) int {
	set, tag := v.place(key)
	for i := range set {
		if w := set[i].Load(); w>>32 == tag {
			return current(w, now)
		}
	}
	return 0
}

func wordOf(tag uint64, now uint32, n int) uint64 {
	return tag<<32 | uint64(now&visitsTime)<<8 | uint64(n)
}
