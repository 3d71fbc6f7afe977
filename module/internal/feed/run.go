package feed

import (
	"errors"
	"fmt"
	"time"
)

var errNotDue = errors.New("not due")

// refreshOnSchedule keeps a list with URLs current until the Set is closed.
func (l *list) refreshOnSchedule() {
	timer := time.NewTimer(l.untilDue())
	defer timer.Stop()
	for {
		select {
		case <-l.set.ctx.Done():
			return
		case <-l.wake:
		case <-timer.C:
			_, _ = l.refresh(l.set.ctx, (*list).notDue) // noted where it happened
		}
		timer.Reset(l.untilDue())
	}
}

func (l *list) untilDue() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.st.next)
}

// notDue objects to a scheduled refresh that another one has made superfluous. It needs the lock.
func (l *list) notDue(now time.Time) error {
	if now.Before(l.st.next) {
		return errNotDue
	}
	return nil
}

// tooSoon objects to a refresh that an operator asked for, where the publisher would mind. It needs the lock.
func (l *list) tooSoon(now time.Time) error {
	if l.spec.kind() != KindURL {
		return nil
	}
	if now.Before(l.st.leaveAlone) {
		return fmt.Errorf("%w: the publisher asked to be left alone until %s", ErrTooSoon, l.st.leaveAlone.UTC().Format(time.RFC3339))
	}
	if free := l.st.lastAttempt.Add(manualFloor); now.Before(free) {
		outcome := ""
		if l.st.lastErr != nil {
			outcome = ", in vain: " + l.st.lastErr.Error()
		}
		return fmt.Errorf("%w: the publisher was asked %s ago%s; ask again in %s", ErrTooSoon,
			now.Sub(l.st.lastAttempt).Round(time.Second), outcome, free.Sub(now).Round(time.Second))
	}
	return nil
}

// always objects to nothing.
func (l *list) always(time.Time) error { return nil }

// poke makes the list's goroutine look again.
func (l *list) poke() {
	select {
	case l.wake <- struct{}{}:
	default: // it will look anyway
	}
}
