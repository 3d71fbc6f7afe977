package event

import (
	"math"
	"time"
)

// throttlePause is the shortest time between two events that say that one service asks for pauses: some ask for a second,
// again and again.
const throttlePause = time.Minute

// provider is what was said of one provider.
type provider struct {
	down    time.Time            // since when; zero while it is up
	refused map[string]bool      // the fingerprints of the keys that were said to be refused, since it was up
	spent   map[string]time.Time // by window: the end of the one that was said to be spent

	throttledUntil, throttledSaid time.Time
}

func (d *Desk) provider(name string) *provider {
	p := d.providers[name]
	if p == nil {
		p = &provider{spent: make(map[string]time.Time)}
		d.providers[name] = p
	}
	return p
}

// Fails reports that a service fails, with the result of its last call, and is left alone until the given time.
func (d *Desk) Fails(name, result string, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down(name, result, until)
}

// down says once that a provider is down. It is called with the lock held.
func (d *Desk) down(name, result string, until time.Time) {
	p := d.provider(name)
	if p.down.IsZero() {
		p.down = time.Now()
		d.say(ProviderDown, map[string]any{"provider": name, "result": result, "until": Clock(until)})
	}
}

// Answers reports that a service has answered a call that was begun at the given time, and is not left alone any more. It may
// be told so for every call; a call from before it went down proves nothing.
func (d *Desk) Answers(name string, began time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.provider(name)
	if p.down.IsZero() || !began.After(p.down) {
		return
	}
	d.say(ProviderUp, map[string]any{"provider": name, "after": seconds(p.down)})
	p.down, p.refused = time.Time{}, nil
}

// Refused reports that a service accepts none of the keys, which are given by their fingerprints, and is asked again at the
// given time. It may be told so again and again: each key is said once, until the service answers. A service that is asked
// without a key has none.
func (d *Desk) Refused(name string, keys []string, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.provider(name)
	d.down(name, "refused", until)
	for _, key := range keys {
		if p.refused[key] {
			continue
		}
		if p.refused == nil {
			p.refused = make(map[string]bool)
		}
		p.refused[key] = true
		d.say(KeyRefused, map[string]any{"provider": name, "key": key, "until": Clock(until)})
	}
}

// Throttled reports that a service asks for a pause. Within the pause, and within a minute, it is not said again.
func (d *Desk) Throttled(name string, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, now := d.provider(name), time.Now()
	news := !now.Before(p.throttledUntil) && (p.throttledSaid.IsZero() || now.Sub(p.throttledSaid) >= throttlePause)
	if until.After(p.throttledUntil) {
		p.throttledUntil = until
	}
	if news {
		p.throttledSaid = now
		d.say(Throttled, map[string]any{"provider": name, "until": Clock(until)})
	}
}

// Spent reports that a quota, such as "1000/day", is used up until the given time, which is the end of its window.
func (d *Desk) Spent(name, window string, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.provider(name)
	if p.spent[window].Equal(until) {
		return
	}
	p.spent[window] = until
	d.say(QuotaSpent, map[string]any{"provider": name, "window": window, "until": Clock(until)})
}

// Expires reports that a key, given by its fingerprint, ends soon or has ended. The caller sees to it that it is not said too
// often.
func (d *Desk) Expires(name, key string, expires time.Time, left time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.say(KeyExpiring, map[string]any{
		"provider": name, "key": key, "expires": Clock(expires),
		"days": int(math.Floor(left.Hours() / 24)), // −1 on the first day without it
	})
}
