// Package listing says what it means for an address to be on lists. It finds this out once for each combination of
// lists, for all requests.
package listing

import (
	"cmp"
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Kind is the effect of a list on the addresses that it contains.
type Kind uint8

// The kinds of lists.
const (
	// Feed is evidence for the score.
	Feed Kind = iota
	// Deny overrides all evidence: the score is 100.
	Deny
	// Exempt overrides everything else: the address gets no score.
	Exempt
	// Bots are the published addresses of bots. By itself it means nothing: a client has to claim to be one.
	Bots
)

// String returns the word for the kind.
func (k Kind) String() string {
	switch k {
	case Deny:
		return "deny"
	case Exempt:
		return "exempt"
	case Bots:
		return "bots"
	}
	return "feed"
}

// List describes one list.
type List struct {
	Kind       Kind
	Source     score.Source
	Severity   float64 // how much being on the list says, up to 1; 0 stands for 1
	Confidence float64
	Categories reputation.Categories
	Nature     reputation.Nature

	// Part is set for all but the first part of a list that has several. They share a source, which
	// counts once: with what its most severe part says.
	Part bool
}

// isLabel reports whether the list only says what its addresses are, such as a CDN's. It is a reason
// without points. Having it answers nothing about abuse, so that it counts for no coverage.
func (l *List) isLabel() bool { return l.Kind == Feed && l.Source.Weight == 0 }

// evidence is what it means for an address to be on the list. A list that repeats another is shown with
// no points: it is no second witness.
func (l *List) evidence(repeats bool) score.Evidence {
	source := &l.Source
	if repeats {
		silent := l.Source
		silent.Trust = 0
		source = &silent
	}
	return score.Evidence{
		Source: source, Severity: cmp.Or(l.Severity, 1), Confidence: l.Confidence, Categories: l.Categories, Listed: true,
	}
}

// addEvidence adds what it means for an address to be on the list. Parts of one list are one witness.
func (l *List) addEvidence(all []score.Evidence, repeats bool) []score.Evidence {
	e := l.evidence(repeats)
	if l.Part {
		for i := range all {
			if all[i].Source.Name == e.Source.Name {
				all[i].Severity = max(all[i].Severity, e.Severity)
				all[i].Categories |= e.Categories
				return all
			}
		}
	}
	return append(all, e)
}

// Source returns the current contents of the lists. Current is called for every request: it must not
// lock.
type Source interface {
	// Current returns the present contents. It returns the same value until they change.
	Current() Contents
}

// Contents are a snapshot of all lists. A list is identified by its place among those that a Matcher was given.
type Contents interface {
	// Lookup returns the number of the set of lists that hold addr, 0 for none.
	Lookup(addr netip.Addr) uint32
	// Members returns the lists of a set.
	Members(set uint32) []uint16
	// Named returns the lists that name the autonomous system or the country of an address: see
	// feed.Snapshot. It is nil for most, and must not allocate.
	Named(asn uint32, country string) []uint16
	// Names reports whether any list names an autonomous system or a country.
	Names() bool
	// Sets returns the number of sets.
	Sets() int
	// Loaded reports whether a list was loaded. It may be empty. A feed that was never fetched is
	// not loaded.
	Loaded(list int) bool
	// Content identifies the entries of a list: lists with the same one have the same entries. It is
	// empty for a list without entries, and where it is not known.
	Content(list int) string
}

// None are lists without entries.
type None struct{}

// Current implements Source.
func (None) Current() Contents { return None{} }

// Lookup implements Contents.
func (None) Lookup(netip.Addr) uint32 { return 0 }

// Members implements Contents.
func (None) Members(uint32) []uint16 { return nil }

// Named implements Contents.
func (None) Named(uint32, string) []uint16 { return nil }

// Names implements Contents.
func (None) Names() bool { return false }

// Sets implements Contents.
func (None) Sets() int { return 1 }

// Loaded implements Contents.
func (None) Loaded(int) bool { return false }

// Content implements Contents.
func (None) Content(int) string { return "" }
