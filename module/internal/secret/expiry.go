package secret

import (
	"context"
	"sync"
	"time"
)

// Stage is how near the end of a secret is. A higher one is nearer.
type Stage uint8

// The stages.
const (
	// StageNone: more than 30 days are left, or no end is known.
	StageNone Stage = iota
	// StageMonth: at most 30 days are left.
	StageMonth
	// StageWeek: at most 7 days are left.
	StageWeek
	// StageDay: at most one day is left.
	StageDay
	// StagePast: the end is reached.
	StagePast
)

const day = 24 * time.Hour

const (
	lookInterval = time.Hour

	// quietTime is for how long a stage that was told is not told again: a day, but for the half of a look, so that a timer
	// which is a moment early does not make it 25 hours.
	quietTime = day - lookInterval/2
)

// StageOf returns the stage of a secret whose end is so far away, or so long past.
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

// Told is when something was last said about the end of a secret, and what. The zero value means never.
type Told struct {
	At    time.Time
	Stage Stage
}

// Due reports whether something is to be said, at now, about a secret that ends at expires (zero: not known): once a day
// from 30 days before its end on, without an end to it, and at once when a new stage is reached. It looks at nothing but
// its arguments.
//
// Each stage is told at most once a day, whatever becomes of the end: one that moves to and fro is not told with every
// move. A clock that was set back since then does not keep it silent.
func Due(now, expires time.Time, last Told) bool {
	if expires.IsZero() {
		return false
	}
	stage := StageOf(expires.Sub(now))
	if stage == StageNone {
		return false
	}
	quiet := now.Sub(last.At)
	return last.At.IsZero() || stage > last.Stage || quiet < 0 || quiet >= quietTime
}

// subject is what is told of: not a single value, since a new one that ends soon as well is the same worry.
type subject struct{ name, source string }

// Expiry remembers what was told about the end of secrets. The zero value has told nothing yet. One that outlives the
// configuration keeps a reload from telling everything again. It is safe for concurrent use.
type Expiry struct {
	mu   sync.Mutex
	told map[subject]Told
}

// Watch looks once an hour, for the first time at once, and says of which of the listed secrets the end is near: see Due.
// A lease, which ends soon all the time, is told of only when it has ended. What is left is negative when the end is past.
// Secrets are told apart by Name and Source.
//
// Both functions are called by this goroutine, one after the other. Watch returns when ctx ends.
func (e *Expiry) Watch(ctx context.Context, list func() []Status, say func(s Status, left time.Duration)) {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		e.look(time.Now(), list(), say)
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// look says what is to be said. The time should have Go's monotonic reading: how long it is since something was told is
// then independent of the clock being set.
func (e *Expiry) look(now time.Time, list []Status, say func(Status, time.Duration)) {
	for _, s := range list {
		left := s.Expires.Sub(now)
		if s.Lease && left > 0 {
			continue
		}
		if e.due(now, s) {
			say(s, left)
		}
	}
}

// due reports whether something is to be said about a secret, and takes note that it is.
func (e *Expiry) due(now time.Time, s Status) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for key, told := range e.told {
		if now.Sub(told.At) >= quietTime { // it makes no difference any more
			delete(e.told, key)
		}
	}
	key := subject{s.Name, s.Source}
	if !Due(now, s.Expires, e.told[key]) {
		return false
	}
	if e.told == nil {
		e.told = map[subject]Told{}
	}
	e.told[key] = Told{now, StageOf(s.Expires.Sub(now))}
	return true
}
