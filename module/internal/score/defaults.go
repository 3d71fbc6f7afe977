package score

import "github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"

// OverrideWeight is the points of a deny entry or a ban: enough for a score of 100. The look-up
// engine decides by it. It is no evidence and is not weighed.
const OverrideWeight = 60.0

// The groups that lists share unless they name another.
const (
	lists  = "lists"  // public feeds copy from each other
	nature = "nature" // kinds of access, such as VPN, which are no abuse by themselves
)

// OfProfile returns the default weights of a provider that is configured under the given name.
func OfProfile(name string, p reputation.Profile) Source {
	p = p.WithDefaults()
	return Source{
		Name: name, Group: p.Group, Trust: p.Trust, Weight: p.Weight, GoodWeight: p.GoodWeight, SelfAged: p.SelfAged,
	}
}

// OfFeed returns the default weights of a list with these categories: 20 points in the group of the
// lists, or 8 if its only categories are Tor, VPN and hosting. A feed is no evidence for addresses
// that it does not contain.
func OfFeed(name string, categories reputation.Categories) Source {
	const natures = 1<<reputation.Tor | 1<<reputation.VPN | 1<<reputation.Hosting
	if categories != 0 && categories&^natures == 0 {
		return Source{Name: name, Group: nature, Trust: 1, Weight: 8}
	}
	return Source{Name: name, Group: lists, Trust: 1, Weight: 20}
}

// OfVerifiedBots returns the weights of the fact that a client is the bot that it claims to be: the
// reports of others are about its address, of which a bot has many.
func OfVerifiedBots() Source {
	return Source{Name: reputation.SourceVerifiedBots, Group: "verified", Trust: 1, GoodWeight: 60}
}

// OfFakeBot returns the weights of the fact that a client is not the bot that it claims to be. By
// itself it is suspicious, and no proof of abuse.
func OfFakeBot() Source {
	return Source{Name: reputation.SourceFakeBot, Group: reputation.SourceFakeBot, Trust: 1, Weight: 14}
}

// OfOwn returns the weights of what a client did here, by the name of the violation and the most points that violations of
// that name can have. Violations of different names are different acts, so each is a group of its own: their points add up.
func OfOwn(violation string, most float64) Source {
	name := reputation.SourceOwn + "." + violation
	return Source{Name: name, Group: name, Trust: 1, Weight: most, Current: true}
}

// OfNeighbourhood returns the weights of what others of the same network did here, by the most points that it can have.
func OfNeighbourhood(most float64) Source {
	const name = reputation.SourceNeighbourhood
	return Source{Name: name, Group: name, Trust: 1, Weight: most, Current: true}
}

// OfLabel returns the weights of a list that accuses of nothing, such as that of a CDN: none. It is a
// reason with no points, so that rules can ask for it.
func OfLabel(name string) Source { return Source{Name: name, Group: nature, Trust: 1} }
