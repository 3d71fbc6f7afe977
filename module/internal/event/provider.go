package event

import (
	"math"
	"time"
)

// throttledEvery is the minimum time between two Throttled events of a provider: some ask for a
// pause of a second, again and again.
const throttledEvery = time.Minute

// provider records what was emitted for one provider.
type provider struct {
	down    time.Time            // when ProviderDown was emitted; zero while the provider is up
	refused map[string]bool      // fingerprints for which KeyRefused was emitted since it was last up
	spent   map[string]time.Time // by window: its end when QuotaSpent was emitted

	throttledUntil time.Time
	throttledAt    time.Time // when Throttled was last emitted
}

func (e *Emitter) provider(name string) *provider {
	p := e.providers[name]
	if p == nil {
		p = &provider{spent: make(map[string]time.Time)}
		e.providers[name] = p
	}
	return p
}

// Fails reports that a provider fails. result is that of its last call, and until is when it is
// called again.
func (e *Emitter) Fails(name, result string, until time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down(name, result, until)
}

// down emits ProviderDown once. The caller holds the lock.
func (e *Emitter) down(name, result string, until time.Time) {
	p := e.provider(name)
	if p.down.IsZero() {
		p.down = time.Now()
		e.emit(ProviderDown, map[string]any{"provider": name, "result": result, "until": Clock(until)})
	}
}

// Answers reports that a provider has answered a call that began at the given time. It may be
// called for every answer. A call from before the provider went down does not count.
func (e *Emitter) Answers(name string, began time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.provider(name)
	if p.down.IsZero() || !began.After(p.down) {
		return
	}
	e.emit(ProviderUp, map[string]any{"provider": name, "after": seconds(p.down)})
	p.down, p.refused = time.Time{}, nil
}

// Refused reports that a provider accepts none of the keys, which are given by their fingerprints,
// and when it is called again. It may be called repeatedly: KeyRefused is emitted once per key
// until the provider answers. For a provider without keys, keys is empty.
func (e *Emitter) Refused(name string, keys []string, until time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.provider(name)
	e.down(name, "refused", until)
	for _, key := range keys {
		if p.refused[key] {
			continue
		}
		if p.refused == nil {
			p.refused = make(map[string]bool)
		}
		p.refused[key] = true
		e.emit(KeyRefused, map[string]any{"provider": name, "key": key, "until": Clock(until)})
	}
}

// Throttled reports that a provider asks for a pause. It emits Throttled at most once per pause,
// and once a minute.
func (e *Emitter) Throttled(name string, until time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, now := e.provider(name), time.Now()
	news := !now.Before(p.throttledUntil) && (p.throttledAt.IsZero() || now.Sub(p.throttledAt) >= throttledEvery)
	if until.After(p.throttledUntil) {
		p.throttledUntil = until
	}
	if news {
		p.throttledAt = now
		e.emit(Throttled, map[string]any{"provider": name, "until": Clock(until)})
	}
}

// Spent reports that a quota, such as "1000/day", is used up until the end of its window.
func (e *Emitter) Spent(name, window string, until time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.provider(name)
	if p.spent[window].Equal(until) {
		return
	}
	p.spent[window] = until
	e.emit(QuotaSpent, map[string]any{"provider": name, "window": window, "until": Clock(until)})
}

// Expires reports that a key, given by its fingerprint, expires soon or has expired. Each call
// emits KeyExpiring: the caller limits how often.
func (e *Emitter) Expires(name, key string, expires time.Time, left time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.emit(KeyExpiring, map[string]any{
		"provider": name, "key": key, "expires": Clock(expires),
		"days": int(math.Floor(left.Hours() / 24)), // −1 on the first day after the end
	})
}
