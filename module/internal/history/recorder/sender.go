package recorder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/backoff"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// retryJitter is the random part of a pause, up or down.
const retryJitter = 0.25

// maxFailures is how often a store may fail on one batch while it is available. Then the batch is
// dropped, so that those behind it can be sent.
const maxFailures = 20

// maxPanics is how often a store may panic on one batch before the batch is dropped.
const maxPanics = 3

var errPanic = errors.New("the store panicked; this is a bug")

// pause returns the pause after a number of failures in a row.
func (p timing) pause(failures int) time.Duration {
	policy := backoff.Policy{First: p.retryFirst, Most: p.retryMax}
	return backoff.Jitter(policy.Pause(failures), 1-retryJitter, 1+retryJitter)
}

// send sends the batches, the oldest first, until the Recorder is closed.
func (r *Recorder) send() {
	var scanned time.Time
	for failures := 0; !r.closed.Load(); {
		if now := time.Now(); scanned.IsZero() || now.Sub(scanned) >= r.timing.scan {
			r.spool.scan()
			scanned = now
		}
		store := r.settings.Load().Store
		var w *pending
		if store != nil {
			w = r.spool.next(false)
		}
		switch {
		case w == nil:
			r.wait(r.timing.scan-time.Since(scanned), r.spool.added)
		case r.attempt(r.ctx, store, w) == nil:
			failures = 0
		default:
			failures++
			r.wait(r.timing.pause(failures), nil)
		}
	}
}

// wait waits for the pause to end, for a new batch, or for Wake.
func (r *Recorder) wait(pause time.Duration, added <-chan struct{}) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-added:
	case <-r.wake:
	case <-r.stop:
	}
}

// attempt makes one attempt to send a batch. After an error the batch is still in the spool.
func (r *Recorder) attempt(ctx context.Context, store history.Store, w *pending) error {
	b, lost, err := r.spool.load(w)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) { // removed: another process has sent it
			r.spool.logUnreadable(w.name(), err)
		}
		r.spool.unlist(w) // the next scan adds it again if it exists
		return nil
	}
	r.tried.Store(true)
	if rowsOf(b) > 0 {
		if err := r.deliver(ctx, store, w, b); err != nil {
			r.spool.markFailed(w)
			return err
		}
	}
	r.tally.drop(DropUnreadable, lost)
	r.spool.remove(w)
	return nil
}

// deliver passes a batch to the store and counts the result.
func (r *Recorder) deliver(ctx context.Context, store history.Store, w *pending, b *history.Batch) error {
	entries := entriesOf(b)
	stored, err := r.write(ctx, store, b)
	if errors.Is(err, errPanic) {
		if w.panics++; w.panics >= maxPanics {
			err = fmt.Errorf("%w: %w", history.ErrRejected, err)
		}
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, history.ErrUnavailable) && !errors.Is(err, history.ErrSchema) {
		if w.failures++; w.failures >= maxFailures {
			err = fmt.Errorf("%w: %w", history.ErrRejected, err)
		}
	}
	switch {
	case errors.Is(err, history.ErrRejected):
		r.tally.drop(DropRejected, entries)
		if r.tally.logged.Allow("rejected", time.Now()) {
			r.tally.log.Error("the database can never take a part of the history, which is dropped",
				"entries", entries, "error", err)
		}
		return nil
	case err != nil:
		if ctx.Err() == nil { // not closing
			r.tally.setStoreError(err)
		}
		return err
	}
	r.tally.setStoreError(nil)
	r.spool.answering.Store(true)
	expired := min(max(stored.Expired, 0), entries)
	refused := min(max(stored.Rejected, 0), entries-expired)
	r.tally.written.Add(entries - expired - refused)
	r.tally.drop(DropExpired, expired)
	r.tally.drop(DropRejected, refused)
	return nil
}

// write calls the store with a time limit, and turns a panic into an error.
func (r *Recorder) write(ctx context.Context, store history.Store, b *history.Batch) (stored history.Stored, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = errPanic
			if r.tally.logged.Allow("panic", time.Now()) {
				r.tally.log.Error("storing the history panicked; this is a bug", "panic", v)
			}
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, r.timing.writeTimeout)
	defer cancel()
	return store.Write(ctx, b)
}
