package history

import (
	"context"
	"time"
)

const (
	// settleAtMost is how often questions may have a batch made before its time.
	settleAtMost = time.Second

	settlePace = 5 * time.Millisecond
)

// Settle has what was recorded before it was called sent at once, and returns when that is done, or ctx ends: whoever asks what
// the Store has wants to see what happened just now. Called often, it returns without that.
func (r *Recorder) Settle(ctx context.Context) {
	sealed := make(chan time.Time, 1)
	select {
	case r.settle <- sealed:
	case <-ctx.Done():
		return
	case <-r.stop:
		return
	}
	tick := time.NewTicker(settlePace)
	defer tick.Stop()
	var at time.Time
	for at.IsZero() || r.spool.has(at) {
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

// settle makes a batch of all that is there, unless that was done a moment ago, and tells when.
func (c *collector) settle(sealed chan<- time.Time) {
	if now := time.Now(); now.Sub(c.settled) < settleAtMost {
		sealed <- time.Time{}
		return
	}
	for range len(c.queue) {
		e := <-c.queue
		c.take(&e)
	}
	c.seal()
	c.settled = time.Now()
	sealed <- c.settled
}

// has reports whether a batch waits that was made before.
func (s *spool) has(before time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.list) > 0 && s.list[0].at <= before.UnixNano()
}
