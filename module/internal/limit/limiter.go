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
	// TakeTokens takes tokens from a bucket, in one round trip. It returns whether there was one for
	// the last request, and the time until the bucket is full again, exact to a few microseconds. The
	// implementation sets its own time limit: the context is never cancelled. After an error, the local
	// bucket decides.
	TakeTokens(ctx context.Context, b Batch) (allowed bool, ahead time.Duration, err error)
}

// Batch is a number of requests of one subject.
type Batch struct {
	Key    string        // names the bucket
	Rate   rate.Rate     // of the bucket
	Tokens int           // at least 1; all but the last were let pass before
	Age    time.Duration // since the first of them
}

// Options are the settings of a Limiter.
type Options struct {
	// MaxInFlight is how many calls of the store may run at a time, 512 if it is 0. Further
	// requests are counted by this instance only.
	MaxInFlight int

	// OnError, unless nil, is called with the error of a failed call of the store. It must return
	// quickly and not panic.
	OnError func(error)

	// OnWait, unless nil, is called when a request starts to wait for the store. It may return a
	// function, which is called after the wait with the decision and whether the store made it.
	// Neither may block or panic.
	OnWait func(context.Context) func(d Decision, shared bool)
}

const defaultMaxInFlight = 512

// Limiter decides about requests by the buckets of this process and, if it has one, of a store. It
// is safe for concurrent use. Create it with New, and call Close at the end.
type Limiter struct {
	local *Local
	store Store
	opts  Options

	room  room
	calls atomic.Int64 // running calls, plus closing once Close was called
	idle  chan struct{}
}

// closing marks a closed Limiter in calls. It is at least MaxInFlight, so that enter needs one
// comparison for both.
const closing = 1 << 62

// New returns a Limiter. Several Limiters may share the local
// buckets, also at the same time. The store may be nil.
func New(local *Local, store Store, o Options) *Limiter {
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = defaultMaxInFlight
	}
	o.MaxInFlight = min(o.MaxInFlight, closing)
	return &Limiter{local: local, store: store, opts: o, idle: make(chan struct{})}
}

// Take takes a token for a request that comes now, if there is one. It waits for the store at most
// for the given time, which may be 0, and until ctx ends.
//
// The local bucket decides first. It is never stricter than the store, since it counts only this
// instance's requests and the store's answers. What it refuses is therefore refused, and a flood
// causes no calls. All other requests are counted by the store, in batches that shrink as the bucket
// does: see batchSize. The request that completes a batch asks the store, even if Take does not wait:
// the answer then serves the next request. Until the store has answered, if it fails, if too many
// calls are running, or if the store has no room for the bucket, the local decision counts.
//
// So all instances together let no more requests pass than the rate allows and those that they hold in
// batches.
func (l *Limiter) Take(ctx context.Context, r Rule, s Subject, wait time.Duration) Decision {
	now := time.Now()
	d, place := l.local.take(r, s, now)
	if !d.Allowed || l.store == nil || r.step == 0 {
		return d
	}
	tokens, age := l.local.addToBatch(place, now, r.batchSize(d.Remaining))
	if tokens == 0 {
		return d
	}
	if !l.hasRoom(r, d, tokens, now) || !l.enter() {
		l.local.counted(place, tokens) // by this instance only
		return d
	}
	answers := make(chan answer, 1)
	go func() {
		defer l.leave()
		batch := Batch{Key: r.storeKey(s), Rate: r.rate, Tokens: tokens, Age: age}
		a := l.ask(context.WithoutCancel(ctx), batch)
		l.local.counted(place, tokens)
		l.learn(r, s, a, now)
		answers <- a
	}()
	if wait <= 0 {
		return d
	}
	var done func(Decision, bool)
	if l.opts.OnWait != nil {
		done = l.opts.OnWait(ctx)
	}
	a, shared := await(ctx, answers, wait)
	if shared {
		d = r.decision(a.allowed, a.ahead)
	}
	if done != nil {
		done(d, shared)
	}
	return d
}

// hasRoom takes room in the store for tokens of a bucket.
func (l *Limiter) hasRoom(r Rule, d Decision, tokens int, now time.Time) bool {
	later := r.rate.Per / time.Duration(r.rate.Events) * time.Duration(tokens)
	return l.room.take(l.local.since(now), min(later, r.rate.Per), d.Remaining < r.rate.Events/2)
}

// await waits for the store's answer, and reports whether it came in time and without an error.
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

// learn applies an answer of the store to the local bucket.
func (l *Limiter) learn(r Rule, s Subject, a answer, now time.Time) {
	switch {
	case a.err == nil:
		l.local.Apply(r, s, now, a.allowed, a.ahead)
	case l.opts.OnError != nil:
		l.opts.OnError(a.err)
	}
}

// ask calls the store. It returns a panic of the store as an error.
func (l *Limiter) ask(ctx context.Context, b Batch) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a = answer{err: fmt.Errorf("counting a request panicked; this is a bug: %v", p)}
		}
	}()
	a.allowed, a.ahead, a.err = l.store.TakeTokens(ctx, b)
	return a
}

// enter starts a call, unless too many are running or the Limiter is closed.
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

// Close waits for the running calls, which the store limits in time.
// Afterwards Take decides by the local buckets only.
func (l *Limiter) Close() {
	if l.calls.Or(closing) == 0 {
		close(l.idle)
	}
	<-l.idle
}
