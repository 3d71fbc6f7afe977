package adminapi

import (
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
)

// KeyOf returns a key as it stands in answers.
func KeyOf(k health.Key, now time.Time) Key {
	x := Key{
		Provider: k.Name, Fingerprint: k.Fingerprint, Source: k.Source, State: k.State, SetAside: k.SetAside, Retry: k.Retry,
		Refreshed: k.Fetched, Expires: k.Expires, Lease: k.Lease, Error: k.Error,
	}
	if !k.Expires.IsZero() {
		x.DaysLeft = new(health.Days(k.Expires.Sub(now)))
	}
	return x
}

// Key is what an operator sees of a key. It holds no value.
type Key struct {
	Provider    string `json:"provider"`
	Fingerprint string `json:"fingerprint,omitempty"` // missing while there is no value

	// Source is the placeholder as it was configured, or the name of the store; missing for a key that stands in the
	// configuration itself.
	Source string `json:"source,omitempty"`

	// State is in_use, in_reserve (used when those before it are refused), set_aside (refused) or waiting (for its first value);
	// of a token of the API also unfit or ended, when nobody is let in with it.
	State health.KeyState `json:"state"`

	SetAside time.Time `json:"set_aside,omitzero"` // since when
	Retry    time.Time `json:"retry,omitzero"`     // when a key that is set aside is tried again

	Refreshed time.Time `json:"refreshed,omitzero"`  // when the value last came from its source
	Expires   time.Time `json:"expires,omitzero"`    // missing when that is not known
	DaysLeft  *int      `json:"days_left,omitempty"` // whole days; below 0 when it has ended
	Lease     bool      `json:"lease,omitempty"`     // it is renewed by itself

	Error string `json:"error,omitempty"` // of the last attempt to fetch it
}
