// Package said keeps a log short: what was said a moment ago is not said again.
package said

import (
	"sync"
	"time"
)

// Interval is how long a cause that was said is not said again.
const Interval = time.Minute

// Causes remembers when each cause was last said. There must be few: none is forgotten. The zero value has said nothing, and is
// safe for concurrent use.
type Causes[K comparable] struct {
	mu sync.Mutex
	at map[K]time.Time
}

// Once reports whether a cause may be said at now, and then holds it back for a while.
func (c *Causes[K]) Once(cause K, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := c.at[cause]; !last.IsZero() && now.Sub(last) < Interval {
		return false
	}
	if c.at == nil {
		c.at = make(map[K]time.Time)
	}
	c.at[cause] = now
	return true
}
