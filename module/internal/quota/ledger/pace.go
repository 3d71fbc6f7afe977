package ledger

import (
	"math"
	"time"
)

// FewCalls is a number of calls that is too small to be spread or divided.
const FewCalls = 10

// Released returns how many calls of the window that began at start may have been made by a time:
// the burst at its beginning, and the rest evenly until its end. What is not used stays available,
// so that pacing wastes no call, and after a rush the rest still lasts until the end.
func (l Limits) Released(w Window, start, at time.Time) int {
	burst := l.burst(w)
	length := w.Period.End(start).Sub(start)
	part := min(max(float64(at.Sub(start))/float64(length), 0), 1)
	return burst + int(part*float64(w.Limit-burst))
}

// releasedAt returns when so many calls are released.
func (l Limits) releasedAt(w Window, start time.Time, calls int) time.Time {
	burst := l.burst(w)
	if calls <= burst {
		return start
	}
	part := min(float64(calls-burst)/float64(w.Limit-burst), 1)
	length := w.Period.End(start).Sub(start)
	// a microsecond more than the rounding of floating-point numbers takes away
	return start.Add(time.Duration(part*float64(length)) + time.Microsecond)
}

// burst returns how many calls of a window are available at its beginning.
func (l Limits) burst(w Window) int {
	if l.Burst <= 0 || l.Burst >= 1 || w.Period == Minute {
		return w.Limit // a minute is over soon
	}
	return min(max(int(math.Ceil(l.Burst*float64(w.Limit))), FewCalls), w.Limit)
}

// NextAt returns when the pace allows another call after the given usage, or the zero time if it
// does now. A spent window has its next call at its end.
func (l Limits) NextAt(usage []Usage, now time.Time) (next time.Time) {
	for i, u := range usage {
		w := l.Windows[i]
		start := w.Period.Start(u.Reset.Add(-time.Nanosecond))
		if u.Used < l.Released(w, start, now) {
			continue
		}
		at := u.Reset
		if u.Used < w.Limit {
			at = l.releasedAt(w, start, u.Used+1)
		}
		if at.After(next) {
			next = at
		}
	}
	return next
}
