package feed

import (
	"maps"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// PresetInfo is a well-known list: where it is, and what it says about the addresses it names.
type PresetInfo struct {
	// Spec is complete but for the operator's wishes.
	Spec Spec

	// Category is what the list accuses its addresses of.
	Category reputation.Category

	// Nature, when set, is what the list says its addresses are; such a list accuses nobody.
	Nature *reputation.Kind

	// Confidence says how much independent evidence stands behind an entry: 0 to 1. The ceilings are .95 for an
	// operator's curated list, .9 for one that names what was seen in action, .6 for any other single feed.
	Confidence float64

	// Weight is how many points a certain entry is worth, and Group which sources share observations with the list.
	// TestScoresThatTheDefaultsMustGive in score holds what the weights must lead to. Default: what the categories say.
	Weight float64
	Group  string
}

// Preset returns the list with the given name. The caller may change what it gets.
func Preset(name string) (PresetInfo, bool) {
	p, ok := presets[name]
	if !ok {
		return p, false
	}
	p.Spec.Name = name
	p.Spec.URLs = slices.Clone(p.Spec.URLs)
	p.Spec.Format.Members = slices.Clone(p.Spec.Format.Members)
	if p.Nature != nil {
		p.Nature = kind(*p.Nature)
	}
	if p.Spec.MaxShrink != nil {
		p.Spec.MaxShrink = new(*p.Spec.MaxShrink)
	}
	return p, true
}

// PresetNames returns the names of all presets, sorted.
func PresetNames() []string { return slices.Sorted(maps.Keys(presets)) }

const (
	x4bnet   = "https://raw.githubusercontent.com/X4BNet/lists_vpn/main/output/"
	spamhaus = "https://www.spamhaus.org/drop/"
)

// presets are never changed. The refresh intervals are the shortest that the publishers name, or what is customary.
var presets = map[string]PresetInfo{
	"spamhaus_drop": {
		Spec: Spec{
			URLs:   []string{spamhaus + "drop_v4.json", spamhaus + "drop_v6.json"},
			Format: Format{Encoding: NDJSON, Members: []string{"cidr"}},
			// Once an hour is the most that is tolerated; who asks more often is shut out.
			Refresh: 12 * time.Hour, MinRefresh: time.Hour,
			Terms: "free for any use; keep copyright and date when redistributing",
		},
		Category: reputation.Hijacked, Confidence: 0.95,
		Weight: 34, Group: "spamhaus",
	},
	"firehol_level1": {
		Spec: Spec{
			URLs:    []string{"https://iplists.firehol.org/files/firehol_level1.netset"},
			Refresh: 6 * time.Hour, MinRefresh: time.Hour,
			Terms: "those of the lists it is made of",
		},
		Category: reputation.Abuse, Confidence: 0.6,
		Weight: 24,
	},
	"ipsum": {
		Spec: Spec{
			URLs: []string{"https://raw.githubusercontent.com/stamparm/ipsum/master/ipsum.txt"},
			// The second field counts the lists that name an address. One or two copy each other too often.
			Format:  Format{MinCount: 3},
			Refresh: 24 * time.Hour, MinRefresh: 12 * time.Hour,
			Terms: "Unlicense; the data is of third parties",
		},
		Category: reputation.Abuse, Confidence: 0.6,
		Weight: 24,
	},
	"tor_exits": {
		Spec: Spec{
			URLs:    []string{"https://check.torproject.org/torbulkexitlist"},
			Refresh: time.Hour, MinRefresh: time.Hour,
			Terms: "CC0",
		},
		Category: reputation.Tor, Nature: kind(reputation.NatureTor), Confidence: 0.95,
	},
	"blocklist_de": {
		Spec: Spec{
			URLs:    []string{"https://lists.blocklist.de/lists/all.txt"},
			Refresh: 2 * time.Hour, MinRefresh: 30 * time.Minute,
			Terms: "none stated",
		},
		Category: reputation.BruteForce, Confidence: 0.6,
	},
	"feodo": {
		Spec: Spec{
			URLs:   []string{"https://feodotracker.abuse.ch/downloads/ipblocklist.json"},
			Format: Format{Encoding: JSON, Members: []string{"ip_address"}},
			// After a botnet is taken down the list may be empty, and rightly so.
			AllowEmpty: true, MaxShrink: new(1.0),
			Refresh: time.Hour, MinRefresh: 5 * time.Minute,
			Terms: "CC0",
		},
		Category: reputation.BotnetC2, Confidence: 0.9,
	},
	"emerging_threats": {
		Spec: Spec{
			// The list of their own. emerging-Block-IPs.txt puts other publishers' lists together, which operators
			// load by themselves, and which are not more independent for being named twice.
			URLs:    []string{"https://rules.emergingthreats.net/blockrules/compromised-ips.txt"},
			Refresh: 12 * time.Hour, MinRefresh: 12 * time.Hour,
			Terms: "BSD-3-Clause, with notice",
		},
		Category: reputation.Compromised, Confidence: 0.6,
	},
	"x4bnet_vpn": {
		Spec: Spec{
			URLs:    []string{x4bnet + "vpn/ipv4.txt", x4bnet + "vpn/ipv6.txt"},
			Refresh: 24 * time.Hour, MinRefresh: 12 * time.Hour,
			Terms: "MIT",
		},
		Category: reputation.VPN, Nature: kind(reputation.NatureVPN), Confidence: 0.6,
	},
	"x4bnet_datacenter": {
		Spec: Spec{
			URLs:    []string{x4bnet + "datacenter/ipv4.txt", x4bnet + "datacenter/ipv6.txt"},
			Refresh: 24 * time.Hour, MinRefresh: 12 * time.Hour,
			Terms: "MIT",
		},
		Category: reputation.Hosting, Nature: kind(reputation.NatureHosting), Confidence: 0.6,
	},
}

func kind(k reputation.Kind) *reputation.Kind { return &k }
