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
	// jitter is how much of a pause is left to chance, on both sides: what was started together should not ask together
	// for ever after.
	jitter = 0.1

	leastPause = time.Second // between two fetches that nobody has asked for

	// The pauses after failures: the first, which doubles with each failure in a row, and the longest.
	retryFirst = time.Second
	retryMost  = time.Minute

	leaveMost = time.Hour // that a store is left alone because it asks for it

	askedPause = 10 * time.Second // between two fetches that somebody has asked for

	// grace is how long a store has to return after its context has ended. What it then says is worth more than that the
	// time was over: it knows what it was waiting for.
	grace = 250 * time.Millisecond

	clockSkew = time.Minute // how far a store's clock may be ahead of ours
)

// Failures that are found here, not by a store.
var (
	errEmpty = &failure{"the store gave an empty value", reputation.ErrUnknown}
	errStuck = errors.New("the store has not returned from an earlier call, whose time is over: report this to its author")
	errEnded = errors.New("the store ended its goroutine: report this to its author")
	errPanic = errors.New("the store panicked: report this to its author")
)

// keep fetches the secret whenever that is due, until Close.
func (r *Refresher) keep(done chan<- struct{}) {
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

// untilDue returns how long it is until the secret is to be fetched.
func (r *Refresher) untilDue() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := r.next
	if r.asked {
		soonest := r.served.Add(askedPause)
		if r.leave.After(soonest) {
			soonest = r.leave
		}
		if soonest.Before(due) {
			due = soonest
		}
	}
	return time.Until(due)
}

// fetch makes one fetch and takes note of its outcome, unless the Refresher was closed meanwhile.
func (r *Refresher) fetch(ctx context.Context) error {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return fmt.Errorf("fetch %s: %w", r.name, ctx.Err())
	}
	r.mu.Lock()
	if r.asked {
		r.asked, r.served = false, time.Now()
	}
	r.mu.Unlock()
	s, err := r.call(ctx)
	if err == nil && s.Value == "" {
		err = errEmpty
	}
	switch {
	case r.ctx.Err() != nil:
		return fmt.Errorf("fetch %s: it is no longer kept: %w", r.name, r.ctx.Err())
	case err != nil:
		alone := leftAlone(err)
		err = r.conceal(fmt.Errorf("fetch %s: %w", r.name, err), s.Value)
		r.fail(err, alone)
		return err
	}
	r.accept(s)
	return nil
}

type answer struct {
	secret reputation.Secret
	err    error
}

// call asks the store and does not wait for much longer than the time limit. A store that does not return is not asked
// again until it has, or every attempt would leave a goroutine behind.
func (r *Refresher) call(ctx context.Context) (reputation.Secret, error) {
	select {
	case <-r.late: // It has returned. What it says was true once, so it is asked again.
		r.late = nil
	default:
		if r.late != nil {
			return reputation.Secret{}, errStuck
		}
	}
	ctx, cancel := context.WithTimeout(ctx, r.options.Timeout)
	defer cancel()
	answers := make(chan answer, 1) // Room for an answer that nobody waits for any more.
	go r.ask(ctx, answers)
	select {
	case a := <-answers:
		return a.secret, a.err
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case a := <-answers:
		return a.secret, a.err
	case <-timer.C:
		r.late = answers
		return reputation.Secret{}, fmt.Errorf("no answer, %s allowed: %w", r.options.Timeout, ctx.Err())
	}
}

// ask lets the store do its work. Whatever it does stays here.
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

// accept takes note of a good fetch, and tells of a change.
func (r *Refresher) accept(s reputation.Secret) {
	now := time.Now()
	g := &good{value: s.Value, fetched: now, expires: s.Expires.Round(0), lease: lent(s, now)}
	old := r.value.Load() // Only whoever has the turn changes it.
	news := old == nil || old.value != s.Value
	switch {
	case !news:
		g.fingerprint = old.fingerprint
	case !r.options.Hide:
		g.fingerprint = Fingerprint(s.Value)
	}
	r.mu.Lock()
	r.value.Store(g)
	r.failures, r.failure = 0, ""
	r.next = now.Add(jittered(r.interval(s.TTL)))
	if news {
		r.asked = false // It was the old value that was refused.
		close(r.changed)
		r.changed = make(chan struct{})
	}
	r.mu.Unlock()
	r.logAccepted(old, g)
}

// lent reports whether a value ends no later than it has to be fetched again anyway, so that its end moves on by itself.
func lent(s reputation.Secret, now time.Time) bool {
	return s.TTL > 0 && !s.Expires.After(now.Add(s.TTL+clockSkew))
}

// fail takes note of a fetch that brought nothing, and for how long the store wants to be left alone. The value stays.
func (r *Refresher) fail(err error, alone time.Duration) {
	r.mu.Lock()
	r.failure = err.Error()
	r.leave = time.Now().Add(alone)
	r.failures++
	r.next = time.Now().Add(max(alone, jittered(r.pause(err))))
	r.mu.Unlock()
}

// interval returns how long a good answer holds.
func (r *Refresher) interval(ttl time.Duration) time.Duration {
	if ttl <= 0 {
		return r.options.Refresh
	}
	return min(r.options.Refresh, ttl/3*2)
}

// pause returns how long to wait after a failure. That is never longer than after success, or a file that is looked at
// every second would be left alone for a minute because it was missing while somebody replaced it. mu is held.
func (r *Refresher) pause(err error) time.Duration {
	most := min(retryMost, r.options.Refresh)
	if pointless(err) {
		return most
	}
	return backoff.Policy{First: retryFirst, Most: most}.Pause(r.failures)
}

// leftAlone returns how long the store asks to be left alone.
func leftAlone(err error) time.Duration {
	throttled, ok := errors.AsType[*reputation.ThrottledError](err)
	if !ok {
		return 0
	}
	return min(throttled.RetryAfter, leaveMost)
}

// pointless reports whether asking again will bring the same until a person has done something.
func pointless(err error) bool {
	return errors.Is(err, reputation.ErrRefused) || errors.Is(err, reputation.ErrUnknown)
}

// poke makes the goroutine look again at what is due.
func (r *Refresher) poke() {
	select {
	case r.wake <- struct{}{}:
	default: // it will look anyway
	}
}

func jittered(d time.Duration) time.Duration {
	return max(backoff.Jitter(d, 1-jitter, 1+jitter), leastPause)
}
