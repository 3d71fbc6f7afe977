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

// After a failure a subject is asked about again only after a while: the services' own terms decide whether the call
// is made, but every attempt costs a goroutine.
const (
	retryAfterFailure = time.Minute
	retryAtMost       = 5 * time.Minute
)

// flights are the look-ups under way, each subject once. Only requests that need a provider come here, so that a lock is
// no harm to the others.
type flights struct {
	shards [64]struct {
		sync.Mutex
		under map[record.Key]*flight
	}
	count  atomic.Int64
	closed atomic.Bool
}

// flight is one look-up under way. done is closed when all its providers have answered or failed.
type flight struct {
	done  chan struct{}
	about context.Context // ends with the engine, and knows what the log is to know of the request that started it

	// known once it is done
	origin  reputation.Origin // where the answer came from
	awaited bool              // another instance was still asking
}

// wait reports whether the look-up ended before wait had passed and before the request was given up.
func (f *flight) wait(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-f.done:
		return true
	case <-timer.C:
		return false
	case <-ctx.Done():
		return false
	}
}

// close lets no further look-up start. Passing through every lock makes sure that none is half started.
func (f *flights) close() {
	f.closed.Store(true)
	for i := range f.shards {
		f.shards[i].Lock()
		f.shards[i].Unlock() //nolint:staticcheck // empty on purpose
	}
}

// depart returns the look-up under way for a subject, starting one on behalf of a request if there is none: of the providers
// that are due, or of all. It returns nil when too many are under way already.
func (e *Engine) depart(request context.Context, key record.Key, addr netip.Addr, all bool) (_ *flight, started bool) {
	f := &e.flights
	shard := &f.shards[uint64(key)*0x9e3779b97f4a7c15>>58]
	shard.Lock()
	defer shard.Unlock()
	if under := shard.under[key]; under != nil {
		return under, false
	}
	if f.closed.Load() {
		return nil, false
	}
	if f.count.Add(1) > int64(e.MaxInFlight) {
		f.count.Add(-1)
		return nil, false
	}
	// detached from the request that started it: others may wait for the same answer
	about, arrived := e.Tracer.Start(e.base, request)
	departed := &flight{done: make(chan struct{}), about: about}
	if shard.under == nil {
		shard.under = make(map[record.Key]*flight)
	}
	shard.under[key] = departed
	e.running.Go(func() {
		defer func() {
			if r := recover(); r != nil {
				e.Logger.ErrorContext(about, "looking an address up in the background panicked; this is a bug", slog.Any("panic", r))
			}
			shard.Lock()
			delete(shard.under, key)
			shard.Unlock()
			f.count.Add(-1)
			close(departed.done)
		}()
		departed.origin, departed.awaited = e.fly(about, key, addr, all)
		if arrived != nil {
			arrived(departed.origin)
		}
	})
	return departed, true
}

// fly asks the providers that are due (or all), at the same time, and remembers what they say. Of the instances that share a
// memory one asks for all. It returns where the answer came from, and whether another instance was still asking in the end.
func (e *Engine) fly(about context.Context, key record.Key, addr netip.Addr, all bool) (origin reputation.Origin, awaited bool) {
	ctx, cancel := context.WithTimeout(about, e.Timeout)
	defer cancel()
	now := record.Seconds(time.Now())
	due := make([]*provider, 0, len(e.sources))
	e.Memory.Update(key, func(rec *record.Record) { // Get may miss, and a miss would cost a call
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
		asked.Go(func() { e.askOne(about, key, p, addr) })
	}
	if e.Shared != nil && !all && len(due) > 0 {
		origin = reputation.OriginRedis
		due, awaited = e.share(ctx, key, due, ask)
	}
	for _, p := range due {
		ask(p)
	}
	asked.Wait()
	return origin, awaited
}

// answer is what came of asking one provider.
type answer struct {
	report reputation.Report
	err    error
	at     time.Time
}

// askOne asks one provider and remembers what it says. A provider that panics has given no answer; neither it nor a fault
// of ours may take the server with it. It has its own time: the look-up may have spent its own waiting for another instance.
func (e *Engine) askOne(about context.Context, key record.Key, p *provider, addr netip.Addr) {
	ctx, cancel := context.WithTimeout(about, e.Timeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			e.Logger.ErrorContext(ctx, "remembering an answer panicked; this is a bug", slog.String("provider", p.Source.Name), slog.Any("panic", r))
		}
	}()
	a := e.check(ctx, p, addr)
	e.remember(key, p, a)
	e.tell(about, key, p, a)
}

func (e *Engine) check(ctx context.Context, p *provider, addr netip.Addr) (a answer) {
	defer func() {
		if r := recover(); r != nil {
			e.Logger.ErrorContext(ctx, "asking a provider panicked; this is a bug", slog.String("provider", p.Source.Name), slog.Any("panic", r))
			a = answer{err: fmt.Errorf("provider %s panicked", p.Source.Name), at: time.Now()}
		}
	}()
	report, err := p.Provider.Provider.Check(ctx, reputation.Query{Addr: addr})
	return answer{report: report, err: err, at: time.Now()}
}

// remember keeps an answer. A failure is not an answer: it leaves what was known, and says when to try again.
func (e *Engine) remember(key record.Key, p *provider, a answer) {
	e.Memory.Update(key, func(rec *record.Record) {
		rec.Retain(e.ids)
		defer rec.Retain(e.ids) // for FindAt
		if reputation.ResultOf(a.err).Answered() {
			rec.Learn(record.Pack(p.id, a.report, a.at, a.at.Add(p.ttl(a.report))), a.report.Facts)
			return
		}
		kept := record.Answer{Source: p.id}
		if old := rec.Find(p.id); old != nil {
			kept = *old
		}
		kept.Failed = true
		kept.Due = record.Seconds(a.at.Add(retryIn(a)))
		rec.Set(kept)
	})
}

// ttl is how long a report holds.
func (p *provider) ttl(r reputation.Report) time.Duration {
	switch {
	case r.TTL > 0:
		return r.TTL
	case r.Severity > 0:
		return p.ListedTTL
	}
	return p.CleanTTL
}

// retryIn is how long after a failure a subject is not asked about again.
func retryIn(a answer) time.Duration {
	var skipped *reputation.SkippedError
	if errors.As(a.err, &skipped) && skipped.Until.After(a.at) {
		return min(skipped.Until.Sub(a.at), retryAtMost)
	}
	return retryAfterFailure
}

// identify gives each provider its place in records.
func identify(list []Provider) ([]provider, error) {
	if len(list) > record.MaxAnswers {
		return nil, fmt.Errorf("%d providers are more than the %d that can be remembered: remove some", len(list), record.MaxAnswers)
	}
	names := make(map[record.SourceID]string, len(list))
	identified := make([]provider, len(list))
	for i, p := range list {
		id := record.IDOf(p.Source.Name)
		switch other, taken := names[id]; {
		case taken && other == p.Source.Name:
			return nil, fmt.Errorf("two providers are named %q: give one of them another name", other)
		case taken:
			return nil, fmt.Errorf("providers %q and %q cannot be told apart in records: give one of them another name", other, p.Source.Name)
		}
		names[id] = p.Source.Name
		identified[i] = provider{Provider: p, id: id, covers: p.Provider.Profile().Covers}
	}
	return identified, nil
}
