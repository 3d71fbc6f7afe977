package feed

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/backoff"
)

const (
	// manualInterval is the shortest time between a request to a
	// publisher and the next one by Set.Refresh.
	manualInterval = time.Minute

	// A list is stale after both this time and this number of refresh intervals without a success.
	minPatience       = 24 * time.Hour
	patienceRefreshes = 3

	firstPause  = time.Minute     // after a failure; see recordAttempt
	startSpread = 2 * time.Second // the first requests after a start are spread over this time

	// emptyPause is the pause after the first failure while a list has no contents: until it has,
	// nobody is protected by it.
	emptyPause = time.Second

	// Jitter never shortens an interval, since publishers count requests.
	refreshJitter = 0.1
	retryJitter   = 0.25
	emptyJitter   = 1
)

var errNotDue = errors.New("not due")

// refreshOnSchedule refreshes a list with URLs whenever that is due, until the Set is closed.
func (l *list) refreshOnSchedule() {
	if shared := l.set.shared; shared != nil {
		shared.Await(l.set.ctx)
	}
	timer := time.NewTimer(l.untilDue())
	defer timer.Stop()
	for {
		select {
		case <-l.set.ctx.Done():
			return
		case <-l.wake:
		case <-timer.C:
			_, _ = l.refresh(l.set.ctx, (*list).notDue) // recordAttempt has logged it
		}
		timer.Reset(l.untilDue())
	}
}

func (l *list) untilDue() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.st.next)
}

// notDue returns an error if a scheduled refresh is no longer due,
// because another one ran first. mu must be held.
func (l *list) notDue(now time.Time) error {
	if now.Before(l.st.next) {
		return errNotDue
	}
	return nil
}

// tooSoon returns an error if a refresh that an operator requests would come too soon for the
// publisher. mu must be held.
func (l *list) tooSoon(now time.Time) error {
	if l.spec.kind() != KindURL {
		return nil
	}
	if now.Before(l.st.throttledUntil) {
		return fmt.Errorf("%w: the publisher asked to be left alone until %s", ErrTooSoon,
			l.st.throttledUntil.UTC().Format(time.RFC3339))
	}
	if l.st.accepting && l.st.lastResult == ResultShrunk {
		return nil // the error of that attempt told the operator to accept the list
	}
	if free := l.st.lastAttempt.Add(manualInterval); now.Before(free) {
		outcome := ""
		if l.st.lastErr != nil {
			outcome = ", in vain: " + l.st.lastErr.Error()
		}
		return fmt.Errorf("%w: the publisher was asked %s ago%s; ask again in %s", ErrTooSoon,
			now.Sub(l.st.lastAttempt).Round(time.Second), outcome, free.Sub(now).Round(time.Second))
	}
	return nil
}

// always allows each refresh.
func (l *list) always(time.Time) error { return nil }

// signal wakes the list's goroutine, which then checks whether a refresh is due.
func (l *list) signal() {
	select {
	case l.wake <- struct{}{}:
	default: // a signal is pending already
	}
}

// recordAttempt records the result of an attempt, and schedules the next one. After a success, the
// interval begins when the source confirmed the list. The pause after a failure is at most the refresh
// interval, unless the publisher asks for a longer one.
func (l *list) recordAttempt(result Result, err error, confirmed time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	repeated := err != nil && l.st.lastErr != nil && err.Error() == l.st.lastErr.Error()
	l.st.lastResult, l.st.lastErr, l.st.throttledUntil = result, err, time.Time{}
	if err == nil {
		l.st.failures, l.st.lastSuccess = 0, confirmed
		l.st.next = confirmed.Add(l.jitteredRefresh())
		if l.waitPath != "" && l.set.writes.Load() {
			removeFile(l.waitPath)
		}
		l.forgetShrunk()
		return
	}
	l.st.failures++
	l.st.next = now.Add(l.retryPause(err))
	var f *failure
	if errors.As(err, &f) && f.retryAfter > 0 {
		l.st.throttledUntil = now.Add(f.retryAfter)
		if l.st.throttledUntil.After(l.st.next) {
			l.st.next = l.st.throttledUntil
		}
		if l.waitPath != "" && l.set.writes.Load() {
			if err := saveWait(l.waitPath, l.fingerprint, l.st.throttledUntil); err != nil {
				l.set.logger.Warn("until when a publisher wants to be left alone cannot be written to disk",
					"feed", l.spec.Name, "error", err)
			}
		}
	}
	log := l.set.logger.Warn
	if repeated { // it has been logged, and Status shows it
		log = l.set.logger.Debug
	}
	attributes := []any{"feed", l.spec.Name, "result", result.String(), "error", err}
	if l.st.loaded {
		log("a list cannot be refreshed; the last good one stays in force", attributes...)
	} else {
		log("a list cannot be refreshed, and there is no earlier one", attributes...)
	}
}

// postpone schedules the next attempt after a pause, as if there had been none now.
func (l *list) postpone(lastAttempt time.Time, pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.st.lastAttempt = lastAttempt
	l.st.next = time.Now().Add(backoff.Jitter(pause, 1, 1+retryJitter))
}

// retryPause returns the pause after the latest of l.st.failures failures. mu must be held.
func (l *list) retryPause(err error) time.Duration {
	policy := backoff.Policy{First: firstPause, Most: max(l.spec.Refresh, firstPause)}
	jitter := retryJitter
	var f *failure
	refused := errors.As(err, &f) && f.refused
	if !l.st.loaded && !refused {
		policy.First, jitter = emptyPause, emptyJitter
	}
	return backoff.Jitter(policy.Pause(l.st.failures), 1, 1+jitter)
}

// jitteredRefresh returns the time until the next refresh.
func (l *list) jitteredRefresh() time.Duration {
	return backoff.Jitter(l.spec.Refresh, 1, 1+refreshJitter)
}
