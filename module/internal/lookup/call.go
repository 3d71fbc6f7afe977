package lookup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// After a failure, a provider is asked about the subject again only after a pause. The provider's
// own terms decide whether a request is sent, but every attempt costs a goroutine.
const (
	retryAfterFailure = time.Minute
	retryMost         = record.MaxPause
)

// calls holds the calls, at most one for each subject. Only requests that need a provider use it, so
// its locks do not slow the others.
type calls struct {
	shards [64]callShard
	count  atomic.Int64
	closed atomic.Bool
}

type callShard struct {
	sync.Mutex
	all map[record.Key]*call
}

func (c *calls) shard(key record.Key) *callShard {
	return &c.shards[uint64(key)*0x9e3779b97f4a7c15>>58]
}

// runs reports whether there is a call about a subject.
func (c *calls) runs(key record.Key) bool {
	shard := c.shard(key)
	shard.Lock()
	defer shard.Unlock()
	return shard.all[key] != nil
}

// call finds out what is not known about one subject. Requests for the same subject share it. Its
// way leads over the shared memory, if there is one that was not asked about the subject lately; a
// queue, if the providers have no room at the moment; and the providers. done is closed when all of
// them have answered or failed, or nobody may be asked.
type call struct {
	key  record.Key
	addr netip.Addr
	all  bool // ask all providers, not only those whose answers are due: an operator asks

	request Request   // that started the call
	others  []Request // that wait for it, too; see join
	worth   rising    // of the answers
	done    chan struct{}
	far     chan struct{} // closed when the call is so far back in the queue that no request waits for it

	passed group     // see progress
	until  time.Time // when no further provider is asked; zero until the call runs

	ctx context.Context // ends with the engine; holds what the Tracer took from the request that started the call
	end func(reputation.Origin)

	// valid after done
	origin         reputation.Origin // where the answer came from
	askedElsewhere bool              // another instance was still asking
}

// wait reports whether the call was done before the given time had passed and before the request's
// context ended.
func (c *call) wait(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-c.done:
		return true
	case <-c.far:
		select {
		case <-c.done:
			return true
		default:
			return false
		}
	case <-timer.C:
		return false
	case <-ctx.Done():
		return false
	}
}

// close prevents new calls. It takes every lock once, so that no call is being started when it
// returns.
func (c *calls) close() {
	c.closed.Store(true)
	for i := range c.shards {
		c.shards[i].Lock()
		c.shards[i].Unlock() //nolint:staticcheck // empty on purpose
	}
}

// startCall returns the call of a subject, or starts one for the request. Without any, nobody may
// be asked at present: this is known at once and costs next to nothing, since while a quota is
// spent it is the answer for most unknown clients. rec is what the memory has of the subject.
func (e *Engine) startCall(
	request context.Context, l *local, rec *record.Record, all bool, now time.Time,
) (_ *call, started bool) {
	key := record.KeyOf(l.addr)
	if !all {
		l.worth = e.worth(l, e.visits.Count(key, record.Seconds(now)))
	}
	shard := e.calls.shard(key)
	shard.Lock()
	defer shard.Unlock()
	if known := shard.all[key]; known != nil {
		known.join(l.request)
		known.worth.raise(l.worth)
		return known, false
	}
	if e.calls.closed.Load() {
		return nil, false
	}
	first := !all && e.seen.first(key, record.Seconds(now))
	load := first && e.Shared != nil && e.loading.take(key)
	var r reserved
	if !load {
		r = e.reserve(key, l, rec, all, first || all, now)
		if len(r.list) == 0 && (!r.waits || !e.takeWaiting(key, l.worth)) {
			return nil, false
		}
	}
	// The call outlives the request that started it, because other requests may wait for the same
	// answer.
	c := &call{
		key: key, addr: l.addr, all: all, request: l.request, origin: reputation.OriginRedis,
		done: make(chan struct{}), far: make(chan struct{}),
	}
	c.worth.raise(l.worth)
	c.ctx, c.end = e.Tracer.Start(e.base, request)
	if shard.all == nil {
		shard.all = make(map[record.Key]*call)
	}
	shard.all[key] = c
	e.calls.count.Add(1)
	if load {
		e.loads.push(e, c)
	} else {
		e.proceed(c, r)
	}
	return c, true
}

// proceed does what reserve has found out to be possible.
func (e *Engine) proceed(c *call, r reserved) {
	c.passed = r.passed
	switch {
	case len(r.list) > 0:
		e.background.Go(func() { e.run(c, r.list) })
	case r.waits:
		e.queue.push(e, c)
	default:
		e.finish(c)
	}
}

// finish ends a call.
func (e *Engine) finish(c *call) {
	shard := e.calls.shard(c.key)
	shard.Lock()
	delete(shard.all, c.key)
	shard.Unlock()
	e.calls.count.Add(-1)
	if c.end != nil {
		c.end(c.origin)
	}
	close(c.done)
}

