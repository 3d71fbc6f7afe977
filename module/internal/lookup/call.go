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
	retryMost         = 5 * time.Minute
)

// calls holds the calls that are running, at most one for each subject. Only requests that need a
// provider use it, so its locks do not slow the others.
type calls struct {
	shards [64]struct {
		sync.Mutex
		running map[record.Key]*call
	}
	count  atomic.Int64
	closed atomic.Bool
}

// call asks the providers about one subject. Requests for the same subject share it. done is closed
// when every provider has answered or failed.
type call struct {
	done chan struct{}
	ctx  context.Context // ends with the engine; holds what the Tracer took from the request that started the call

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

// startCall returns the running call for a subject, or starts one for the request. The call asks
// the providers whose answers are due, or all of them. startCall returns nil when too many calls
// are running.
func (e *Engine) startCall(
	request context.Context, key record.Key, addr netip.Addr, all bool,
) (_ *call, started bool) {
	shard := &e.calls.shards[uint64(key)*0x9e3779b97f4a7c15>>58]
	shard.Lock()
	defer shard.Unlock()
	if running := shard.running[key]; running != nil {
		return running, false
	}
	if e.calls.closed.Load() {
		return nil, false
	}
	if e.calls.count.Add(1) > int64(e.MaxInFlight) {
		e.calls.count.Add(-1)
		return nil, false
	}
	// The call outlives the request that started it, because other requests may wait for the same
	// answer.
	ctx, end := e.Tracer.Start(e.base, request)
	c := &call{done: make(chan struct{}), ctx: ctx}
	if shard.running == nil {
		shard.running = make(map[record.Key]*call)
	}
	shard.running[key] = c
	e.background.Go(func() {
		defer func() {
			if r := recover(); r != nil {
				e.Logger.ErrorContext(ctx, "looking an address up in the background panicked; this is a bug",
					slog.Any("panic", r))
			}
			shard.Lock()
			delete(shard.running, key)
			shard.Unlock()
			e.calls.count.Add(-1)
			close(c.done)
		}()
		c.origin, c.askedElsewhere = e.runCall(ctx, key, addr, all)
		if end != nil {
			end(c.origin)
		}
	})
	return c, true
}

// runCall asks the providers whose answers are due, or all of them, in parallel, and stores the
// answers. Of the instances that share a memory, only one asks a provider. runCall returns where
// the answer came from, and whether another instance was still asking at the end.
func (e *Engine) runCall(
	ctx context.Context, key record.Key, addr netip.Addr, all bool,
) (origin reputation.Origin, askedElsewhere bool) {
	limited, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	now := record.Seconds(time.Now())
	due := make([]*provider, 0, len(e.sources))
	// Memory.Get may miss a record, which would cost a needless request to the providers. Update
	// never does.
	e.Memory.Update(key, func(rec *record.Record) {
		for i := range e.sources {
			p := &e.sources[i]
			if a := rec.Find(p.id); p.covers.Has(addr) && (all || a == nil || now >= a.Due) {
				due = append(due, p)
			}
		}
	})
	origin = reputation.OriginMemory
	var asked sync.WaitGroup
	ask := func(p *provider) {
		origin = reputation.OriginProvider
		asked.Go(func() { e.askProvider(ctx, key, p, addr) })
	}
	if e.Shared != nil && !all && len(due) > 0 {
		origin = reputation.OriginRedis
		due, askedElsewhere = e.claimAndWait(limited, key, due, ask)
	}
	for _, p := range due {
		ask(p)
	}
	asked.Wait()
	return origin, askedElsewhere
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
func (e *Engine) askProvider(ctx context.Context, key record.Key, p *provider, addr netip.Addr) {
	limited, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			e.Logger.ErrorContext(limited, "remembering an answer panicked; this is a bug",
				slog.String("provider", p.Source.Name), slog.Any("panic", r))
		}
	}()
	a := e.checkProvider(limited, p, addr)
	e.store(key, p, a)
	e.publish(ctx, key, p, a)
}

// checkProvider returns the provider's answer. A panic is a failure.
func (e *Engine) checkProvider(ctx context.Context, p *provider, addr netip.Addr) (a answer) {
	defer func() {
		if r := recover(); r != nil {
			e.Logger.ErrorContext(ctx, "asking a provider panicked; this is a bug",
				slog.String("provider", p.Source.Name), slog.Any("panic", r))
			a = answer{err: fmt.Errorf("provider %s panicked", p.Source.Name), at: time.Now()}
		}
	}()
	report, err := p.Provider.Provider.Check(ctx, reputation.Query{Addr: addr})
	return answer{report: report, err: err, at: time.Now()}
}

// store writes an answer to the memory. A failure does not replace an earlier answer. It only sets
// the time of the next attempt.
func (e *Engine) store(key record.Key, p *provider, a answer) {
	e.Memory.Update(key, func(rec *record.Record) {
		rec.Retain(e.ids)
		defer rec.Retain(e.ids) // for FindAt
		if reputation.ResultOf(a.err).Answered() {
			rec.Learn(record.Pack(p.id, a.report, a.at, a.at.Add(p.ttl(a.report))), a.report.Facts)
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
