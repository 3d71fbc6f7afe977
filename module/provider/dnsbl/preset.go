package dnsbl

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// list is a DNS list: how it is asked, and what its answers mean.
type list struct {
	name     string // of the source
	question string // the name to ask for, with {address} and perhaps {key}
	weight   float64
	good     float64 // the weight of not being listed; 0 for 1
	trust    float64
	group    string
	ipv6     bool
	key      keyForm
	codes    map[code]meaning
	other    *meaning // of the codes that are not in the table; without it they are errors
	read     func([]code) (finding, error)
	absent   meaning // of an address that is not on the list
	tests    []test
	sparse   float64 // the confidence of what it says of IPv6, where it lists networks; 0 for the usual one
	terms    string
	protocol reputation.Protocol
}

// code is the address that a list answers with.
type code [4]byte

// std returns the code 127.0.0.n, as most lists use.
func std(n byte) code { return code{127, 0, 0, n} }

// meaning is what a code says of an address.
type meaning struct {
	severity, confidence float64
	categories           reputation.Categories
	natures              reputation.Kinds
}

func means(severity float64, categories ...reputation.Category) meaning {
	return meaning{severity: severity, confidence: usual, categories: reputation.CategoriesOf(categories...)}
}

// sure returns the meaning with another confidence.
func (m meaning) sure(confidence float64) meaning {
	m.confidence = confidence
	return m
}

// of returns the meaning with a kind of access that the address is known to give.
func (m meaning) of(kinds ...reputation.Kind) meaning {
	m.natures = reputation.KindsOf(kinds...)
	return m
}

// mailTrust is the trust in lists that anybody may run, and that hold addresses which many share.
const mailTrust = .5

const (
	usual   = .6 // the confidence of one list
	curated = .9 // of a list that people look after
)

var (
	notListed = meaning{severity: -1, confidence: .5} // speaks for an address, by the list's small good weight
	nothing   = meaning{}                             // proves nothing
)

// spamhaus are the codes of Spamhaus' joint lists. The policy list says where mail servers should not be:
// that is every home line, and no accusation.
var spamhaus = map[code]meaning{
	std(2):  means(.9, reputation.Spam).sure(curated),
	std(3):  means(.8, reputation.Spam).sure(curated),
	std(4):  means(.85, reputation.Compromised).sure(curated),
	std(5):  means(.85, reputation.Compromised).sure(curated),
	std(6):  means(.85, reputation.Compromised).sure(curated),
	std(7):  means(.85, reputation.Compromised).sure(curated),
	std(9):  means(1, reputation.Hijacked).sure(curated),
	std(10): means(0, reputation.Policy).sure(curated),
	std(11): means(0, reputation.Policy).sure(curated),
	std(20): means(.85, reputation.BruteForce).sure(curated),
	std(30): means(.95, reputation.BotnetC2).sure(curated),
}

var dronebl = map[code]meaning{
	std(3):   means(.75, reputation.Bot),
	std(5):   means(.75, reputation.Bot),
	std(6):   means(.75, reputation.Spam, reputation.Bot),
	std(7):   means(.75, reputation.DDoS),
	std(8):   means(.5, reputation.Proxy).of(reputation.NatureProxy),
	std(9):   means(.5, reputation.Proxy).of(reputation.NatureProxy),
	std(10):  means(.5, reputation.Proxy).of(reputation.NatureProxy),
	std(11):  means(.5, reputation.Proxy).of(reputation.NatureProxy),
	std(12):  means(.2, reputation.Abuse),
	std(13):  means(.8, reputation.BruteForce),
	std(14):  means(.5, reputation.Proxy).of(reputation.NatureProxy),
	std(15):  means(.7, reputation.Compromised),
	std(16):  means(.75, reputation.Malware),
	std(17):  means(.5, reputation.Bot).sure(.4),
	std(18):  means(.2, reputation.Abuse),
	std(19):  means(.3, reputation.VPN).of(reputation.NatureVPN),
	std(255): means(.2, reputation.Abuse),
}

const (
	spamhausFree = "free for low volume and non-commercial use only; refuses public resolvers"
	spamhausKey  = "a key of your own is required, free for low volume"
)

var (
	spamhausKeys = keyForm{length: 26, digits: true}
	honeyPotKeys = keyForm{length: 12}
)

