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

const (
	// While another instance asks a provider, the shared memory is polled for its answer. The pause
	// doubles each time: the request that started the call may still be waiting during the first
	// ones.
	pollFirst = 5 * time.Millisecond
	pollMost  = 200 * time.Millisecond

	// leaseSlack is how much longer than a call a claim lasts. A claim thus expires only when its
	// instance is gone.
	leaseSlack = time.Second

	// Publishing an answer is retried after these pauses, each four times as long as the one
	// before. Without a retry, one slow exchange would cost every other instance a request of its
	// own, or make it wait for the claim to expire.
	publishRetryFirst = 100 * time.Millisecond
	publishRetryMost  = 1600 * time.Millisecond

	// maxExchanges is how many claims and answers are under way to the shared memory at the same time. Where a provider
	// is asked about many subjects in one request, all of them have their answer at once: more exchanges than the shared
	// memory has connections would be taken for its failure.
	maxExchanges = 8
)

// claimAndWait loads the answers of other instances for the due providers. It calls ask for each
// provider that this instance has claimed, cancels the other reservations, and polls until the other
// instances have answered. It returns the providers that remain to be asked because the shared
// memory is away, and whether the time ended while another instance was asking.
func (e *Engine) claimAndWait(
	ctx context.Context, key record.Key, due []*reservation, ask func(*reservation),
) (unclaimed []*reservation, askedElsewhere bool) {
	for pause := pollFirst; len(due) > 0; pause = min(2*pause, pollMost) {
		rec, mine, err := e.claim(ctx, key, due)
		if ctx.Err() != nil {
			return nil, true
		}
		if err != nil {
			return due, false
		}
		e.mergeShared(key, &rec)
		now := record.Seconds(time.Now())
		due = slices.DeleteFunc(due, func(r *reservation) bool {
			if slices.Contains(mine, r.p.Source.Name) {
				ask(r)
				return true
			}
			r.cancel()
			a := rec.Find(r.p.id)
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

// claim is Shared.Claim, when it is its turn.
func (e *Engine) claim(
	ctx context.Context, key record.Key, due []*reservation,
) (rec record.Record, mine []string, err error) {
	select {
	case e.exchanges <- struct{}{}:
	case <-ctx.Done():
		return rec, nil, ctx.Err() //nolint:wrapcheck // the caller looks at ctx itself
	}
	defer func() { <-e.exchanges }()
	return e.Shared.Claim(ctx, key, namesOf(due), e.Timeout+leaseSlack)
}

// mergeShared adds a record of the shared memory to the one in this instance's memory.
func (e *Engine) mergeShared(key record.Key, shared *record.Record) {
	e.update(key, func(rec *record.Record) {
		rec.Retain(e.ids)
		rec.Merge(shared)
		e.noteNetwork(key, rec, record.Seconds(time.Now()))
	})
}

// publish shares an answer with the other instances, or releases the claim after a failure. It does
// not wait.
func (e *Engine) publish(ctx context.Context, key record.Key, p *provider, a answer) {
	if e.Shared == nil {
		return
	}
	e.background.Go(func() {
		defer func() {
			if r := recover(); r != nil {
				e.Logger.ErrorContext(ctx, "sharing an answer panicked; this is a bug",
					slog.String("provider", p.Source.Name), slog.Any("panic", r))
			}
		}()
		e.publishing.Add(1)
		defer e.publishing.Add(-1)
		// The error is dropped: the implementation of Shared counts and logs that the memory is
		// away.
		err := e.publishOnce(ctx, key, p, a)
		for pause := publishRetryFirst; err != nil && pause <= publishRetryMost; pause *= 4 {
			if e.publishing.Load() > int64(e.MaxInFlight) || !e.pause(pause) {
				return
			}
			err = e.publishOnce(ctx, key, p, a)
		}
	})
}

func (e *Engine) publishOnce(ctx context.Context, key record.Key, p *provider, a answer) error {
	e.exchanges <- struct{}{} // those who are before bound their time
	defer func() { <-e.exchanges }()
	if reputation.ResultOf(a.err).Answered() {
		return e.Shared.Store(ctx, key, p.Source.Name, a.report, a.at, a.at.Add(p.ttl(a.report)))
	}
	if e.base.Err() == nil { // after Close, the failure is a cancellation and says nothing about the service
		return e.Shared.Fail(ctx, key, p.Source.Name, retrySharedIn(a))
	}
	return nil
}

// pause waits, and reports whether the engine is still open afterwards.
func (e *Engine) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return !e.calls.closed.Load()
	case <-e.base.Done():
		return false
	}
}

// retrySharedIn returns how long a failure keeps all instances from asking. A failure that concerns
// only this instance, such as its concurrency, circuit breaker or key, does not keep the others
// from asking.
func retrySharedIn(a answer) time.Duration {
	var skipped *reputation.SkippedError
	if errors.As(a.err, &skipped) || reputation.ResultOf(a.err) == reputation.ResultRefused {
		return 0
	}
	return retryIn(a)
}

// Sources returns the names of the providers.
func (e *Engine) Sources() []string { return e.names }

// Recall loads the answers of other instances for addr into the memory, so that Explain sees them.
// It asks no provider.
func (e *Engine) Recall(ctx context.Context, addr netip.Addr) {
	if e.Shared == nil || len(e.sources) == 0 || reputation.IsReserved(addr) {
		return
	}
	_ = e.Shared.Load(ctx, []record.Key{record.KeyOf(addr)}, e.names, e.mergeShared)
}

// Forget deletes the record of the subject of addr from the memory and from the shared memory, and
// reports whether there was one. An error means that the shared memory is away. In either case, the
// caller has to notify the other instances, and each of them has to call ForgetUntil.
func (e *Engine) Forget(ctx context.Context, addr netip.Addr) (found bool, err error) {
	if e.Memory == nil || reputation.IsReserved(addr) {
		return false, nil
	}
	key := record.KeyOf(addr)
	e.forgetNetwork(key, record.Seconds(time.Now()))
	found = e.Memory.Delete(key)
	if e.Shared == nil {
		return found, nil
	}
	shared, err := e.Shared.Forget(ctx, key, e.names)
	return found || shared, err
}

// ForgetUntil deletes the answers about a subject that this instance fetched up to a time.
func (e *Engine) ForgetUntil(key record.Key, until time.Time) {
	if e.Memory == nil {
		return
	}
	until = record.Earlier(until, time.Now()) // the clock of who has deleted it may be ahead
	e.forgetNetwork(key, record.Seconds(until))
	if !e.Memory.Get(key, new(record.Record)) {
		return
	}
	left := true
	e.update(key, func(rec *record.Record) { left = rec.Drop(record.Seconds(until)) })
	if !left {
		e.Memory.Delete(key)
	}
}
