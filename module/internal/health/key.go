package health

import (
	"math"
	"slices"
	"strconv"
	"time"
)

const (
	day = 24 * time.Hour

	// endIsNear is how long before the expiry of a key there is a warning.
	endIsNear = 30 * day
)

// key checks a single key. The check of the provider covers the case that no key works.
func (r *Report) key(k Key, all []Key, now time.Time) {
	name := "a key of " + k.Name
	if k.Fingerprint != "" {
		name = "the key " + k.Fingerprint + " of " + k.Name
	}
	replaced := slices.ContainsFunc(all, func(other Key) bool { return other.Name == k.Name && other.State == KeyInUse })
	known, left := !k.Expires.IsZero(), k.Expires.Sub(now)
	var w *Warning
	switch {
	case known && left <= 0:
		w = warning(KeyEnded, k.Name, "%s has ended at %s: put a new one beside it", name, FormatTime(k.Expires))
	case k.State == KeyUnfit:
		w = warning(KeyTooShort, k.Name, "the token of %s is too short, so that nobody is let in with it: "+
			"write one of `openssl rand -hex 32`", k.Name)
	case k.State == KeySetAside && replaced:
		w = warning(KeyRefused, k.Name, "%s is refused, and another one is used: replace or remove it", name)
	case k.State == KeyIsRefused:
		w = warning(KeyRefused, k.Name, "%s is refused: the log and `caddy ip-reputation sources` say why", name)
	case k.State == KeyWaiting && replaced:
		w = k.unread(warning(KeyMissing, k.Name, "%s has not come yet, and another one is used: "+
			"see whether its store can be reached", name))
	case k.Error != "" && k.State != KeyWaiting:
		w = k.unread(warning(KeyUnreadable, k.Name, "%s cannot be read any more, and its last value is used: "+
			"a restart would be without it", name))
	case known && left <= endIsNear && !k.Lease:
		w = warning(KeyEnds, k.Name, "%s ends in %s, at %s: put a new one beside it", name, days(left), FormatTime(k.Expires))
	}
	r.check("keys:state",
		Check{ID: k.Fingerprint, Type: "component", Value: k.State, Provider: k.Name, Expires: k.Expires}, w)
}

// unread adds why the key could not be fetched, for operators.
func (k *Key) unread(w *Warning) *Warning {
	if k.Error == "" {
		return w
	}
	return w.detail("%s (%s)", w.Text, k.Error)
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
