package feed

import (
	"errors"
	"fmt"
	"time"
)

var errNotDue = errors.New("not due")

// refreshOnSchedule refreshes a list with URLs whenever that is due, until the Set is closed.
func (l *list) refreshOnSchedule() {
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
