package limit

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
)

// Store counts for all instances. It must be safe for concurrent use.
type Store interface {
	// TakeToken takes a token from the bucket of the given name and rate, in one round trip. It returns whether there was
	// one, and how far ahead, after that, the bucket is full again, exact to a few microseconds. It bounds its own time:
	// the context is never cancelled. An error means that this instance decides alone.
	TakeToken(ctx context.Context, key string, r rate.Rate) (allowed bool, ahead time.Duration, err error)
}

// Options are the settings of a Limiter.
type Options struct {
	// MaxInFlight is how many calls of the store may be under way at a time, 512 if it is 0. A request beyond them is
	// counted by this instance only.
	MaxInFlight int

	// OnError, unless nil, is called with the error of a failed call of the store. It must return soon and not panic.
	OnError func(error)

	// OnWait, unless nil, is called when a request begins to wait for the store. The function it returns, unless nil, is called
	// when the wait ends, with the decision and whether the store made it. Neither may block or panic.
	OnWait func(context.Context) func(d Decision, shared bool)
}

const defaultMaxInFlight = 512

// Limiter decides about requests by the buckets of this process and, if it has one, by a store. It is safe for concurrent
// use. Create it with New, and Close it when no more decisions are needed.
type Limiter struct {
	local *Local
	store Store
	opts  Options

	calls atomic.Int64 // under way, and closing once Close was called
	idle  chan struct{}
}

// closing marks a closed Limiter in calls. It is at least MaxInFlight, so that comparing calls with that covers it.
const closing = 1 << 62

// New returns a Limiter. Several may share the local buckets, one after another or at the same time. The store may be nil.
func New(local *Local, store Store, o Options) *Limiter {
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = defaultMaxInFlight
	}
	o.MaxInFlight = min(o.MaxInFlight, closing)
	return &Limiter{local: local, store: store, opts: o, idle: make(chan struct{})}
}

// Take takes a token for a request that comes now, if there is one. It never waits longer than it is told to, nor longer
// than ctx lasts, and 0 is not at all.
//
// The local bucket decides first. It is never stricter than the store: it counts this instance's requests and the store's
// answers only. So a request that it refuses is refused, and a flood costs no calls. All other requests are counted by the
// store, even if nobody waits for its answer, which serves the next request. The local decision holds until the store has
// answered, and if it fails or has too many calls under way.
func (l *Limiter) Take(ctx context.Context, r Rule, s Subject, wait time.Duration) Decision {
	now := time.Now()
	d := l.local.Take(r, s, now)
	if !d.Allowed || l.store == nil || r.step == 0 || !l.enter() {
		return d
	}
	answers := make(chan answer, 1)
	go func() {
		defer l.leave()
		answers <- l.count(context.WithoutCancel(ctx), r, s, now)
	}()
	if wait <= 0 {
		return d
	}
	var ended func(Decision, bool)
	if l.opts.OnWait != nil {
		ended = l.opts.OnWait(ctx)
	}
	a, shared := await(ctx, answers, wait)
	if shared {
		d = r.decision(a.allowed, a.ahead)
	}
	if ended != nil {
		ended(d, shared)
	}
	return d
}

// await reports whether the store has answered in time.
func await(ctx context.Context, answers <-chan answer, wait time.Duration) (a answer, answered bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case a = <-answers:
		return a, a.err == nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return answer{}, false
}

// answer is the result of a call of the store.
type answer struct {
	allowed bool
	ahead   time.Duration
	err     error
}

// count counts a request in the store, and teaches the local bucket the answer.
func (l *Limiter) count(ctx context.Context, r Rule, s Subject, now time.Time) answer {
	a := l.ask(ctx, r, s)
	switch {
	case a.err == nil:
		l.local.Learn(r, s, now, a.allowed, a.ahead)
	case l.opts.OnError != nil:
		l.opts.OnError(a.err)
	}
	return a
}

// ask calls the store, and returns a panic of it as an error.
func (l *Limiter) ask(ctx context.Context, r Rule, s Subject) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a = answer{err: fmt.Errorf("counting a request panicked; this is a bug: %v", p)}
		}
	}()
	a.allowed, a.ahead, a.err = l.store.TakeToken(ctx, r.storeKey(s), r.rate)
	return a
}

// enter begins a call, unless too many are under way.
func (l *Limiter) enter() bool {
	for {
		calls := l.calls.Load()
		if calls >= int64(l.opts.MaxInFlight) {
			return false
		}
		if l.calls.CompareAndSwap(calls, calls+1) {
			return true
		}
	}
}

func (l *Limiter) leave() {
	if l.calls.Add(-1) == closing {
		close(l.idle)
	}
}

// Close waits for the calls under way, as long as the store lets them last. The store is not called afterwards: Take then
// decides by the local buckets.
func (l *Limiter) Close() {
	if l.calls.Or(closing) == 0 {
		close(l.idle)
	}
	<-l.idle
}
