package history

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/backoff"
)

// retryJitter is the part of a pause that is left to chance, to either side.
const retryJitter = 0.25

// maxFailures is how often a store may fail over a batch by itself, not for being away, before the batch is taken for one that it
// can never take: what is behind it waits.
const maxFailures = 20

// maxPanics is how often in a row a store may panic over a batch, before it is taken for one that it can never take.
const maxPanics = 3

var errPanic = errors.New("the store panicked; this is a bug")

// pause returns how long to wait after so many failures in a row.
func (p pace) pause(failures int) time.Duration {
	policy := backoff.Policy{First: p.retryFirst, Most: p.retryMost}
	return backoff.Jitter(policy.Pause(failures), 1-retryJitter, 1+retryJitter)
}

// send sends one batch after the other, the oldest first, until the Recorder is closed.
func (r *Recorder) send() {
	var scanned time.Time
	for failures := 0; r.ctx.Err() == nil; {
		if now := time.Now(); scanned.IsZero() || now.Sub(scanned) >= r.pace.scan {
			r.spool.scan()
			scanned = now
		}
		store := r.settings.Load().Store
		var w *waiting
		if store != nil {
			w = r.spool.next(false)
		}
		switch {
		case w == nil:
			r.rest(r.pace.scan-time.Since(scanned), r.spool.added)
		case r.try(r.ctx, store, w) == nil:
			failures = 0
		default:
			failures++
			r.rest(r.pace.pause(failures), nil)
		}
	}
}

// rest waits, until it is woken.
func (r *Recorder) rest(pause time.Duration, added <-chan struct{}) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-added:
	case <-r.wake:
	case <-r.ctx.Done():
	}
}

// try makes one attempt to send a batch. An error says that it waits on.
func (r *Recorder) try(ctx context.Context, store Store, w *waiting) error {
	b, lost, err := r.spool.load(w)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) { // then another process has sent it
			r.spool.unreadable(w.name(), err)
		}
		r.spool.forget(w) // it is looked for again
		return nil
	}
	if len(b.Decisions)+len(b.Changes) > 0 {
		if err := r.hand(ctx, store, w, b); err != nil {
			r.spool.failed(w)
			return err
		}
	}
	r.tally.drop(DropUnreadable, lost)
	r.spool.done(w)
	return nil
}

// hand hands a batch to the store, and counts what becomes of it.
func (r *Recorder) hand(ctx context.Context, store Store, w *waiting, b *Batch) error {
	entries := entriesOf(b)
	stored, err := r.write(ctx, store, b)
	if errors.Is(err, errPanic) {
		if w.panics++; w.panics >= maxPanics {
			err = fmt.Errorf("%w: %w", ErrRejected, err)
		}
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrAway) && !errors.Is(err, ErrSchema) {
		if w.failures++; w.failures >= maxFailures {
			err = fmt.Errorf("%w: %w", ErrRejected, err)
		}
	}
	switch {
	case errors.Is(err, ErrRejected):
		r.tally.drop(DropRejected, entries)
		if r.tally.logged.Allow("rejected", time.Now()) {
			r.tally.log.Error("the database can never take a part of the history, which is dropped", "entries", entries, "error", err)
		}
		return nil
	case err != nil:
		if ctx.Err() == nil { // else it is just the end
			r.tally.storeFailed(err)
		}
		return err
	}
	r.tally.storeFailed(nil)
	expired := min(max(stored.Expired, 0), entries)
	r.tally.written.Add(entries - expired)
	r.tally.drop(DropExpired, expired)
	return nil
}

// write calls the store.
func (r *Recorder) write(ctx context.Context, store Store, b *Batch) (stored Stored, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = errPanic
			if r.tally.logged.Allow("panic", time.Now()) {
				r.tally.log.Error("storing the history panicked; this is a bug", "panic", v)
			}
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, r.pace.patience)
	defer cancel()
	return store.Write(ctx, b)
}
