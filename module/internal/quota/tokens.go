package quota

import (
	"time"

	xrate "golang.org/x/time/rate"
)

// tokens are the calls that a rate has room for: a bucket that is full at first. It is not safe for concurrent use.
type tokens struct {
	limit  xrate.Limit
	burst  int
	bucket *xrate.Limiter
}

// take takes n calls from the rate, so many a second and at most burst at once, or returns when there will be as many.
// Another rate than the last one holds at once, for the tokens that are left.
func (b *tokens) take(perSecond float64, burst, n int, now time.Time) time.Time {
	limit := xrate.Limit(perSecond)
	if b.bucket == nil {
		b.limit, b.burst, b.bucket = limit, burst, xrate.NewLimiter(limit, burst)
	}
	if b.limit != limit || b.burst != burst {
		b.bucket.SetLimitAt(now, limit)
		b.bucket.SetBurstAt(now, burst)
		b.limit, b.burst = limit, burst
	}
	if b.bucket.AllowN(now, n) {
		return time.Time{}
	}
	missing := float64(n) - b.bucket.TokensAt(now)
	return now.Add(time.Duration(missing / perSecond * float64(time.Second)))
}
