package feed

import (
	"maps"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// PresetInfo is a well-known list: where it is, and what an entry means.
type PresetInfo struct {
	// Spec may be changed by the operator's settings.
	Spec Spec

	// Category is the abuse that the list reports of its addresses.
	Category reputation.Category

	// Nature, if set, is the kind of the list's addresses, such as a
	// VPN. Such a list reports no abuse.
	Nature *reputation.Kind

	// Confidence is how much independent evidence an entry has: 0 to 1.
	// It is at most .95 for a curated list, .9 for a list of addresses
	// that were seen in action, and .6 for any other single feed.
	Confidence float64

	// Weight is the points of an entry with confidence 1. Group is shared by sources that share
	// observations. TestScoresThatTheDefaultsMustGive in score checks which scores the weights lead
	// to. Default: those of the category.
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

// presets are never changed. Their refresh intervals are the shortest
// that the publishers allow, or customary ones.
var presets = map[string]PresetInfo{
	"spamhaus_drop": {
		Spec: Spec{
			URLs:   []string{spamhaus + "drop_v4.json", spamhaus + "drop_v6.json"},
			Format: listformat.Format{Encoding: listformat.NDJSON, Members: []string{"cidr"}},
			// The publisher blocks clients that fetch more than once an hour.
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
			// The second field counts the lists that have an address.
			// Lists copy each other, so one or two are too few.
			Format:  listformat.Format{MinCount: 3},
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
			Format: listformat.Format{Encoding: listformat.JSON, Members: []string{"ip_address"}},
			// After a botnet is taken down the list may be empty.
			AllowEmpty: true, MaxShrink: new(1.0),
			Refresh: time.Hour, MinRefresh: 5 * time.Minute,
			Terms: "CC0",
		},
		Category: reputation.BotnetC2, Confidence: 0.9,
	},
	"emerging_threats": {
		Spec: Spec{
			// This is the publisher's own list. emerging-Block-IPs.txt
			// combines lists of other publishers, which operators can
			// load directly; the same evidence must not count twice.
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
