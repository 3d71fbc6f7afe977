package quota

import (
	"time"

	"github.com/sony/gobreaker/v2"
)

// Status is the state of a Guard for operators. Times that do not apply are zero.
type Status struct {
	Name string `json:"name"`

	// Up is false while calls are skipped because the service fails, asks for a pause, refuses the
	// key or does not pass its self-test. A spent quota is not a fault.
	Up bool `json:"up"`

	// NotAsked is set until the first call has ended, so that nobody knows whether the service answers. It is counted
	// from the start of the process, or of the provider's settings.
	NotAsked bool `json:"not_asked,omitempty"`

	// Failures is how many calls have failed since the last answer.
	Failures int `json:"failures,omitempty"`

	// Answered is when the service last answered.
	Answered time.Time `json:"answered,omitzero"`
	// LastError is why the last call failed, without key and address. It is empty after an answer.
	LastError string `json:"last_error,omitempty"`

	// SetAside is why the service is not asked: it has failed its self-test. NextTest is when it is
	// tested again.
	SetAside string    `json:"set_aside,omitempty"`
	NextTest time.Time `json:"next_test,omitzero"`

	// Untested is set while the service is not asked since no self-test has ended.
	Untested bool `json:"untested,omitempty"`

	// PacedUntil is when the next call becomes available, while calls are left that are spread over
	// the rest of a window.
	PacedUntil time.Time `json:"paced_until,omitzero"`

	// Price is how much an answer must be worth, from 0 to 1, for the service to be asked. It is 0 while
	// the quota is not short, and 1 while no call is left that may be made by now.
	Price float64 `json:"price,omitempty"`

	// Windows are the quotas in the order of the terms.
	Windows []WindowStatus `json:"windows,omitempty"`

	// Breaker is the circuit breaker's state: closed, half-open or open.
	Breaker string `json:"breaker"`

	// OpenUntil is when an open breaker lets a trial through.
	OpenUntil time.Time `json:"open_until,omitzero"`

	// ThrottledUntil is the end of the pause that the service asked for, for the key that was last
	// used.
	ThrottledUntil time.Time `json:"throttled_until,omitzero"`

	// RefusedUntil is until when the key that was last used is set aside because the service
	// refused it.
	RefusedUntil time.Time `json:"refused_until,omitzero"`

	// Keyless is set if what was refused is no key: the call was made without one.
	Keyless bool `json:"-"`

	// InFlight is the number of running calls, of which Concurrency are allowed.
	InFlight    int `json:"in_flight"`
	Concurrency int `json:"concurrency"`
}

// WindowStatus is the state of one quota.
type WindowStatus struct {
	// Window is the quota as it is written, such as "1000/day"; Period its second half.
	Window string `json:"window"`
	Period string `json:"period"`

	Limit int `json:"limit"`
	Used  int `json:"used"`

	// Reset is when the window ends.
	Reset time.Time `json:"reset"`
}

// Remaining returns how many calls are left in the window.
func (w WindowStatus) Remaining() int { return max(w.Limit-w.Used, 0) }

// Status returns the present state, as far as this process knows it. It contacts no store.
func (g *Guard) Status() Status {
	now := g.now()
	s := g.budget.status(now)
	s.Name, s.Concurrency = g.name, g.terms.Concurrency
	if len(g.terms.Windows) == 0 {
		return s
	}
	usage := g.ledger.Look(g.name, g.terms.limits(), now)
	if _, spent := spentUntil(g.terms.Windows, usage); spent.IsZero() {
		s.PacedUntil = g.terms.limits().NextAt(usage, now)
	}
	s.Price = g.terms.price(usage, now)
	for i, w := range g.terms.Windows {
		u := usage[i]
		s.Windows = append(s.Windows, WindowStatus{
			Window: w.String(), Period: w.Period.String(), Limit: w.Limit, Used: u.Used, Reset: u.Reset,
		})
	}
	return s
}

func (b *Budget) status(now time.Time) Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Status{
		RefusedUntil:   b.refused.until(b.lastKey, now),
		ThrottledUntil: b.throttled.until(b.lastKey, now),
		OpenUntil:      ahead(b.opened.until, now),
		InFlight:       b.inFlight,
		Failures:       b.consecutive,
		NotAsked:       len(b.asked) == 0,
		Answered:       b.answered,
		LastError:      b.lastError,
	}
	s.Keyless = !s.RefusedUntil.IsZero() && b.lastKey == fingerprint("")
	state := gobreaker.StateOpen
	if s.OpenUntil.IsZero() {
		state = b.breaker.State()
	}
	s.Breaker = state.String()
	s.Up = state == gobreaker.StateClosed && s.RefusedUntil.IsZero() && s.ThrottledUntil.IsZero()
	if t := b.test; t != nil {
		s.SetAside, s.NextTest, s.Untested = t.aside, ahead(t.due, now), !t.passed && t.aside == ""
		s.Up = s.Up && (t.passed || t.failures == 0)
	}
	return s
}

// ahead returns t if it is after now, else the zero time.
func ahead(t, now time.Time) time.Time {
	if t.After(now) {
		return t
	}
	return time.Time{}
}