// presets are the lists that are known by a word.
var presets = map[string]list{
	"zen": {
		question: "{address}.zen.spamhaus.org", weight: 22, trust: 1, group: "spamhaus", ipv6: true, sparse: .6,
		codes: spamhaus, absent: notListed, tests: rfc5782(true),
		terms: spamhausFree, protocol: reputation.ProtocolConfirmed,
	},
	"dqs": {
		question: "{address}.{key}.zen.dq.spamhaus.net", key: spamhausKeys,
		weight: 22, trust: 1, group: "spamhaus", ipv6: true, sparse: .6,
		codes: spamhaus, absent: notListed, tests: rfc5782(true),
		terms: spamhausKey, protocol: reputation.ProtocolConfirmed,
	},
	"authbl": {
		question: "{address}.{key}.authbl.dq.spamhaus.net", key: spamhausKeys,
		weight: 22, trust: 1, group: "spamhaus", ipv6: true, sparse: .6,
		codes: spamhaus, absent: notListed, tests: rfc5782(true),
		terms: spamhausKey, protocol: reputation.ProtocolConfirmed,
	},
	"dronebl": {
		question: "{address}.dnsbl.dronebl.org", weight: 16, trust: mailTrust, group: "dnsbl", ipv6: true,
		codes: dronebl, absent: notListed, tests: rfc5782(true),
		terms: "free for all uses, commercial users are asked to contribute",
	},
	// Its answers are no codes but numbers. What is asked about in 127.0.0.0/8 comes back as it is, with a
	// key that it knows: with another one, nothing is listed.
	"httpbl": {
		question: "{key}.{address}.dnsbl.httpbl.org", key: honeyPotKeys,
		weight: 26, good: 2, trust: 1, group: "httpbl",
		read: readHoneyPot, absent: notListed, tests: []test{{"127.1.1.5", true}, {"127.0.0.1", false}},
		terms: "members only, a key may not be shared", protocol: reputation.ProtocolConfirmed,
	},
	"spamcop": {
		question: "{address}.bl.spamcop.net", weight: 16, trust: mailTrust, group: "dnsbl",
		codes:  map[code]meaning{std(2): means(.4, reputation.Spam)},
		absent: notListed, tests: rfc5782(false), terms: "fair use",
	},
	"barracuda": {
		question: "{address}.b.barracudacentral.org", weight: 16, trust: mailTrust, group: "dnsbl",
		codes:  map[code]meaning{std(2): means(.4, reputation.Spam)},
		absent: notListed, tests: rfc5782(false), terms: "the address of your resolver must be registered there",
	},
	// Whether it has the test entries of IPv6 is not known.
	"s5h": {
		question: "{address}.all.s5h.net", weight: 16, trust: mailTrust, group: "dnsbl", ipv6: true, sparse: .4,
		codes:  map[code]meaning{std(2): means(.5, reputation.Abuse)},
		absent: notListed, tests: rfc5782(false),
	},
	// It has no entry that must be listed. Not to be on it proves nothing, as for other lists of Tor's exits.
	"torexit": {
		question: "{address}.torexit.dan.me.uk", weight: 8, trust: 1, group: "nature", ipv6: true,
		codes:  map[code]meaning{std(100): means(1, reputation.Tor).sure(curated).of(reputation.NatureTor)},
		absent: nothing, tests: []test{{"127.0.0.1", false}},
		terms: "heavy users are asked to transfer the zone",
	},
}

// spamhausPart is a list of which Spamhaus makes ZEN. It has the same codes, and those of its policy list accuse nobody.
func spamhausPart(zone string) list {
	l := presets["zen"]
	l.name, l.question = sourceName(zone), "{address}."+zone
	l.ipv6, l.tests = false, rfc5782(false)
	return l
}

// words are the presets' words.
func words() []string { return slices.Sorted(maps.Keys(presets)) }

// Variants returns the settings of each preset, of which the documentation makes a table.
func (*DNSBL) Variants() []json.RawMessage {
	var settings []json.RawMessage
	for _, word := range words() {
		settings = append(settings, json.RawMessage(fmt.Sprintf(`{"list": %q}`, word)))
	}
	return settings
}

// capabilities are all that the list's reports can hold.
func (l *list) capabilities() reputation.Capabilities {
	if l.read != nil {
		return reputation.Capabilities{
			Categories: reputation.CategoriesOf(reputation.Abuse, reputation.Spam, reputation.Crawler),
		}
	}
	var c reputation.Capabilities
	add := func(m meaning) {
		c.Categories |= m.categories
		c.Natures |= m.natures
	}
	for _, m := range l.codes {
		add(m)
	}
	if l.other != nil {
		add(*l.other)
	}
	return c
}
