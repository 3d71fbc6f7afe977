// Package violation remembers what the site itself saw clients do, such as failed log-ins or a touched trap: points
// that add up, and decay by half in a time of their own.
package violation

import (
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Terms are what a violation of one name costs.
type Terms struct {
	// Name is the word for it, as in own.login_failed.
	Name string

	// Points are what each costs.
	Points float64

	// HalfLife is the time in which the points lose half of their worth.
	HalfLife time.Duration

	// Free is how many of them cost nothing.
	Free int

	// Most is what the points add up to at most.
	Most float64

	// Category is what the client is suspected of.
	Category reputation.Category

	// Ban is for how long a client is banned at once; zero for not at all.
	Ban time.Duration

	// Report is whether services that take reports are told.
	Report bool
}

// ID identifies a violation by its name. It is the same in all processes and versions.
type ID uint32

// IDOf returns the ID of a name: its FNV-1a hash.
func IDOf(name string) ID {
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return ID(h)
}

// Act is one violation.
type Act struct {
	Client netip.Addr // unmapped, without zone
	At     time.Time

	// Path, unless empty, lets the same path count once.
	Path string

	// Share is what part of its points it costs, up to 1.
	Share float64
}

// Result is what a violation has led to.
type Result struct {
	// Counted is whether it was counted. One within the free ones is, and costs nothing.
	Counted bool

	// Ignored is why it was not counted; empty if it was.
	Ignored Ignored

	// Free is whether it is one of the free ones. The points of those before may still be there.
	Free bool

	// Points are what all violations of this name amount to now.
	Points float64
}

// Ignored is why a violation was not counted. It is a label of metrics and a word of the look-up API.
type Ignored string

// Why a violation is not counted.
const (
	IgnoredUnknown   Ignored = "unknown"       // no violation has the name
	IgnoredExempt    Ignored = "exempt"        // the client is exempt
	IgnoredReserved  Ignored = "reserved"      // private, loopback, …: it stands for nobody in the internet
	IgnoredBot       Ignored = "verified_bot"  // the client is a verified bot
	IgnoredProxy     Ignored = "trusted_proxy" // the client is a proxy that the server trusts
	IgnoredEverybody Ignored = "everybody"     // nearly all requests come from the address
	IgnoredForeign   Ignored = "foreign"       // the page of another site caused the request
	IgnoredEarly     Ignored = "early_data"    // the address may be forged: the handshake was not complete
	IgnoredForwarded Ignored = "forwarded"     // the address may be forged: the server believes what clients forward
	IgnoredNoAddress Ignored = "no_address"    // the client has none
	IgnoredRefused   Ignored = "refused"       // the request was refused by us
	IgnoredUntrusted Ignored = "untrusted"     // the site takes none from its application
	IgnoredExcess    Ignored = "excess"        // the response names more than one response may
	IgnoredDisabled  Ignored = "disabled"      // nothing is counted
	IgnoredRepeated  Ignored = "repeated"      // the path was counted already
)

// Seen is what is remembered of one client's violations of one name.
type Seen struct {
	Name   string
	Points float64 // now
	Count  int     // since they were last worth nothing
	Last   time.Time
}
