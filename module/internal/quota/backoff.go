package quota

import "time"

// backoff is a pause that doubles with each failure in a row.
type backoff struct {
	steps int
	since time.Time // when the last step was made
	until time.Time
}

// extend makes the next step: a pause of first, doubled for each step before it, of most at the longest. It reports
// false, and changes nothing, when the failed call had begun before the last step: calls that run side by side and fail
// together are one failure.
func (b *backoff) extend(began, now time.Time, first, most time.Duration) bool {
	if !began.After(b.since) {
		return false
	}
	pause := first
	for range b.steps {
		if pause >= most {
			break
		}
		pause *= 2
	}
	b.steps++
	b.since, b.until = now, now.Add(min(pause, most))
	return true
}

// atLeast makes the pause last until t. It is not a step.
func (b *backoff) atLeast(now, t time.Time) {
	b.since = now
	if t.After(b.until) {
		b.until = t
	}
}

// reset ends the pause after a success, unless the call had begun before the last step.
func (b *backoff) reset(began time.Time) {
	if began.After(b.since) {
		*b = backoff{}
	}
}
