package worth

import (
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lossy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// Visits counts how often clients have come of which nothing is known yet. Requests that follow a counted one at once
// belong to the same visit: a page loads its images. A count ends when the client has not come for visitsFor. A new
// client takes the place of one whose count has ended, else of the one with the fewest visits. So a flood of clients
// that come once takes places from one another.
type Visits struct {
	counts *lossy.Numbers // the second of the last visit (24) · their number (8)
}

const (
	visitsFor = uint32(10 * time.Minute / time.Second)
	visitFor  = uint32(3 * time.Second / time.Second)

	visitsMost = 1<<8 - 1
	visitsTime = 1<<24 - 1 // half a year: an older count is taken for a current one once in 27,000 times
)

// NewVisits returns a Visits without visits.
func NewVisits() *Visits { return &Visits{lossy.NewNumbers(1 << 14)} }

// age returns how long ago the last visit of a count was. It is large if a clock has stepped back.
func age(count, now uint32) uint32 { return (now - count>>8) & visitsTime }

// isSame reports whether a request belongs to the last visit of a count. That one may be a moment ahead, since requests
// come at the same time.
func isSame(count, now uint32) bool { return age(count, now+visitFor) < 2*visitFor }

// current returns the number of visits of a count, 0 if it has ended. A clock that has stepped back ends it, too.
func current(count, now uint32) uint32 {
	if count == 0 || age(count, now) >= visitsFor && !isSame(count, now) {
		return 0
	}
	return count & visitsMost
}

// next returns the count of a client that makes a request.
func next(count, now uint32) uint32 {
	n := current(count, now)
	if n > 0 && isSame(count, now) {
		return count
	}
	return (now&visitsTime)<<8 | min(n+1, visitsMost)
}

// Count counts a request of a subject, and returns how often it has come. Of two at the same time, one may be lost.
func (v *Visits) Count(key record.Key, now uint32) int {
	visits := func(count uint32) uint32 { return current(count, now) }
	return int(v.counts.Change(uint64(key), visits, func(count uint32) uint32 { return next(count, now) }) & visitsMost)
}

// Peek returns what Count would, and counts nothing.
func (v *Visits) Peek(key record.Key, now uint32) int {
	return int(next(v.counts.Get(uint64(key)), now) & visitsMost)
}