// run makes a call for which there are reservations, rung by rung.
func (e *Engine) run(c *call, list []reservation) {
	defer func() {
		if r := recover(); r != nil {
			e.Logger.ErrorContext(c.ctx, "looking an address up in the background panicked; this is a bug",
				slog.Any("panic", r))
		}
		e.running.free(c.key)
		e.finish(c)
		e.queue.wake()
	}()
	c.origin, c.until = reputation.OriginNone, time.Now().Add(e.Timeout)
	for len(list) > 0 {
		origin, elsewhere := e.askReserved(c, list)
		c.origin, c.askedElsewhere = max(c.origin, origin), elsewhere
		list = e.climb(c)
	}
}

// askReserved asks the providers in parallel, and stores their answers. Of the instances that share
// a memory, only one asks a provider. askReserved returns where the answer came from, and whether
// another instance was still asking at the end.
func (e *Engine) askReserved(c *call, list []reservation) (origin reputation.Origin, askedElsewhere bool) {
	limited, cancel := context.WithTimeout(c.ctx, e.Timeout)
	defer cancel()
	defer func() {
		for i := range list {
			list[i].cancel()
		}
	}()
	origin = reputation.OriginMemory
	due := e.stillDue(c, list)
	var asked sync.WaitGroup
	ask := func(r *reservation) {
		origin = reputation.OriginProvider
		taken := r.take()
		asked.Go(func() { e.askProvider(c, taken) })
	}
	if e.Shared != nil && !c.all && len(due) > 0 {
		origin = reputation.OriginRedis
		due, askedElsewhere = e.claimAndWait(limited, c.key, due, ask)
	}
	for _, r := range due {
		ask(r)
	}
	asked.Wait()
	return origin, askedElsewhere
}

// stillDue returns the reservations for the providers whose answers are not in the memory. Get may
// have missed a record, which would cost a needless call. Update never does.
func (e *Engine) stillDue(c *call, list []reservation) (due []*reservation) {
	now := record.Seconds(time.Now())
	e.update(c.key, func(rec *record.Record) {
		for i := range list {
			if a := rec.Find(list[i].p.id); c.all || a == nil || now >= a.Due {
				due = append(due, &list[i])
			}
		}
	})
	return due
}

// answer is the outcome of asking one provider.
type answer struct {
	report reputation.Report
	err    error
	at     time.Time
}

// askProvider asks one provider, and stores and publishes its answer. It recovers from every panic,
// so that neither a provider nor a bug of this package can end the server. It has a time limit of
// its own, because waiting for another instance may have used up that of the call.
func (e *Engine) askProvider(c *call, r reservation) {
	limited, cancel := context.WithTimeout(c.ctx, e.Timeout)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			e.Logger.ErrorContext(limited, "remembering an answer panicked; this is a bug",
				slog.String("provider", r.p.Source.Name), slog.Any("panic", v))
		}
	}()
	a := e.checkProvider(limited, r, c.addr)
	e.store(c.key, r.p, a)
	e.publish(c.ctx, c.key, r.p, a)
}

// checkProvider returns the provider's answer. A panic is a failure.
func (e *Engine) checkProvider(ctx context.Context, r reservation, addr netip.Addr) (a answer) {
	defer func() {
		if v := recover(); v != nil {
			e.Logger.ErrorContext(ctx, "asking a provider panicked; this is a bug",
				slog.String("provider", r.p.Source.Name), slog.Any("panic", v))
			a = answer{err: fmt.Errorf("provider %s panicked", r.p.Source.Name), at: time.Now()}
		}
	}()
	report, err := r.check(ctx, r.p.query(addr))
	return answer{report: report, err: err, at: time.Now()}
}

// store writes an answer to the memory. A failure does not replace an earlier answer. It only sets
// the time of the next attempt.
func (e *Engine) store(key record.Key, p *provider, a answer) {
	e.update(key, func(rec *record.Record) {
		rec.Retain(e.ids)
		defer rec.Retain(e.ids) // for FindAt
		if reputation.ResultOf(a.err).Answered() {
			given := record.Pack(p.id, a.report, a.at, a.at.Add(p.ttl(a.report)))
			rec.Learn(given, a.report.Facts)
			e.networks.note(key, &given, record.Seconds(a.at))
			return
		}
		failed := record.Answer{Source: p.id}
		if old := rec.Find(p.id); old != nil {
			failed = *old
		}
		failed.Failed = true
		failed.Due = record.Seconds(a.at.Add(retryIn(a)))
		rec.Set(failed)
	})
}

// retryIn returns how long after a failure the provider is not asked about the subject again.
func retryIn(a answer) time.Duration {
	var skipped *reputation.SkippedError
	if errors.As(a.err, &skipped) && skipped.Until.After(a.at) {
		return min(skipped.Until.Sub(a.at), retryMost)
	}
	return retryAfterFailure
}
