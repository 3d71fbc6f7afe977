package adminapi

import (
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
)

// Check answers GET check/{ip}: it explains the verdict about an address.
type Check struct {
	Address netip.Addr   `json:"address"`
	Subject netip.Prefix `json:"subject"` // what it is stored by: the address, or its /64

	// LoggedAs is how our log writes the address, if `privacy` changes it.
	LoggedAs string `json:"logged_as,omitempty"`

	// Score is missing if no source has answered, or if the address is not judged. So are Percent, Prior, Points
	// and Sum.
	Score    *uint8   `json:"score,omitempty"`
	Percent  *float64 `json:"percent,omitempty"` // the score before rounding
	Status   string   `json:"status"`
	Coverage float64  `json:"coverage"` // of the sources, by trust, 0 to 1

	// Prior and the points of all reasons add up to Points, of which Percent is made.
	Prior   *float64 `json:"prior,omitempty"`
	Points  *float64 `json:"points,omitempty"`
	Sum     string   `json:"sum,omitempty"` // the same, written out
	Reasons []Reason `json:"reasons"`

	// Claim is what becomes of the user agent's claim to be a bot, if the query has a `user_agent` that claims one.
	Claim *Claim `json:"claim,omitempty"`

	Categories []string         `json:"categories"`
	Facts      Facts            `json:"facts"`
	Reserved   bool             `json:"reserved,omitempty"` // private or otherwise not of the Internet
	Lists      []ListEntry      `json:"lists"`              // those that hold the address: see ListEntry.By
	Overrides  []ban.Entry      `json:"overrides"`          // bans and exemptions that hold the address
	Violations []Violation      `json:"violations"`         // what clients of the address did on the sites, by name
	Neighbours *Neighbours      `json:"neighbours,omitempty"`
	Providers  []ProviderAnswer `json:"providers"` // the stored answer of each
	Next       []string         `json:"next"`      // what happens next, or can be done
}

// Reason is a source that counts in the score.
type Reason struct {
	Source     string   `json:"source"`
	Points     float64  `json:"points"`
	Categories []string `json:"categories"`
	AgeSeconds int64    `json:"age_seconds"` // since the source was asked, or since the newest violation; 0 for lists

	// Network is whether the source was asked about others of the network of the address, and not about the address.
	Network bool `json:"network,omitempty"`
}

// Facts are what sources know of an address besides its score.
type Facts struct {
	Country string          `json:"country,omitempty"`
	ASN     uint32          `json:"asn,omitempty"`
	ASName  string          `json:"as_name,omitempty"` // from local databases
	Network string          `json:"network,omitempty"`
	Nature  map[string]bool `json:"nature,omitempty"` // by kind; a kind is missing if nobody knows
	Bot     string          `json:"bot,omitempty"`    // verified; needs a user agent
}

// Claim is what becomes of a claim to be a bot.
type Claim struct {
	Bot     string   `json:"bot"`
	Outcome string   `json:"outcome"` // verified, fake, unverifiable or indeterminate
	Why     []string `json:"why"`
}

// ListEntry is a list that holds the address.
type ListEntry struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`   // feed, deny, exempt or bots
	Source string `json:"source"` // the host or file it comes from, or "values"

	// By is "asn" or "country" if the list names that of the address, and empty if it names the address.
	By string `json:"by,omitempty"`
}

// Violation is what clients of the address did, by the name of the violation.
type Violation struct {
	Name   string    `json:"name"`
	Points float64   `json:"points"` // now; 0 while they are free
	Count  int       `json:"count"`  // of late, the free ones included: it decays as the points do
	Last   time.Time `json:"last"`   // the newest
}

// Neighbours are others of the network of the address that offended within a day: their violations came to more than
// 10 points. They are missing if there are none.
type Neighbours struct {
	Network   netip.Prefix `json:"network"`
	Offenders int          `json:"offenders"`          // in the network, at most 32
	Last      time.Time    `json:"last,omitzero"`      // the newest violation of an offender
	Networks  int          `json:"networks,omitempty"` // of the autonomous system that have offenders, at most 32
}

// ProviderAnswer is the stored answer of a provider.
type ProviderAnswer struct {
	Name   string    `json:"name"`
	Answer *Answer   `json:"answer,omitempty"` // the last one; missing if there was none
	Failed bool      `json:"failed"`           // the last call failed
	Due    time.Time `json:"due,omitzero"`     // from then on, the next request of the address asks again

	// Worth is what an answer to the next request is worth, from 0 to 1, unless the site finds that request important;
	// it is missing where nobody is asked. Price is what it must be worth at present: 0 while the quota is not short.
	Worth float64 `json:"worth,omitempty"`
	Price float64 `json:"price,omitempty"`

	// Problem says why the provider cannot be asked now. It is empty if it can.
	Problem string `json:"problem,omitempty"`

	// Others is of how many others of the network the provider's answers count, in place of one about the address,
	// since the network has used its share of the calls.
	Others int `json:"others,omitempty"`
}

// Answer is an answer of a provider.
type Answer struct {
	Severity   float64   `json:"severity"`   // -1 (known good) to 1 (abusive)
	Confidence float64   `json:"confidence"` // 0 to 1
	Categories []string  `json:"categories"`
	Fetched    time.Time `json:"fetched"`
}

// Forgotten answers DELETE records/{ip}.
type Forgotten struct {
	Subject   netip.Prefix `json:"subject"`
	Forgotten bool         `json:"forgotten"` // false: there was no stored answer

	// Violations is whether there were violations, which are forgotten, too.
	Violations bool `json:"violations,omitempty"`

	// Note says what keeps the address out all the same.
	Note string `json:"note,omitempty"`

	// Warning says what went wrong elsewhere: this instance has forgotten.
	Warning string `json:"warning,omitempty"`
}
