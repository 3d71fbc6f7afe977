package worth

import (
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lossy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// Visits counts the requests of clients of which nothing is known yet. A count ends when the client has made none for
// visitsFor. A new client takes the place of one whose count has ended, else of the one with the fewest requests. So a
// flood of clients that come once takes places from one another.
type Visits struct {
	counts *lossy.Numbers // the second of the last request (24) · their number (8)
}

const (
	visitsFor = uint32(10 * time.Minute / time.Second)

	visitsMost = 1<<8 - 1
	visitsTime = 1<<24 - 1 // half a year: an older count is taken for a current one once in 27,000 times
)

// NewVisits returns a Visits without requests.
func NewVisits() *Visits { return &Visits{lossy.NewNumbers(1 << 14)} }

// current returns the number of requests of a count, 0 if it has ended. A clock that has stepped back ends it, too.
func current(count, now uint32) uint32 {
	if count == 0 || (now-count>>8)&visitsTime >= visitsFor {
		return 0
	}
	return count & visitsMost
}

// Count counts a request of a subject, and returns how many there are. Of two at the same time, one may be lost.
func (v *Visits) Count(key record.Key, now uint32) int {
	requests := func(count uint32) uint32 { return current(count, now) }
	return int(v.counts.Change(uint64(key), requests, func(count uint32) uint32 {
		return (now&visitsTime)<<8 | min(requests(count)+1, visitsMost)
	}) & visitsMost)
}

// Peek returns how many requests of a subject were counted.
func (v *Visits) Peek(key record.Key, now uint32) int {
	return int(current(v.counts.Get(uint64(key)), now))
}
