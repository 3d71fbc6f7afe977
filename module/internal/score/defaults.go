package score

import "github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"

// OverrideWeight is the points of a deny entry or a ban: enough for a score of 100. The look-up
// engine decides by it. It is no evidence and is not weighed.
const OverrideWeight = 60.0

// The groups that lists share unless they name another.
const (
	lists  = "lists"  // public feeds take from each other
	nature = "nature" // what kind of access an address offers, which is not guilt
)

// OfProfile returns how a provider is weighed that is configured under a name, unless the operator
// says otherwise.
func OfProfile(name string, p reputation.Profile) Source {
	p = p.WithDefaults()
	return Source{
		Name: name, Group: p.Group, Trust: p.Trust, Weight: p.Weight, GoodWeight: p.GoodWeight, SelfAged: p.SelfAged,
	}
}

// OfFeed returns how a list with these categories is weighed unless it, or the operator, says
// otherwise: 20 points among the other lists, or 8 when all it says is that its addresses are Tor
// exits, VPNs or hosting. A feed says nothing for the addresses that it leaves out.
func OfFeed(name string, categories reputation.Categories) Source {
	const natures = 1<<reputation.Tor | 1<<reputation.VPN | 1<<reputation.Hosting
	if categories != 0 && categories&^natures == 0 {
		return Source{Name: name, Group: nature, Trust: 1, Weight: 8}
	}
	return Source{Name: name, Group: lists, Trust: 1, Weight: 20}
}
