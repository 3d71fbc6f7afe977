package limit

import (
	"sync/atomic"
	"time"
)

const (
	// maxBuckets is how many buckets one instance keeps in the store, on average: 12 MB of Redis.
	maxBuckets = 100_000

	// roomBurst is how far an instance may be ahead of that average.
	roomBurst = 10 * time.Minute
)

// room bounds the buckets that an instance keeps in the store, whatever the number of subjects. A bucket is
// there until it is full. Counting tokens makes that later, so the time by which it does is what is counted:
// maxBuckets seconds in a second are maxBuckets buckets. The zero room has all of it.
type room struct {
	until atomic.Int64 // when what was taken is over; nanoseconds since any fixed time
}

// take takes room for a bucket that fills later by the given time, and reports whether there is any. A
// bucket of which less than half remains may use twice as much: its client may soon be refused.
func (m *room) take(now, later time.Duration, urgent bool) bool {
	most := roomBurst
	if urgent {
		most *= 2
	}
	for {
		old := m.until.Load()
		until := max(old, int64(now)) + int64(later/maxBuckets)
		if until-int64(now) > int64(most) {
			return false
		}
		if m.until.CompareAndSwap(old, until) {
			return true
		}
	}
}
