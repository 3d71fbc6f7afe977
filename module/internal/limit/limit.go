// Package limit limits how many requests of one subject pass in a given time, by token buckets.
//
// A bucket of the rate 10/1m holds 10 tokens and is refilled evenly, one token every 6 s. A request
// takes one. Local has the buckets of this process; Limiter also uses a Store that instances share.
package limit

import "time"

// Decision is whether one request may pass, and the state of its bucket afterwards.
type Decision struct {
	// Allowed means that the request may pass. Allowed requests are counted, refused ones are not.
	Allowed bool

	// Remaining is how many more requests would pass at this moment.
	Remaining int

	// Reset is the time until the bucket is full again, if no further requests come.
	Reset time.Duration

	// RetryAfter is the time until a request would pass. It is 0 if this one was allowed.
	RetryAfter time.Duration
}

// RetryAfterSeconds returns the value of the Retry-After header: whole seconds, rounded up, and at
// least 1, since clients retry at once after 0.
func (d Decision) RetryAfterSeconds() int { return max(wholeSeconds(d.RetryAfter), 1) }

// wholeSeconds rounds up.
func wholeSeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
