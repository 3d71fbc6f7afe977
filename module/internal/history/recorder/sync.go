package recorder

import (
	"context"
	"time"
)

const (
	// syncInterval is the minimum time between two batches that Sync causes.
	syncInterval = time.Second

	syncPoll = 5 * time.Millisecond
)

// Sync sends the events recorded so far, and returns when the Store has them or ctx ends. A caller
// that reads from the Store thereby sees the latest requests. If another call did so less than
// syncInterval ago, it returns at once.
func (r *Recorder) Sync(ctx context.Context) {
	sealed := make(chan time.Time, 1)
	select {
	case r.sync <- sealed:
	case <-ctx.Done():
		return
	case <-r.stop:
		return
	}
	tick := time.NewTicker(syncPoll)
	defer tick.Stop()
	var at time.Time
	for at.IsZero() || r.spool.hasUntil(at) {
		select {
		case at = <-sealed:
			if at.IsZero() {
				return
			}
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-r.stop:
			return
		}
	}
}

// sync makes a batch of everything recorded so far, and reports its time: zero if another call did
// so a moment ago.
func (c *collector) sync(sealed chan<- time.Time) {
	if now := time.Now(); now.Sub(c.synced) < syncInterval {
		sealed <- time.Time{}
		return
	}
	c.seal()
	c.synced = time.Now()
	sealed <- c.synced
}

// hasUntil reports whether a batch waits that was made at t or earlier.
func (s *spool) hasUntil(t time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.list) > 0 && s.list[0].at <= t.UnixNano()
}
