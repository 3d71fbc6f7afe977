package adminapi

import (
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
)

// Check is the whole explanation of a verdict.
type Check struct {
	Address netip.Addr   `json:"address"`
	Subject netip.Prefix `json:"subject"` // what it is remembered by

	// LoggedAs is how our log writes it, where `privacy` says otherwise.
	LoggedAs string `json:"logged_as,omitempty"`

	// Score is missing when no source has answered or the address is not judged; so are the members about the sum.
	Score    *uint8   `json:"score,omitempty"`
	Percent  *float64 `json:"percent,omitempty"` // the score before rounding
	Status   string   `json:"status"`
	Coverage float64  `json:"coverage"` // of the sources, by trust, 0 to 1

	// Prior and the points of all reasons add up to Points, which stand for Percent.
	Prior   *float64 `json:"prior,omitempty"`
	Points  *float64 `json:"points,omitempty"`
	Sum     string   `json:"sum,omitempty"` // the same, written out
	Reasons []Reason `json:"reasons"`

	Categories []string         `json:"categories"`
	Facts      Facts            `json:"facts"`
	Reserved   bool             `json:"reserved,omitempty"` // private or otherwise not of the Internet
	Lists      []ListEntry      `json:"lists"`              // that hold the address
	Overrides  []ban.Entry      `json:"overrides"`          // bans and exemptions that hold the address
	Providers  []ProviderAnswer `json:"providers"`          // what is remembered of each
	Next       []string         `json:"next"`               // what happens, or can be done, next
}

// Reason is a source that counted in the score.
type Reason struct {
	Source     string   `json:"source"`
	Points     float64  `json:"points"`
	Categories []string `json:"categories"`
	AgeSeconds int64    `json:"age_seconds"` // since the source was asked; 0 for lists
}

// Facts are what is known of an address besides its score.
type Facts struct {
	Country string          `json:"country,omitempty"`
	ASN     uint32          `json:"asn,omitempty"`
	ASName  string          `json:"as_name,omitempty"` // reserved: no source knows it yet
	Network string          `json:"network,omitempty"`
	Nature  map[string]bool `json:"nature,omitempty"` // kinds that are known to hold, or not to
}

// ListEntry is a list that holds the address.
type ListEntry struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`   // feed, deny or exempt
	Source string `json:"source"` // the host or file it comes from, or "values"
}

// ProviderAnswer is what is remembered of a provider.
type ProviderAnswer struct {
	Name   string    `json:"name"`
	Answer *Answer   `json:"answer,omitempty"` // the last one it gave
	Failed bool      `json:"failed"`           // the last time it was asked
	Due    time.Time `json:"due,omitzero"`     // when it is asked again, if somebody comes from the address

	// Problem says why the provider cannot be asked at present.
	Problem string `json:"problem,omitempty"`
}

// Answer is what a provider answered.
type Answer struct {
	Severity   float64   `json:"severity"`   // -1 (known good) to 1 (abusive)
	Confidence float64   `json:"confidence"` // 0 to 1
	Categories []string  `json:"categories"`
	Fetched    time.Time `json:"fetched"`
}

// Forgotten is the answer to a DELETE of a record.
type Forgotten struct {
	Subject   netip.Prefix `json:"subject"`
	Forgotten bool         `json:"forgotten"` // false: nothing was remembered

	// Warning says what went wrong although this instance has forgotten.
	Warning string `json:"warning,omitempty"`
}
