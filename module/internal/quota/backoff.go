package quota

import (
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/backoff"
)

// pause is a time without calls, which doubles with each failure in a row.
type pause struct {
	steps int
	start time.Time // when the first step was made
	since time.Time // when the last step was made
	until time.Time
}

// extend makes the next step of a policy. It reports false, and changes nothing, when the failed
// call had begun before the last step: calls that run in parallel and fail together count as one
// failure.
func (b *pause) extend(began, now time.Time, policy backoff.Policy) bool {
	if !began.After(b.since) {
		return false
	}
	if b.steps == 0 {
		b.start = now
	}
	b.steps++
	b.since, b.until = now, now.Add(policy.Pause(b.steps))
	return true
}

// atLeast makes the pause last until t. It is not a step.
func (b *pause) atLeast(now, t time.Time) {
	b.since = now
	if t.After(b.until) {
		b.until = t
	}
}

// pauses holds the pauses of keys, by fingerprint. A pause for one account does not affect the
// others.
type pauses map[uint64]*pause

// of returns the pause of a key, a new one if there is none. Beyond maxKeys, the pause that ends
// first is dropped.
func (p pauses) of(key uint64) *pause {
	if p[key] == nil {
		if len(p) >= maxKeys {
			delete(p, p.first())
		}
		p[key] = new(pause)
	}
	return p[key]
}

// first returns the key whose pause ends first.
func (p pauses) first() uint64 {
	var first uint64
	for key, b := range p {
		if p[first] == nil || b.until.Before(p[first].until) {
			first = key
		}
	}
	return first
}

// until returns the end of the pause of a key, or the zero time if it is not after now.
func (p pauses) until(key uint64, now time.Time) time.Time {
	if b := p[key]; b != nil {
		return ahead(b.until, now)
	}
	return time.Time{}
}

// reset ends the pause of a key after a success, unless the call had begun before its last step.
func (p pauses) reset(key uint64, began time.Time) {
	if b := p[key]; b != nil && began.After(b.since) {
		delete(p, key)
	}
}
