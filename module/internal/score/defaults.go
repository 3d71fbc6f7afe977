package score

import "github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"

// OwnWeight is what the operator's own word is worth, in points: enough for a score of 100. It is no evidence and is not
// weighed; the look-up decides by it.
const OwnWeight = 60.0

// The groups that several lists share.
const (
	lists    = "lists"    // public feeds take from each other
	spamhaus = "spamhaus" // DROP is part of what the DNS zones answer
	nature   = "nature"   // what kind of access an address offers, which is not guilt
)

// feeds are the weights of the lists that are known by name. They are chosen for the scores that they must give, which
// TestScoresThatTheDefaultsMustGive holds: a Tor exit comes nowhere near 85, and three lists that copy each other stay in
// the middle. What a service weighs is in its own profile.
var feeds = map[string]Source{
	"spamhaus_drop":     {Trust: 1, Weight: 34, Group: spamhaus},
	"firehol_level1":    {Trust: 1, Weight: 24, Group: lists},
	"ipsum":             {Trust: 1, Weight: 24, Group: lists},
	"tor_exits":         {Trust: 1, Weight: 8, Group: nature},
	"x4bnet_vpn":        {Trust: 1, Weight: 8, Group: nature},
	"x4bnet_datacenter": {Trust: 1, Weight: 8, Group: nature},

	"verified_bots": {Trust: 1, GoodWeight: 60, Group: "verified"},
}

// OfProfile returns how a provider is weighed that is configured under a name, unless the operator says otherwise.
func OfProfile(name string, p reputation.Profile) Source {
	p = p.WithDefaults()
	return Source{
		Name: name, Group: p.Group, Trust: p.Trust, Weight: p.Weight, GoodWeight: p.GoodWeight, SelfAged: p.SelfAged,
	}
}

// FeedDefaults returns how the list with the given name is weighed unless the operator says otherwise. One without a known
// name is worth 20 points among the other lists, or 8 when all it says is that its addresses are Tor exits, VPNs or hosting.
// A feed says nothing for the addresses that it leaves out.
func FeedDefaults(name string, categories reputation.Categories) Source {
	if s, known := feeds[name]; known {
		s.Name = name
		return s
	}
	const natures = 1<<reputation.Tor | 1<<reputation.VPN | 1<<reputation.Hosting
	if categories != 0 && categories&^natures == 0 {
		return Source{Name: name, Group: nature, Trust: 1, Weight: 8}
	}
	return Source{Name: name, Group: lists, Trust: 1, Weight: 20}
}
