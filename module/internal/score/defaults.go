package score

import "github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"

// OwnWeight is what the operator's own word is worth, in points: enough for a score of 100. It is no evidence and is not
// weighed; the look-up decides by it.
const OwnWeight = 60.0

// The groups that several sources share.
const (
	lists    = "lists"    // public feeds take from each other
	dnsbl    = "dnsbl"    // so do public DNS lists
	spamhaus = "spamhaus" // DROP is part of what the DNS zones answer
	nature   = "nature"   // what kind of access an address offers, which is not guilt
)

// defaults are the weights of the sources that are known by name. They are chosen for the scores that they must give,
// which TestScoresThatTheDefaultsMustGive holds: proof of abuse from one source passes 85, a single complaint, a shared
// address on a DNS list or a Tor exit comes nowhere near it, and three lists that copy each other stay in the middle.
var defaults = map[string]Source{
	"abuseipdb":    {Trust: 1, Weight: 32, GoodWeight: 4, SelfAged: true},
	"crowdsec":     {Trust: 1, Weight: 32, GoodWeight: 4, Group: "crowdsec"},
	"crowdsec_cti": {Trust: 1, Weight: 32, GoodWeight: 4, Group: "crowdsec", SelfAged: true},
	"greynoise":    {Trust: 1, Weight: 26, GoodWeight: 40},
	"httpbl":       {Trust: 1, Weight: 26, GoodWeight: 2},

	"ipqualityscore": {Trust: 1, Weight: 24, GoodWeight: 4},
	"proxycheck":     {Trust: 1, Weight: 24, GoodWeight: 4},
	"virustotal":     {Trust: 1, Weight: 24, GoodWeight: 4},
	"otx":            {Trust: 1, Weight: 24, GoodWeight: 4},

	"zen": {Trust: 1, Weight: 22, GoodWeight: 1, Group: spamhaus},
	"dqs": {Trust: 1, Weight: 22, GoodWeight: 1, Group: spamhaus},

	// Anyone may run a DNS list, and many hold whole carriers' shared addresses: half the trust.
	"dnsbl":   {Trust: .5, Weight: 16, GoodWeight: 1, Group: dnsbl},
	"dronebl": {Trust: .5, Weight: 16, GoodWeight: 1, Group: dnsbl},

	"spamhaus_drop":     {Trust: 1, Weight: 34, Group: spamhaus},
	"firehol_level1":    {Trust: 1, Weight: 24, Group: lists},
	"ipsum":             {Trust: 1, Weight: 24, Group: lists},
	"tor_exits":         {Trust: 1, Weight: 8, Group: nature},
	"x4bnet_vpn":        {Trust: 1, Weight: 8, Group: nature},
	"x4bnet_datacenter": {Trust: 1, Weight: 8, Group: nature},

	"verified_bots": {Trust: 1, GoodWeight: 60, Group: "verified"},
}

// Defaults returns how the source with the given name is weighed unless the operator says otherwise, and whether the
// name is a known one. Any other is weighed like a provider that nobody has experience with: 20 points against an
// address, 2 for it, alone in its group.
func Defaults(name string) (Source, bool) {
	s, known := defaults[name]
	if !known {
		s = Source{Trust: 1, Weight: 20, GoodWeight: 2}
	}
	s.Name = name
	return s, known
}

// FeedDefaults is Defaults for feeds: one without a known name is worth 20 points among the other lists, or 8 when all
// it says is that its addresses are Tor exits, VPNs or hosting. A feed says nothing for the addresses that it leaves out.
func FeedDefaults(name string, categories reputation.Categories) Source {
	s, known := Defaults(name)
	if known {
		return s
	}
	const natures = 1<<reputation.Tor | 1<<reputation.VPN | 1<<reputation.Hosting
	if categories != 0 && categories&^natures == 0 {
		return Source{Name: name, Group: nature, Trust: 1, Weight: 8}
	}
	return Source{Name: name, Group: lists, Trust: 1, Weight: 20}
}
