package adminapi

import (
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
)

// KeyOf returns a key as it stands in answers.
func KeyOf(k health.Key, now time.Time) Key {
	x := Key{
		Provider: k.Name, Fingerprint: k.Fingerprint, Source: k.Source, State: k.State, NotAsked: k.NotAsked,
		SetAside: k.SetAside, Retry: k.Retry, Refreshed: k.Fetched, Expires: k.Expires, Lease: k.Lease, Error: k.Error,
	}
	if !k.Expires.IsZero() {
		x.DaysLeft = new(health.Days(k.Expires.Sub(now)))
	}
	return x
}

// Key is the state of a key or a password. It holds no value. GET keys answers a list of them.
type Key struct {
	Provider    string `json:"provider"`
	Fingerprint string `json:"fingerprint,omitempty"` // missing while there is no value

	// Source is the placeholder as configured, or the name of the store. It is missing if the configuration itself
	// holds the key.
	Source string `json:"source,omitempty"`

	// State is in_use, in_reserve (used if those before it are refused), set_aside (refused) or waiting (for its first
	// value). A token of the API can also be unfit or ended: then it lets nobody in.
	State health.KeyState `json:"state"`

	// NotAsked is set until a call with the key has ended: nobody knows whether the service accepts it.
	NotAsked bool `json:"not_asked,omitempty"`

	SetAside time.Time `json:"set_aside,omitzero"` // since when
	Retry    time.Time `json:"retry,omitzero"`     // when a refused key is tried again

	Refreshed time.Time `json:"refreshed,omitzero"`  // when the value last came from its source
	Expires   time.Time `json:"expires,omitzero"`    // missing if unknown
	DaysLeft  *int      `json:"days_left,omitempty"` // whole days, negative after the end
	Lease     bool      `json:"lease,omitempty"`     // the store renews it

	Error string `json:"error,omitempty"` // of the last attempt to fetch it
}
