package runtime

import (
	"net/netip"
	"slices"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/policy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// openOwn lets look-ups know what this site has seen. It is called when the first site counts violations.
func (rt *Runtime) openOwn() {
	var nearby *violation.Neighbourhood
	if rt.Nearby != nil {
		nearby = violation.NewNeighbourhood(*rt.Nearby)
	}
	rt.own = violation.NewEvidence(rt.violations, rt.violationTerms, nearby)
	if rt.Engine != nil {
		rt.Engine.UseOwn(rt.own)
	}
}

// startOwn begins to follow which networks have offenders.
func (rt *Runtime) startOwn() {
	if rt.own != nil {
		rt.stopOwn = rt.own.Follow(rt.asnOf)
	}
}

// asnOf returns the autonomous system of an address, 0 if nobody on this machine knows it.
func (rt *Runtime) asnOf(addr netip.Addr) uint32 {
	if asn := rt.Databases.Facts(addr).ASN; asn != 0 || len(rt.Providers) == 0 {
		return asn
	}
	return rt.Known(addr).Facts.ASN
}

// Own is what this site has seen. It is nil if no site counts violations.
func (rt *Runtime) Own() *violation.Evidence { return rt.own }

// OwnSources are the names by which rules ask for what this site has seen, given those of its violations.
func OwnSources(violations []string) []string {
	if len(violations) == 0 {
		return nil
	}
	names := []string{reputation.SourceOwn}
	for _, name := range slices.Sorted(slices.Values(violations)) {
		names = append(names, reputation.SourceOwn+"."+name)
	}
	return append(names, reputation.SourceNeighbourhood)
}

// reachOfOwn adds what this site can see, and returns the most that it can weigh.
func (rt *Runtime) reachOfOwn(r *policy.Reach) (most []score.Evidence) {
	for i := range rt.violationTerms {
		t := &rt.violationTerms[i]
		source := score.OfOwn(t.Name, t.Most)
		r.Sources = append(r.Sources, source.Name)
		r.Says = r.Says.Union(reputation.Capabilities{Categories: reputation.CategoriesOf(t.Category)})
		most = append(most, score.Evidence{Source: &source, Severity: 1, Confidence: 1})
	}
	if rt.Nearby != nil && len(most) > 0 {
		source := score.OfNeighbourhood(rt.Nearby.Points)
		r.Sources = append(r.Sources, source.Name)
		most = append(most, score.Evidence{Source: &source, Severity: 1, Confidence: 1})
	}
	return most
}
