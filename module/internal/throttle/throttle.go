// Package throttle logs an entry at most once a minute per cause.
package throttle

import (
	"sync"
	"time"
)

// Interval is the shortest time between two entries with the same cause.
const Interval = time.Minute

// maxCauses bounds the memory. One more cause clears it, so that each may be logged again.
const maxCauses = 256

// Causes remembers when each cause was last logged. The zero value is ready, and it is safe for concurrent use.
type Causes[K comparable] struct {
	mu     sync.Mutex
	logged map[K]time.Time
}

// Allow reports whether a cause may be logged at now. If so, it is not allowed again for an Interval.
func (c *Causes[K]) Allow(cause K, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := c.logged[cause]; !last.IsZero() && now.Sub(last) < Interval {
		return false
	}
	if c.logged == nil || len(c.logged) >= maxCauses {
		c.logged = make(map[K]time.Time)
	}
	c.logged[cause] = now
	return true
}
