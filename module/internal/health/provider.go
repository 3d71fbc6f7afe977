package health

import (
	"fmt"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
)

// A quota is low when less than one lowShare-th of it is left.
const lowShare = 10

// Problem says why a provider cannot be asked at present, or nothing. The keys are those of all providers.
func Problem(s quota.Status, keys []Key, now time.Time) string {
	switch {
	case s.SetAside != "":
		return "it failed its test, which is repeated " + after(s.NextTest) + ": " + s.SetAside
	case s.Untested && s.LastError != "":
		return "its test had no answer, and is repeated " + after(s.NextTest) + ": " + s.LastError
	case s.Untested:
		return "it is being tested"
	case !s.RefusedUntil.IsZero() && s.Keyless:
		return "it refused to answer, and is asked again after " + FormatTime(s.RefusedUntil) + because(s)
	case !s.RefusedUntil.IsZero():
		return "it refused the key, which is tried again after " + FormatTime(s.RefusedUntil) + because(s)
	case !s.ThrottledUntil.IsZero():
		return "it asked to be left alone until " + FormatTime(s.ThrottledUntil) + because(s)
	case !s.OpenUntil.IsZero():
		return "it failed repeatedly and is tried again after " + FormatTime(s.OpenUntil) + because(s)
	}
	for _, w := range s.Windows {
		if w.Remaining() == 0 && now.Before(w.Reset) {
			return spent(w)
		}
	}
	if n := keysOf(s.Name, keys); n[KeyWaiting] > 0 && n[KeyInUse]+n[KeyInReserve]+n[KeySetAside] == 0 {
		return "it has no key yet"
	}
	return ""
}

// after says when something is done that is due at a time, which is zero once it has passed.
func after(due time.Time) string {
	if due.IsZero() {
		return "now"
	}
	return "after " + FormatTime(due)
}

// because returns the error of the last call, to follow a sentence.
func because(s quota.Status) string {
	if s.LastError == "" {
		return ""
	}
	return ": " + s.LastError
}

// Paced says until when a provider is not asked because its calls are spread over the window of their
// quota, or nothing. That is no problem of the provider.
func Paced(s quota.Status) string {
	if s.PacedUntil.IsZero() {
		return ""
	}
	return "its calls are spread until the quota's window ends, the next one is at " + FormatTime(s.PacedUntil)
}

// Budget says why a provider is not asked for an answer of the given worth, or nothing. That is no problem of the
// provider.
func Budget(s quota.Status, worth float64) string {
	if worth >= s.Price {
		return ""
	}
	return fmt.Sprintf("budget (worth %.2f, price %.2f)", worth, s.Price)
}

func spent(w quota.WindowStatus) string {
	return fmt.Sprintf("the quota of %s is used up until %s", w.Window, FormatTime(w.Reset))
}

// keysOf counts the keys of a provider by their state.
func keysOf(provider string, all []Key) map[KeyState]int {
	keys := map[KeyState]int{}
	for _, k := range all {
		if k.Name == provider {
			keys[k.State]++
		}
	}
	return keys
}

func (r *Report) provider(p quota.Status, all []Key, now time.Time) {
	keys := keysOf(p.Name, all)
	usable := keys[KeyInUse] + keys[KeyInReserve]
	c := Check{ID: p.Name, Type: "component", Value: "up", Keys: usable + keys[KeySetAside] + keys[KeyWaiting]}
	notAsked := func(w *Warning, cure string) *Warning {
		return w.detail("provider %s is not asked: %s%s", p.Name, Problem(p, nil, now), cure)
	}
	if p.NotAsked {
		c.Value = "not_asked_yet"
	}
	var w *Warning
	switch {
	case p.SetAside != "":
		c.Value, c.Until = "set_aside", p.NextTest
		w = notAsked(warning(ProviderSetAside, p.Name, "provider %s fails its test and is not asked: "+
			"`caddy ip-reputation status` says why", p.Name), "")
	case p.Untested && !p.Up:
		c.Value, c.Until = "failing", p.NextTest
		w = notAsked(warning(ProviderFailing, p.Name, "provider %s does not answer its test, which is repeated %s",
			p.Name, after(p.NextTest)), "")
	case !p.RefusedUntil.IsZero() && p.Keyless:
		c.Value, c.Until = "refused", p.RefusedUntil
		w = notAsked(warning(ProviderRefused, p.Name, "provider %s refuses to answer, and is asked again after %s: "+
			"`caddy ip-reputation status` says why", p.Name, FormatTime(p.RefusedUntil)), "")
	case !p.RefusedUntil.IsZero():
		c.Value, c.Until = "refused", p.RefusedUntil
		w = notAsked(warning(ProviderRefused, p.Name, "provider %s refuses the key, which is tried again after %s: "+
			"give it a valid one", p.Name, FormatTime(p.RefusedUntil)), ": check the key and its plan, or give it another")
	case usable == 0 && keys[KeySetAside] > 0:
		c.Value = "refused"
		w = warning(ProviderRefused, p.Name, "provider %s refuses its keys: give it a valid one", p.Name)
	case usable == 0 && keys[KeyWaiting] > 0:
		c.Value = "no_key"
		w = warning(KeyMissing, p.Name, "provider %s is not asked, since it has no key yet: "+
			"see whether its store can be reached", p.Name)
	case !p.ThrottledUntil.IsZero():
		c.Value, c.Until = "throttled", p.ThrottledUntil
		w = notAsked(warning(ProviderThrottled, p.Name, "provider %s asked to be left alone until %s",
			p.Name, FormatTime(p.ThrottledUntil)), ": if it does so often, write a smaller `quota` or `rate`")
	case !p.OpenUntil.IsZero():
		c.Value, c.Until = "failing", p.OpenUntil
		w = notAsked(warning(ProviderFailing, p.Name, "provider %s failed repeatedly and is tried again after %s",
			p.Name, FormatTime(p.OpenUntil)), "")
	case !p.Up:
		c.Value = "failing"
		w = warning(ProviderFailing, p.Name, "provider %s failed repeatedly and is tried again with the next question",
			p.Name)
	}
	r.check("providers:state", c, w)
	for _, window := range p.Windows {
		r.quota(p.Name, window, now)
	}
}

func (r *Report) quota(provider string, q quota.WindowStatus, now time.Time) {
	left := q.Remaining()
	c := Check{ID: provider, Type: "component", Value: left, Unit: "calls", Window: q.Window, Until: q.Reset}
	var w *Warning
	switch {
	case !now.Before(q.Reset):
	case q.Period == "minute": // every busy minute spends it, and the next one has it again
	case left <= 0:
		w = warning(QuotaSpent, provider, "the quota of provider %s is spent: %s, until %s",
			provider, q.Window, FormatTime(q.Reset)).
			detail("provider %s is not asked: %s", provider, spent(q))
	case left*lowShare < q.Limit:
		w = warning(QuotaLow, provider, "the quota of provider %s is nearly spent: %d of %s left until %s",
			provider, left, q.Window, FormatTime(q.Reset))
	}
	r.check("providers:quota", c, w)
}
