package quota

import (
	"math"
	"time"
)

// fewCalls is a number of calls that is too small to be spread: a quota of so many is neither paced
// nor divided among networks.
const fewCalls = 10

// fewShare is the part of few calls that a network may use in any case, up to fewCalls. A small
// share of a small quota would be less than a call, and a network of a provider with thousands of
// customers deserves more than one.
const fewShare = 0.1

// released returns how many calls of the window that began at start may have been made by a time:
// the burst at its beginning, and the rest evenly until its end. What is not used stays available,
// so that pacing wastes no call, and after a rush the rest still lasts until the end.
func (t Terms) released(w Window, start, at time.Time) int {
	burst := t.burst(w)
	length := w.Period.End(start).Sub(start)
	part := min(max(float64(at.Sub(start))/float64(length), 0), 1)
	return burst + int(part*float64(w.Limit-burst))
}

// releasedAt returns when so many calls are released.
func (t Terms) releasedAt(w Window, start time.Time, calls int) time.Time {
	burst := t.burst(w)
	if calls <= burst {
		return start
	}
	part := min(float64(calls-burst)/float64(w.Limit-burst), 1)
	length := w.Period.End(start).Sub(start)
	// a microsecond more than the rounding of floating-point numbers takes away
	return start.Add(time.Duration(part*float64(length)) + time.Microsecond)
}

// burst returns how many calls of a window are available at its beginning.
func (t Terms) burst(w Window) int {
	if t.Burst <= 0 || t.Burst >= 1 || w.Period == Minute {
		return w.Limit // a minute is over soon
	}
	return min(max(int(math.Ceil(t.Burst*float64(w.Limit))), fewCalls), w.Limit)
}

// networkLimit returns how many calls about one network may have been made in the window that began
// at start: a share of the calls that are released, or of few calls a tenth.
func (t Terms) networkLimit(w Window, start, at time.Time) int {
	released := w.Limit
	if len(t.Windows) > 0 {
		released = t.released(w, start, at)
	}
	if t.NetworkShare <= 0 || t.NetworkShare >= 1 || w.Limit <= fewCalls {
		return released
	}
	few := min(int(fewShare*float64(released)), fewCalls)
	return max(int(t.NetworkShare*float64(released)), few)
}

// unlimited stands for a service without a quota. A network that rotates must not fill the memory
// with answers about itself.
var unlimited = []Window{{50_000, Hour}}

// shared returns the windows of which a network has a share: none if there is no bound.
func (t Terms) shared() []Window {
	switch {
	case t.NetworkShare <= 0 || t.NetworkShare >= 1:
		return nil
	case len(t.Windows) == 0:
		return unlimited
	}
	return t.Windows
}

// urgent returns the terms for a call that an operator asks for. The quota holds, but the call need
// not wait for its time, and takes nothing from its network's share.
func (t Terms) urgent() Terms {
	t.Burst, t.NetworkShare = 1, 1
	return t
}

// nextAt returns when the pace allows another call after the given usage, or the zero time if it
// does now. A spent window has its next call at its end.
func (t Terms) nextAt(usage []Usage, now time.Time) (next time.Time) {
	for i, u := range usage {
		w := t.Windows[i]
		start := w.Period.Start(u.Reset.Add(-time.Nanosecond))
		if u.Used < t.released(w, start, now) {
			continue
		}
		at := u.Reset
		if u.Used < w.Limit {
			at = t.releasedAt(w, start, u.Used+1)
		}
		if at.After(next) {
			next = at
		}
	}
	return next
}
