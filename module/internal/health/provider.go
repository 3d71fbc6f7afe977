package health

import (
	"math"
	"slices"
	"strconv"
	"time"
)

func (r *Report) provider(p Provider, all []Key, now time.Time) {
	keys := map[KeyState]int{}
	for _, k := range all {
		if k.Provider == p.Name {
			keys[k.State]++
		}
	}
	usable := keys[KeyInUse] + keys[KeyInReserve]
	c := Check{ID: p.Name, Type: "component", Value: "up", Keys: usable + keys[KeySetAside] + keys[KeyWaiting]}
	var w *Warning
	switch {
	case !p.Refused.IsZero():
		c.Value, c.Until = "refused", p.Refused
		w = warning(ProviderRefused, p.Name, "provider %s refuses the key, which is tried again after %s: give it a valid one",
			p.Name, clock(p.Refused))
	case usable == 0 && keys[KeySetAside] > 0:
		c.Value = "refused"
		w = warning(ProviderRefused, p.Name, "provider %s refuses its keys: give it a valid one", p.Name)
	case usable == 0 && keys[KeyWaiting] > 0:
		c.Value = "no_key"
		w = warning(KeyMissing, p.Name, "provider %s is not asked, since it has no key yet: see whether its store can be reached", p.Name)
	case !p.Throttled.IsZero():
		c.Value, c.Until = "throttled", p.Throttled
		w = warning(ProviderThrottled, p.Name, "provider %s asked to be left alone until %s", p.Name, clock(p.Throttled))
	case !p.Open.IsZero():
		c.Value, c.Until = "failing", p.Open
		w = warning(ProviderFailing, p.Name, "provider %s failed repeatedly and is tried again after %s", p.Name, clock(p.Open))
	case !p.Up:
		c.Value = "failing"
		w = warning(ProviderFailing, p.Name, "provider %s failed repeatedly and is tried again with the next question", p.Name)
	}
	r.check("providers:state", c, w)
	for _, window := range p.Windows {
		r.quota(p.Name, window, now)
	}
}

func (r *Report) quota(provider string, q Window, now time.Time) {
	c := Check{ID: provider, Type: "component", Value: q.Remaining, Unit: "calls", Window: q.Name, Until: q.Reset}
	var w *Warning
	switch {
	case !now.Before(q.Reset):
	case q.Remaining <= 0:
		w = warning(QuotaSpent, provider, "the quota of provider %s is spent: %s, until %s", provider, q.Name, clock(q.Reset))
	case q.Remaining*lowShare < q.Limit:
		w = warning(QuotaLow, provider, "the quota of provider %s is nearly spent: %d of %s left until %s",
			provider, q.Remaining, q.Name, clock(q.Reset))
	}
	r.check("providers:quota", c, w)
}

// key checks a single key. The check of the provider covers the case that no key works.
func (r *Report) key(k Key, all []Key, now time.Time) {
	name := "a key of " + k.Provider
	if k.Fingerprint != "" {
		name = "the key " + k.Fingerprint + " of " + k.Provider
	}
	replaced := slices.ContainsFunc(all, func(other Key) bool { return other.Provider == k.Provider && other.State == KeyInUse })
	known, left := !k.Expires.IsZero(), k.Expires.Sub(now)
	var w *Warning
	switch {
	case known && left <= 0:
		w = warning(KeyEnded, k.Provider, "%s has ended at %s: put a new one beside it", name, clock(k.Expires))
	case k.State == KeyUnfit:
		w = warning(KeyTooShort, k.Provider, "the token of %s is too short, so that nobody is let in with it: write one of `openssl rand -hex 32`", k.Provider)
	case k.State == KeySetAside && replaced:
		w = warning(KeyRefused, k.Provider, "%s is refused, and another one is used: replace or remove it", name)
	case k.State == KeyWaiting && replaced:
		w = warning(KeyMissing, k.Provider, "%s has not come yet, and another one is used: see whether its store can be reached", name)
	case k.Failed && k.State != KeyWaiting:
		w = warning(KeyUnreadable, k.Provider, "%s cannot be read any more, and its last value is used: a restart would be without it", name)
	case known && left <= endIsNear && !k.Lease:
		w = warning(KeyEnds, k.Provider, "%s ends in %s, at %s: put a new one beside it", name, days(left), clock(k.Expires))
	}
	r.check("keys:state", Check{ID: k.Fingerprint, Type: "component", Value: k.State, Provider: k.Provider, Expires: k.Expires}, w)
}

// Days returns how many whole days are left. It is negative after the end.
func Days(left time.Duration) int {
	return int(math.Floor(float64(left) / float64(day)))
}

func days(left time.Duration) string {
	switch n := Days(left); n {
	case 0:
		return "less than a day"
	case 1:
		return "1 day"
	default:
		return strconv.Itoa(n) + " days"
	}
}
