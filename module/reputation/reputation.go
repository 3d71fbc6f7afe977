// Package reputation defines the types of IP reputation: the report of a source about an address,
// the verdict that follows from all reports, and the interface of a provider. It imports the
// standard library only, so that third parties can use it without the plugin.
package reputation

import (
	"net/netip"
	"time"
)

// Report is the statement of one source about one address.
//
// Severity and Confidence are separate, since a single complaint about the worst abuse must not
// weigh as much as hundreds of complaints: it has a high severity and a low confidence.
type Report struct {
	// Severity is how bad the address is, from −1 (known good) over 0 (neutral) to +1 (abusive).
	Severity float64

	// Confidence is how much independent evidence there is for Severity, from 0 (none) to 1 (beyond
	// doubt). It does not measure how bad the address is.
	Confidence float64

	// Categories are the kinds of behaviour that were observed.
	Categories Categories

	// Facts are what the source knows about the address other than its behaviour.
	Facts Facts

	// LastSeen is when the reported behaviour was last observed, or
	// the zero time if that is unknown.
	LastSeen time.Time

	// TTL is how long the answer may be used, such as the TTL of a DNS record or the remaining time
	// of a ban. The caller's settings can shorten it. Less than 5 minutes count as 5 minutes, so that no service spends its
	// quota on one visitor. Zero means that the settings apply alone.
	TTL time.Duration
}

// Facts are statements about an address other than about its behaviour.
type Facts struct {
	// Country is the ISO 3166-1 alpha-2 code in capitals, or empty when not known.
	Country string

	// ASN is the number of the autonomous system that announces the address, or 0 when not known.
	ASN uint32

	// ASName is the registered name of the autonomous system, or empty when not known. Records of providers'
	// answers do not hold it, so that verdicts have it from local databases only.
	ASName string

	// Network is the allocation or route the address belongs to; the zero prefix when not known.
	Network netip.Prefix

	// Nature is what kind of access the address offers.
	Nature Nature

	// Bot is the name of the crawler that the client was verified to be, such as "googlebot", or empty.
	// It is a fact of the client: others may use the same address.
	Bot string
}

// Merge fills in the unknown facts from other. Known facts stay.
func (f Facts) Merge(other Facts) Facts {
	if f.Country == "" {
		f.Country = other.Country
	}
	if f.ASN == 0 {
		f.ASN, f.ASName = other.ASN, other.ASName
	}
	if f.ASName == "" && f.ASN == other.ASN {
		f.ASName = other.ASName
	}
	if !f.Network.IsValid() {
		f.Network = other.Network
	}
	f.Nature = f.Nature.Merge(other.Nature)
	if f.Bot == "" {
		f.Bot = other.Bot
	}
	return f
}
