package ledger

import (
	"time"

	xrate "golang.org/x/time/rate"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
)

const maxBurst = 5 // calls at the same time, within the rate

// BurstOf returns how many calls a rate allows at once. It is small: services count in windows of their own, in which
// a burst on top of the rate would exceed the limit.
func BurstOf(r rate.Rate) int { return min(r.Events, maxBurst) }

// Bucket is a token bucket that is full at first. It is not safe for concurrent use.
type Bucket struct {
	limit  xrate.Limit
	burst  int
	bucket *xrate.Limiter
}

// Take takes n tokens from the bucket. If there are fewer, it returns when there will be n.
func (b *Bucket) Take(perSecond float64, burst, n int, now time.Time) time.Time {
	b.adapt(perSecond, burst, now)
	if b.bucket.AllowN(now, n) {
		return time.Time{}
	}
	missing := float64(n) - b.bucket.TokensAt(now)
	return now.Add(time.Duration(missing / perSecond * float64(time.Second)))
}

// Left returns how many tokens are in the bucket.
func (b *Bucket) Left(perSecond float64, burst int, now time.Time) float64 {
	b.adapt(perSecond, burst, now)
	return b.bucket.TokensAt(now)
}

// adapt makes the bucket one of this rate and burst. A change applies at once, to the tokens that
// are left.
func (b *Bucket) adapt(perSecond float64, burst int, now time.Time) {
	limit := xrate.Limit(perSecond)
	if b.bucket == nil {
		b.limit, b.burst, b.bucket = limit, burst, xrate.NewLimiter(limit, burst)
	}
	if b.limit != limit || b.burst != burst {
		b.bucket.SetLimitAt(now, limit)
		b.bucket.SetBurstAt(now, burst)
		b.limit, b.burst = limit, burst
	}
}
