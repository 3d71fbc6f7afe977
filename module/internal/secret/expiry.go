package secret

import (
	"context"
	"sync"
	"time"
)

// Stage is how near the end of a secret is. A higher stage is nearer.
type Stage uint8

// The stages.
const (
	// StageNone means that more than 30 days are left, or that no end is known.
	StageNone Stage = iota
	// StageMonth means that at most 30 days are left.
	StageMonth
	// StageWeek means that at most 7 days are left.
	StageWeek
	// StageDay means that at most one day is left.
	StageDay
	// StagePast means that the secret has ended.
	StagePast
)

const day = 24 * time.Hour

const (
	checkInterval = time.Hour

	// reminderPause is the least time between two reminders of one stage. It is half a check
	// shorter than a day: otherwise a check that comes a moment early would make it 25 hours.
	reminderPause = day - checkInterval/2
)

// StageOf returns the stage of a secret that has so much time left. The time is negative after the
// end.
func StageOf(left time.Duration) Stage {
	switch {
	case left <= 0:
		return StagePast
	case left <= day:
		return StageDay
	case left <= 7*day:
		return StageWeek
	case left <= 30*day:
		return StageMonth
	}
	return StageNone
}

// Reminder is the last reminder of the end of a secret. The zero value stands for none.
type Reminder struct {
	At    time.Time
	Stage Stage
}

// Due reports whether a reminder is due, at now, of a secret that ends at expires; zero means that
// the end is not known. Reminders begin 30 days before the end and are due once a day, also after
// the end. One is due at once when a new stage is reached. Due depends on its arguments only.
//
// There is at most one reminder of each stage a day, even when the end moves back and forth. If the
// clock was set back since the last reminder, the next one is due at once.
func Due(now, expires time.Time, last Reminder) bool {
	if expires.IsZero() {
		return false
	}
	stage := StageOf(expires.Sub(now))
	if stage == StageNone {
		return false
	}
	since := now.Sub(last.At)
	return last.At.IsZero() || stage > last.Stage || since < 0 || since >= reminderPause
}

// reminderKey identifies a secret. It does not depend on the value, since a new value that ends
// soon as well needs no reminder of its own.
type reminderKey struct{ name, source string }

// Expiry stores the last reminder of each secret. The zero value is ready to use. It should outlive
// the configuration, so that a reload does not repeat all reminders. It is safe for concurrent use.
type Expiry struct {
	mu   sync.Mutex
	sent map[reminderKey]Reminder
}

// Watch checks the listed secrets at once and then once an hour, and calls remind for each that has
// a reminder due: see Due. For a lease, which always ends soon, it calls remind only when it has
// ended. The time left is negative after the end. Secrets are identified by Name and Source.
//
// Watch calls both functions from its own goroutine, one after the other. It returns when ctx ends.
func (e *Expiry) Watch(ctx context.Context, list func() []Status, remind func(s Status, left time.Duration)) {
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		e.check(time.Now(), list(), remind)
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// check calls remind for each secret that has a reminder due. The time should have Go's monotonic
// reading, so that setting the clock does not change the time since the last reminder.
func (e *Expiry) check(now time.Time, list []Status, remind func(Status, time.Duration)) {
	for _, s := range list {
		left := s.Expires.Sub(now)
		if s.Lease && left > 0 {
			continue
		}
		if e.due(now, s) {
			remind(s, left)
		}
	}
}

// due reports whether a reminder of a secret is due, and records that it is sent.
func (e *Expiry) due(now time.Time, s Status) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for key, last := range e.sent {
		if now.Sub(last.At) >= reminderPause { // it no longer matters
			delete(e.sent, key)
		}
	}
	key := reminderKey{s.Name, s.Source}
	if !Due(now, s.Expires, e.sent[key]) {
		return false
	}
	if e.sent == nil {
		e.sent = map[reminderKey]Reminder{}
	}
	e.sent[key] = Reminder{now, StageOf(s.Expires.Sub(now))}
	return true
}
