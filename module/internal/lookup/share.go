package lookup

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// While another instance asks a provider, its answer is looked for at these intervals, twice as long each time: the first
// requests may still be waiting, later ones are not.
const (
	lookFirst = 5 * time.Millisecond
	lookMost  = 200 * time.Millisecond

	// leaseSlack is how much longer than a look-up a claim holds, so that it ends by itself only when its owner is gone.
	leaseSlack = time.Second

	// An answer that could not be shared is offered again after these pauses, each four times as long. One exchange that took too
	// long must not cost every other instance its own call, or leave them waiting until the claim ends.
	tellAgain  = 100 * time.Millisecond
	tellAtMost = 1600 * time.Millisecond
)

// share takes over what other instances know of the due providers, and waits for what they are asking. The providers that
// this instance is to ask are given to ask. It returns those that have to be asked because the shared memory is away, and
// whether there was no time left to wait for another instance.
func (e *Engine) share(ctx context.Context, key record.Key, due []*provider, ask func(*provider)) (alone []*provider, awaited bool) {
	for pause := lookFirst; len(due) > 0; pause = min(2*pause, lookMost) {
		rec, mine, err := e.Shared.Claim(ctx, key, namesOf(due), e.Timeout+leaseSlack)
		if ctx.Err() != nil {
			return nil, true
		}
		if err != nil {
			return due, false
		}
		e.Memory.Update(key, func(kept *record.Record) {
			kept.Retain(e.ids)
			kept.Merge(&rec)
		})
		now := record.Seconds(time.Now())
		due = slices.DeleteFunc(due, func(p *provider) bool {
			if slices.Contains(mine, p.Source.Name) {
				ask(p)
				return true
			}
			a := rec.Find(p.id)
			return a != nil && now < a.Due
		})
		if len(due) == 0 {
			return nil, false
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, true
		}
	}
	return nil, false
}

func namesOf(list []*provider) []string {
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = p.Source.Name
	}
	return names
}

// tell gives the other instances an answer, or the leave to ask for themselves. Nobody waits for that.
func (e *Engine) tell(about context.Context, key record.Key, p *provider, a answer) {
	if e.Shared == nil {
		return
	}
	e.running.Go(func() {
		defer func() {
			if r := recover(); r != nil {
				e.Logger.ErrorContext(about, "sharing an answer panicked; this is a bug", slog.String("provider", p.Source.Name), slog.Any("panic", r))
			}
		}()
		e.telling.Add(1)
		defer e.telling.Add(-1)
		// an error is Redis being away, which is noticed, counted and said where it is asked
		err := e.tellOnce(about, key, p, a)
		for pause := tellAgain; err != nil && pause <= tellAtMost; pause *= 4 {
			if e.telling.Load() > int64(e.MaxInFlight) || !e.pause(pause) {
				return
			}
			err = e.tellOnce(about, key, p, a)
		}
	})
}

func (e *Engine) tellOnce(about context.Context, key record.Key, p *provider, a answer) error {
	if reputation.ResultOf(a.err).Answered() {
		return e.Shared.Store(about, key, p.Source.Name, a.report, a.at, a.at.Add(p.ttl(a.report)))
	}
	if e.base.Err() == nil { // else it was given up here, which says nothing of the service
		return e.Shared.Fail(about, key, p.Source.Name, holdBack(a))
	}
	return nil
}

// pause reports whether the engine is still in use after a while.
func (e *Engine) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return !e.flights.closed.Load()
	case <-e.base.Done():
		return false
	}
}

// holdBack is how long a failure keeps all instances from asking. What is this instance's own affair, such as its
// concurrency, its circuit breaker or its key, keeps nobody.
func holdBack(a answer) time.Duration {
	var skipped *reputation.SkippedError
	if errors.As(a.err, &skipped) || reputation.ResultOf(a.err) == reputation.ResultRefused {
		return 0
	}
	return retryIn(a)
}

// Sources returns the names of the providers.
func (e *Engine) Sources() []string { return e.names }

// Recall takes over what other instances have learnt of addr, so that Explain knows it too. It asks no provider.
func (e *Engine) Recall(ctx context.Context, addr netip.Addr) {
	if e.Shared == nil || len(e.sources) == 0 || reputation.IsReserved(addr) {
		return
	}
	key := record.KeyOf(addr)
	rec, err := e.Shared.Load(ctx, key, e.names)
	if err != nil || rec.Empty() {
		return
	}
	e.Memory.Update(key, func(kept *record.Record) {
		kept.Retain(e.ids)
		kept.Merge(&rec)
	})
}

// LearnFacts remembers what local databases say of the subject of addr, instead of what they said before. It beats what
// providers say. It must not be called on a request's way: writers of the memory wait for each other.
func (e *Engine) LearnFacts(addr netip.Addr, f reputation.Facts) {
	if e.Memory == nil || reputation.IsReserved(addr) {
		return
	}
	e.Memory.Update(record.KeyOf(addr), func(rec *record.Record) { rec.SetDatabaseFacts(f) })
}

// Forget drops what is remembered of the subject of addr, here and in the memory that instances share, and reports whether
// there was anything. The error says that the latter was away. The other instances have to be told in any case, so that each
// calls ForgetUntil.
func (e *Engine) Forget(ctx context.Context, addr netip.Addr) (found bool, err error) {
	if e.Memory == nil || reputation.IsReserved(addr) {
		return false, nil
	}
	key := record.KeyOf(addr)
	found = e.Memory.Delete(key)
	if e.Shared == nil {
		return found, nil
	}
	shared, err := e.Shared.Forget(ctx, key, e.names)
	return found || shared, err
}

// ForgetUntil drops what this instance learnt of a subject until a time.
func (e *Engine) ForgetUntil(key record.Key, until time.Time) {
	if e.Memory == nil {
		return
	}
	if !e.Memory.Get(key, new(record.Record)) {
		return
	}
	left := true
	e.Memory.Update(key, func(kept *record.Record) { left = kept.Drop(record.Seconds(until)) })
	if !left {
		e.Memory.Delete(key)
	}
}
