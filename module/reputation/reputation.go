// Package reputation is the vocabulary of IP reputation: what a source reports about an address, what is concluded from
// the reports, and the contract a reputation service is written against. It imports the standard library only, so that
// third parties can depend on it without depending on the plugin.
package reputation

import (
	"net/netip"
	"time"
)

// Report is what one source says about one address.
//
// Severity and Confidence are kept apart on purpose: a single complaint about the worst of crimes has a high severity
// and a low confidence, and must not weigh like hundreds of complaints.
type Report struct {
	// Severity says how bad the address is, from −1 (known good) over 0 (nothing to say) to +1 (abusive).
	Severity float64

	// Confidence says how much independent evidence stands behind Severity, from 0 (none) to 1 (beyond doubt).
	// It is not a measure of how bad the address is.
	Confidence float64

	// Categories name the kinds of behaviour that were seen.
	Categories Categories

	// Facts are what the source knows about the address apart from its behaviour.
	Facts Facts

	// LastSeen is when the reported behaviour was last observed. The zero time means that the source does not say.
	LastSeen time.Time

	// TTL is how long the source wants its answer to be used, as a DNS record or a ban's remaining duration does.
	// Zero leaves it to the caller's settings.
	TTL time.Duration
}

// Facts are statements about an address that are not about behaviour.
type Facts struct {
	// Country is the ISO 3166-1 alpha-2 code in capitals, or empty when not known.
	Country string

	// ASN is the number of the autonomous system that announces the address, or 0 when not known.
	ASN uint32

	// ASName is the registered name of the autonomous system, or empty when not known. No record holds it yet,
	// so that verdicts and answers are without it.
	ASName string

	// Network is the allocation or route the address belongs to; the zero prefix when not known.
	Network netip.Prefix

	// Nature says what kind of access the address offers.
	Nature Nature
}

// Merge fills in from other what f does not know yet. What f knows stays.
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
	return f
}
