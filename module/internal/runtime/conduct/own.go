package conduct

import (
	"slices"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/policy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// openOwn lets look-ups know what this site has seen. It is called when the first site counts violations.
func (c *Conduct) openOwn() {
	var nearby *violation.Neighbourhood
	if c.Nearby != nil {
		nearby = violation.NewNeighbourhood(*c.Nearby)
	}
	c.own = violation.NewEvidence(c.store, c.terms, nearby)
	if c.Engine != nil {
		c.Engine.UseOwn(c.own)
	}
}

// Own is what this site has seen. It is nil if no site counts violations.
func (c *Conduct) Own() *violation.Evidence { return c.own }

// Sources are the names by which rules ask for what this site has seen, given those of its violations.
func Sources(violations []string) []string {
	if len(violations) == 0 {
		return nil
	}
	names := []string{reputation.SourceOwn}
	for _, name := range slices.Sorted(slices.Values(violations)) {
		names = append(names, reputation.SourceOwn+"."+name)
	}
	return append(names, reputation.SourceNeighbourhood)
}

// Reach adds what this site can see, and returns the most that it can weigh.
func (c *Conduct) Reach(r *policy.Reach) (most []score.Evidence) {
	for i := range c.terms {
		t := &c.terms[i]
		source := score.OfOwn(t.Name, t.Most)
		r.Sources = append(r.Sources, source.Name)
		r.Says = r.Says.Union(reputation.Capabilities{Categories: reputation.CategoriesOf(t.Category)})
		most = append(most, score.Evidence{Source: &source, Severity: 1, Confidence: 1})
	}
	if c.Nearby != nil && len(most) > 0 {
		source := score.OfNeighbourhood(c.Nearby.Points)
		r.Sources = append(r.Sources, source.Name)
		most = append(most, score.Evidence{Source: &source, Severity: 1, Confidence: 1})
	}
	return most
}
