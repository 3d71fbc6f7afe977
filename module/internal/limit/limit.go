// Package limit counts requests in token buckets: how many of one subject pass in a given time.
//
// A bucket of the rate 10/1m holds 10 tokens and is refilled evenly, one token every 6 s; a request takes one. Local keeps
// the buckets of this process, Limiter also asks a Store that instances share.
package limit

import "time"

// Decision is whether one request may pass, and what is left of its bucket after it.
type Decision struct {
	// Allowed says that the request may pass. It has been counted; a refused request has not.
	Allowed bool

	// Remaining is how many more requests would pass at this moment.
	Remaining int

	// Reset is how long it takes until the bucket is full again, if nothing comes in between.
	Reset time.Duration

	// RetryAfter is how long it takes until a request passes. It is 0 for one that was allowed.
	RetryAfter time.Duration
}

// RetryAfterSeconds returns RetryAfter as the Retry-After header has it: whole seconds, rounded up, and at least 1, since
// clients take 0 for an invitation.
func (d Decision) RetryAfterSeconds() int { return max(wholeSeconds(d.RetryAfter), 1) }

// wholeSeconds rounds up.
func wholeSeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
