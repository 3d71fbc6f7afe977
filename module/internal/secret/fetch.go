package secret

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/backoff"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	// jitter is the random share of a pause, in both directions. It spreads the fetches of secrets
	// and instances that were started at the same time.
	jitter = 0.1

	minPause = time.Second // between two scheduled fetches

	// The first pause after a failure, which doubles with each failure in a row, and the longest.
	retryFirst = time.Second
	retryMost  = time.Minute

	retryAfterMost = time.Hour // the longest pause that a store can ask for

	requestedPause = 10 * time.Second // between two fetches that Refresh has requested

	// returnGrace is how long a store may take to return after its context has ended. Its own error
	// is better than a mere timeout, since it says what the store was waiting for.
	returnGrace = 250 * time.Millisecond

	clockSkew = time.Minute // how far a store's clock may be ahead of ours
)

// Failures that are detected here and not by a store.
var (
	errEmpty = &failure{"the store gave an empty value", reputation.ErrUnknown}
	errStuck = errors.New("the store has not returned from an earlier call, whose time is over: " +
		"report this to its author")
	errEnded = errors.New("the store ended its goroutine: report this to its author")
	errPanic = errors.New("the store panicked: report this to its author")
)

// run fetches the secret whenever a fetch is due, until Close.
func (r *Refresher) run(done chan<- struct{}) {
	defer close(done)
	timer := time.NewTimer(r.untilDue())
	defer timer.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-r.wake:
		case <-timer.C:
			if err := r.fetch(r.ctx); err != nil && r.ctx.Err() == nil {
				r.logFailure(err)
			}
		}
		timer.Reset(r.untilDue())
	}
}

// untilDue returns the time until the next fetch is due.
func (r *Refresher) untilDue() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := r.next
	if r.requested {
		soonest := r.requestServed.Add(requestedPause)
		if r.pausedUntil.After(soonest) {
			soonest = r.pausedUntil
		}
		if soonest.Before(due) {
			due = soonest
		}
	}
	return time.Until(due)
}

// fetch makes one fetch and records its outcome, unless the Refresher was closed meanwhile.
func (r *Refresher) fetch(ctx context.Context) error {
	select {
	case r.fetching <- struct{}{}:
		defer func() { <-r.fetching }()
	case <-ctx.Done():
		return fmt.Errorf("fetch %s: %w", r.name, ctx.Err())
	}
	r.mu.Lock()
	if r.requested {
		r.requested, r.requestServed = false, time.Now()
	}
	r.mu.Unlock()
	s, err := r.call(ctx)
	if err == nil && s.Value == "" {
		err = errEmpty
	}
	switch {
	case r.ctx.Err() != nil:
		return fmt.Errorf("fetch %s: the refresher is closed: %w", r.name, r.ctx.Err())
	case err != nil:
		pause := retryAfter(err)
		err = r.conceal(fmt.Errorf("fetch %s: %w", r.name, err), s.Value)
		r.fail(err, pause)
		return err
	}
	r.accept(s)
	return nil
}

type answer struct {
	secret reputation.Secret
	err    error
}

// call asks the store and waits hardly longer than the time limit. While a store has not returned
// from an earlier call, it is not asked again: every attempt would leave a goroutine behind.
func (r *Refresher) call(ctx context.Context) (reputation.Secret, error) {
	select {
	case <-r.unreturned: // The earlier call has returned. Its answer is old, so the store is asked again.
		r.unreturned = nil
	default:
		if r.unreturned != nil {
			return reputation.Secret{}, errStuck
		}
	}
	ctx, cancel := context.WithTimeout(ctx, r.options.Timeout)
	defer cancel()
	answers := make(chan answer, 1) // buffered, so that a late answer blocks no goroutine
	go r.ask(ctx, answers)
	select {
	case a := <-answers:
		return a.secret, a.err
	case <-ctx.Done():
	}
	timer := time.NewTimer(returnGrace)
	defer timer.Stop()
	select {
	case a := <-answers:
		return a.secret, a.err
	case <-timer.C:
		r.unreturned = answers
		return reputation.Secret{}, fmt.Errorf("no answer, %s allowed: %w", r.options.Timeout, ctx.Err())
	}
}

// ask calls the store. It recovers from a panic, and notices when the store ends the goroutine.
func (r *Refresher) ask(ctx context.Context, answers chan<- answer) {
	a := answer{err: errEnded}
	defer func() {
		if v := recover(); v != nil {
			r.logPanic(v)
			a = answer{err: errPanic}
		}
		answers <- a
	}()
	s, err := r.store.Fetch(ctx)
	a = answer{s, err}
}

// accept records a successful fetch, and closes the channel of Changed if the value is new.
func (r *Refresher) accept(s reputation.Secret) {
	now := time.Now()
	g := &snapshot{value: s.Value, fetched: now, expires: s.Expires.Round(0), lease: isLease(s, now)}
	old := r.current.Load() // Only the holder of fetching changes it.
	changed := old == nil || old.value != s.Value
	switch {
	case !changed:
		g.fingerprint = old.fingerprint
	case !r.options.Hide:
		g.fingerprint = Fingerprint(s.Value)
	}
	r.mu.Lock()
	r.current.Store(g)
	r.failures, r.failure = 0, ""
	r.next = now.Add(jittered(r.interval(s.TTL)))
	if changed {
		r.requested = false // The request was about the old value.
		close(r.changed)
		r.changed = make(chan struct{})
	}
	r.mu.Unlock()
	r.logAccepted(old, g)
}

// isLease reports whether the value ends no later than its TTL. The end of such a value moves on
// with every fetch.
func isLease(s reputation.Secret, now time.Time) bool {
	return s.TTL > 0 && !s.Expires.After(now.Add(s.TTL+clockSkew))
}

// fail records a failed fetch and the pause that the store asked for. The value stays in use.
func (r *Refresher) fail(err error, pause time.Duration) {
	r.mu.Lock()
	r.failure = err.Error()
	r.pausedUntil = time.Now().Add(pause)
	r.failures++
	r.next = time.Now().Add(max(pause, jittered(r.pause(err))))
	r.mu.Unlock()
}

// interval returns the time from a successful fetch to the next one.
func (r *Refresher) interval(ttl time.Duration) time.Duration {
	if ttl <= 0 {
		return r.options.Refresh
	}
	return min(r.options.Refresh, ttl/3*2)
}

// pause returns the time from a failure to the next fetch. It is never longer than after a success:
// a file that is read every second must not be ignored for a minute because it was missing while it
// was replaced. The caller holds mu.
func (r *Refresher) pause(err error) time.Duration {
	most := min(retryMost, r.options.Refresh)
	if needsOperator(err) {
		return most
	}
	return backoff.Policy{First: retryFirst, Most: most}.Pause(r.failures)
}

// retryAfter returns the pause that the store asks for.
func retryAfter(err error) time.Duration {
	throttled, ok := errors.AsType[*reputation.ThrottledError](err)
	if !ok {
		return 0
	}
	return min(throttled.RetryAfter, retryAfterMost)
}

// needsOperator reports whether fetching fails until an operator changes something.
func needsOperator(err error) bool {
	return errors.Is(err, reputation.ErrRefused) || errors.Is(err, reputation.ErrUnknown)
}

// wakeUp makes the goroutine compute anew when the next fetch is due.
func (r *Refresher) wakeUp() {
	select {
	case r.wake <- struct{}{}:
	default: // a wake-up is pending already
	}
}

func jittered(d time.Duration) time.Duration {
	return max(backoff.Jitter(d, 1-jitter, 1+jitter), minPause)
}
