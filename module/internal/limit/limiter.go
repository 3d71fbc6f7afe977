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

	// OnError, unless nil, is told why a call of the store failed. It must return soon and not panic.
	OnError func(error)

	// OnWait, unless nil, is told that a request begins to wait for the store. What it returns, unless nil, is called when the
	// wait has ended, with the decision and whether the store has made it. Neither may wait or panic.
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

// closing is no less than MaxInFlight, so that whoever compares the calls with that need not look for it.
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
// The local bucket is asked first. It is never stricter than the store, since it knows of no more than this instance's
// requests and what the store has said, so a request that it refuses is refused: a flood costs no calls. The store is told
// of all others, even if nobody waits for what it says, for the next request profits. As long as it has not answered, has
// failed, or has too many calls to answer already, the local decision holds.
func (l *Limiter) Take(ctx context.Context, r Rule, s Subject, wait time.Duration) Decision {
	now := time.Now()
	d := l.local.Take(r, s, now)
	if !d.Allowed || l.store == nil || r.step == 0 || !l.enter() {
		return d
	}
	answers := make(chan answer, 1)
	go func() {
		defer l.leave()
		answers <- l.tell(context.WithoutCancel(ctx), r, s, now)
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

// answer is what came of asking the store.
type answer struct {
	allowed bool
	ahead   time.Duration
	err     error
}

// tell tells the store of a request and remembers what it says.
func (l *Limiter) tell(ctx context.Context, r Rule, s Subject, now time.Time) answer {
	a := l.ask(ctx, r, s)
	switch {
	case a.err == nil:
		l.local.Learn(r, s, now, a.allowed, a.ahead)
	case l.opts.OnError != nil:
		l.opts.OnError(a.err)
	}
	return a
}

// ask calls the store. One that panics must not take the server with it.
func (l *Limiter) ask(ctx context.Context, r Rule, s Subject) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a = answer{err: fmt.Errorf("counting a request panicked; this is a bug: %v", p)}
		}
	}()
	a.allowed, a.ahead, a.err = l.store.TakeToken(ctx, r.storeKey(s), r.rate)
	return a
}

// enter begins a call, if there is room for one.
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
