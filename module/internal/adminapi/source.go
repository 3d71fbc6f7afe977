package adminapi

import (
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
)

// Source is a list, a service or a database: whatever says something about addresses. GET sources
// answers a list of them, POST sources/probe the same after each was asked once.
type Source struct {
	Name string `json:"name"`
	Role string `json:"role"` // feed, deny, exempt, bots, asn, provider or database
	Kind string `json:"kind"` // url, file, values or pushed; the service of a provider; the type of a database

	// From is the host or the file. It is missing for a provider, whose service is its kind.
	From  string `json:"from,omitempty"`
	Terms string `json:"terms,omitempty"`

	// Key is the state of the key that is used, or of the first one while none is. It is missing for a
	// source without a key.
	Key health.KeyState `json:"key,omitempty"`

	// Answered is when the source last answered, or confirmed its contents. Of a database, it is when its file was read.
	Answered time.Time `json:"answered,omitzero"`

	// Published is when the publisher last changed what the source says. It is missing if that is not known.
	Published time.Time `json:"published,omitzero"`

	// NotAsked is set until the first answer or failure.
	NotAsked bool `json:"not_asked,omitempty"`

	// Problem says why the source cannot be used now, or what was wrong with its last answer.
	Problem string `json:"problem,omitempty"`

	Quota   []quota.WindowStatus `json:"quota,omitempty"`   // of a provider
	Price   float64              `json:"price,omitempty"`   // how much an answer must be worth while the quota is short, 0 to 1
	Entries *int                 `json:"entries,omitempty"` // in force, of a list or a database

	// Probe is how the source has answered just now. It is missing unless it was asked for.
	Probe *Probe `json:"probe,omitempty"`
}

// Probe is the outcome of asking a source once.
type Probe struct {
	Works   bool    `json:"works"`
	Result  string  `json:"result"`          // a word, as in the metrics
	Error   string  `json:"error,omitempty"` // what to know besides
	Seconds float64 `json:"seconds"`
}
