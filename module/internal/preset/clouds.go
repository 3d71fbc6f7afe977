package preset

import (
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// clouds are the networks in which anybody can rent a machine, as their owners publish them.
var clouds = []Preset{
	cloud(Preset{
		Name:   "aws",
		URLs:   []string{"https://ip-ranges.amazonaws.com/ip-ranges.json"},
		Format: json("prefixes[].ip_prefix", "ipv6_prefixes[].ipv6_prefix"),
		Says:   "Amazon Web Services",
		MaxAge: 60 * day, IPv6: true,
	}),
	// Microsoft publishes a file a week, each under a new address, which only a web page has.
	cloud(Preset{
		Name:   "azure",
		Format: json("values[].properties.addressPrefixes[]"),
		Says:   "Microsoft Azure",
		MaxAge: 30 * day, IPv6: true,
	}),
	cloud(Preset{
		Name:   "digitalocean",
		URLs:   []string{"https://www.digitalocean.com/geo/google.csv"},
		Format: text,
		Says:   "DigitalOcean",
		MaxAge: 180 * day, IPv6: true,
	}),
	cloud(Preset{
		Name:   "gcp",
		URLs:   []string{"https://www.gstatic.com/ipranges/cloud.json"},
		Format: json("prefixes[].ipv4Prefix", "prefixes[].ipv6Prefix"),
		Says:   "Google Cloud",
		MaxAge: 60 * day, IPv6: true,
	}),
	cloud(Preset{
		Name:   "linode",
		URLs:   []string{"https://geoip.linode.com/"},
		Format: text,
		Says:   "Linode, now Akamai Cloud",
		MaxAge: 180 * day, IPv6: true,
	}),
	cloud(Preset{
		Name:   "oracle",
		URLs:   []string{"https://docs.oracle.com/iaas/tools/public_ip_ranges.json"},
		Format: json("regions[].cidrs[].cidr"),
		Says:   "Oracle Cloud",
		MaxAge: 180 * day,
	}),
	cloud(Preset{
		Name:   "vultr",
		URLs:   []string{"https://geofeed.constant.com/?json"},
		Format: json("subnets[].ip_prefix"),
		Says:   "Vultr",
		MaxAge: 60 * day, IPv6: true,
	}),
	// These publish no list. RIPE's routing service says which networks they announce.
	announced("contabo", "Contabo", "AS51167"),
	announced("hetzner", "Hetzner", "AS24940", "AS213230", "AS212317", "AS215859"),
	announced("ovh", "OVH", "AS16276"),
	announced("scaleway", "Scaleway", "AS12876"),
}

// cloud fills in what all clouds have in common.
func cloud(p Preset) Preset {
	p.Categories, p.Nature = of(reputation.Hosting), is(reputation.NatureHosting)
	p.Confidence, p.Weight, p.Group = 0.95, 8, nature
	p.Refresh, p.MinRefresh = day, time.Hour
	p.Terms, p.Sure = "none stated", Confirmed
	return p
}

// announced is a cloud whose networks are those that its autonomous systems announce.
func announced(name, says string, systems ...string) Preset {
	p := cloud(Preset{
		Name:   name,
		Format: json("data.prefixes[].prefix"),
		Says:   says + ": what its autonomous systems announce",
		MaxAge: 7 * day, IPv6: true,
	})
	for _, as := range systems {
		p.URLs = append(p.URLs, "https://stat.ripe.net/data/announced-prefixes/data.json?sourceapp=caddy-ip-reputation&resource="+as)
	}
	p.MinRefresh = 12 * time.Hour
	p.Terms = "RIPE NCC's: up to 1,000 requests a day"
	return p
}

// networks are those of CDNs. They carry requests of others: being in one says nothing good or bad.
var networks = []Preset{
	cdn(Preset{
		Name: "bunny",
		URLs: []string{
			"https://api.bunny.net/system/edgeserverlist", "https://api.bunny.net/system/edgeserverlist/ipv6",
		},
		Format: json("[]"),
		Says:   "Bunny",
	}),
	cdn(Preset{
		Name:   "cloudflare",
		URLs:   []string{"https://api.cloudflare.com/client/v4/ips"},
		Format: json("result.ipv4_cidrs[]", "result.ipv6_cidrs[]"),
		Says:   "Cloudflare, its Workers and WARP",
	}),
	cdn(Preset{
		Name:   "fastly",
		URLs:   []string{"https://api.fastly.com/public-ip-list"},
		Format: json("addresses[]", "ipv6_addresses[]"),
		Says:   "Fastly",
	}),
	cdn(Preset{
		Name:   "gcore",
		URLs:   []string{"https://api.gcore.com/cdn/public-ip-list"},
		Format: json("addresses[]", "addresses_v6[]"),
		Says:   "Gcore",
		Sure:   Likely,
	}),
}

// cdn fills in what all CDNs have in common.
func cdn(p Preset) Preset {
	p.Confidence, p.Group = 0.95, nature
	p.Refresh, p.MinRefresh, p.MaxAge = day, time.Hour, Steady
	p.IPv6, p.Exempt = true, true
	p.Terms = "none stated"
	if p.Sure == "" {
		p.Sure = Confirmed
	}
	return p
}
