// Package backoff says how long to wait after failures: each pause is twice as long as the one before, up to a longest, or
// what the server asks for.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Policy is how pauses grow. It has no state: the caller counts its failures, and starts again from zero
// after a success. The zero value never waits.
type Policy struct {
	// First is the pause after the first failure.
	First time.Duration

	// Most is the longest pause. It also bounds First.
	Most time.Duration
}

// Pause returns the pause after this many failures in a row. Without a failure there is none.
func (p Policy) Pause(failures int) time.Duration {
	if failures <= 0 {
		return 0
	}
	pause := min(p.First, p.Most)
	for i := 1; i < failures && pause > 0 && pause < p.Most; i++ {
		pause += min(pause, p.Most-pause) // no overflow
	}
	return max(pause, 0)
}

// Jitter multiplies a pause by a random factor between least and most, so that instances that fail together do not come
// back together.
func Jitter(pause time.Duration, least, most float64) time.Duration {
	return jitter(pause, least, most, rand.Float64())
}

// jitter takes chance, from 0 up to 1, as a parameter, for tests.
func jitter(pause time.Duration, least, most, chance float64) time.Duration {
	return time.Duration(float64(pause) * (least + (most-least)*chance))
}
