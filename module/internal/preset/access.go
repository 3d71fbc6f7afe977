package preset

import (
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const x4bnet = "https://raw.githubusercontent.com/X4BNet/lists_vpn/main/output/"

// access are lists of addresses through which others reach the Internet. They accuse nobody of abuse.
var access = []Preset{
	{
		Name: "tor_exits",
		// The first part has IPv4 only. Each part is of another form, which is found by looking.
		URLs: []string{
			"https://check.torproject.org/torbulkexitlist",
			"https://onionoo.torproject.org/details?type=relay&running=true&flag=Exit" +
				"&fields=running,or_addresses,exit_addresses,exit_policy_v6_summary",
		},
		Says:       "exits of Tor; in IPv6, relays whose policy lets traffic leave by it",
		Categories: of(reputation.Tor), Nature: is(reputation.NatureTor),
		Confidence: 0.95, Weight: 8, Group: nature,
		Refresh: time.Hour, MinRefresh: time.Hour, MaxAge: 3 * day,
		IPv6:   true,
		Terms:  "CC0",
		Sure:   Confirmed,
		Exempt: true,
	},
	{
		Name:       "x4bnet_vpn",
		URLs:       []string{x4bnet + "vpn/ipv4.txt", x4bnet + "vpn/ipv6.txt"},
		Format:     text,
		Says:       "networks of VPN services; has Apple's Private Relay, too",
		Categories: of(reputation.VPN), Nature: is(reputation.NatureVPN),
		Confidence: 0.6, Weight: 8, Group: nature,
		Refresh: day, MinRefresh: 12 * time.Hour, MaxAge: 30 * day,
		IPv6:   true,
		Terms:  "MIT",
		Sure:   Confirmed,
		Exempt: true,
	},
	{
		Name:       "x4bnet_datacenter",
		URLs:       []string{x4bnet + "datacenter/ipv4.txt", x4bnet + "datacenter/ipv6.txt"},
		Format:     text,
		Says:       "networks of data centres and VPN services",
		Categories: of(reputation.Hosting), Nature: is(reputation.NatureHosting),
		Confidence: 0.6, Weight: 8, Group: nature,
		Refresh: day, MinRefresh: 12 * time.Hour, MaxAge: 30 * day,
		IPv6:  true,
		Terms: "MIT",
		Sure:  Confirmed,
	},
	{
		// People who pay Apple, many behind one address. They are never punished for it.
		Name:       "icloud_private_relay",
		URLs:       []string{"https://mask-api.icloud.com/egress-ip-ranges.csv"},
		Format:     text,
		Says:       "Apple's Private Relay: ordinary visitors",
		Nature:     is(reputation.NatureRelay),
		Confidence: 0.95, Group: nature,
		Refresh: day, MinRefresh: time.Hour, MaxAge: 30 * day,
		IPv6:   true,
		Terms:  "none stated",
		Sure:   Confirmed,
		Exempt: true,
	},
}
