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

// room bounds the buckets that an instance keeps in the store, whatever the number of subjects. The store
// keeps a bucket until it is full, and each token that it counts adds to that time. An instance may add
// maxBuckets seconds in each second: on average, it then has maxBuckets buckets there. In the zero room,
// nothing is taken.
type room struct {
	until atomic.Int64 // when all of the room is free again; nanoseconds since any fixed time
}

// take takes room for tokens that keep a bucket in the store for a longer time, and reports whether there
// is any. Urgent is a bucket of which less than half remains, since its client may soon be refused: for
// those there is twice as much room.
func (m *room) take(now, longer time.Duration, urgent bool) bool {
	most := roomBurst
	if urgent {
		most *= 2
	}
	for {
		old := m.until.Load()
		until := max(old, int64(now)) + int64(longer/maxBuckets)
		if until-int64(now) > int64(most) {
			return false
		}
		if m.until.CompareAndSwap(old, until) {
			return true
		}
	}
}
