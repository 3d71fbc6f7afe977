package preset

import (
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	spamhaus = "https://www.spamhaus.org/drop/"
	firehol  = "https://iplists.firehol.org/files/"
)

// attackers are lists of addresses that were seen to do harm.
var attackers = []Preset{
	{
		Name:       "spamhaus_drop",
		URLs:       []string{spamhaus + "drop_v4.json", spamhaus + "drop_v6.json"},
		Format:     listformat.Format{Encoding: listformat.NDJSON, Members: []string{"cidr"}},
		Says:       "networks that are hijacked, or belong to criminals",
		Categories: of(reputation.Hijacked),
		Confidence: 0.95, Weight: 34, Group: "spamhaus",
		// The publisher blocks clients that fetch more than once an hour.
		Refresh: 12 * time.Hour, MinRefresh: time.Hour, MaxAge: 7 * day,
		IPv6:  true,
		Terms: "free for any use; keep copyright and date when redistributing",
		Sure:  Confirmed,
	},
	{
		Name:       "spamhaus_asndrop",
		URLs:       []string{spamhaus + "asndrop.json"},
		Format:     listformat.Format{Encoding: listformat.NDJSON, Members: []string{"asn"}},
		ASNs:       true,
		Says:       "autonomous systems that are hijacked, or belong to criminals; needs an `mmdb`",
		Categories: of(reputation.Hijacked),
		Confidence: 0.7, Weight: 34, Group: "spamhaus", // of a whole system, some may be innocent
		Refresh: 12 * time.Hour, MinRefresh: time.Hour, MaxAge: 7 * day,
		IPv6:  true,
		Terms: "free for any use; keep copyright and date when redistributing",
		Sure:  Confirmed,
	},
	{
		Name:       "firehol_level1",
		URLs:       []string{firehol + "firehol_level1.netset"},
		Format:     text,
		Says:       "DShield, Feodo, Spamhaus DROP and reserved ranges, which are left out here",
		Categories: of(reputation.Abuse),
		Confidence: 0.6, Weight: 24, Group: lists,
		Refresh: 6 * time.Hour, MinRefresh: time.Hour, MaxAge: 7 * day,
		Terms: "those of the lists it is made of",
		Sure:  Confirmed,
	},
	// The higher the level, the more of the addresses belong to people who did nothing.
	{
		Name:       "firehol_level2",
		URLs:       []string{firehol + "firehol_level2.netset"},
		Format:     text,
		Says:       "attacks of the last 48 hours, of many lists",
		Categories: of(reputation.Abuse),
		Confidence: 0.5, Weight: 20, Group: lists,
		Refresh: 6 * time.Hour, MinRefresh: time.Hour, MaxAge: 7 * day,
		Terms: "those of the lists it is made of",
		Sure:  Confirmed,
	},
	{
		Name:       "firehol_level3",
		URLs:       []string{firehol + "firehol_level3.netset"},
		Format:     text,
		Says:       "attacks of the last 30 days; has people who did nothing",
		Categories: of(reputation.Abuse),
		Confidence: 0.35, Weight: 20, Group: lists,
		Refresh: 12 * time.Hour, MinRefresh: time.Hour, MaxAge: 7 * day,
		Terms: "those of the lists it is made of",
		Sure:  Confirmed,
	},
	{
		Name:       "firehol_level4",
		URLs:       []string{firehol + "firehol_level4.netset"},
		Format:     text,
		Says:       "aggressive lists; has many people who did nothing",
		Categories: of(reputation.Abuse),
		Confidence: 0.2, Weight: 20, Group: lists,
		Refresh: 12 * time.Hour, MinRefresh: time.Hour, MaxAge: 7 * day,
		Terms: "those of the lists it is made of",
		Sure:  Confirmed,
	},
	{
		Name: "ipsum",
		URLs: []string{"https://raw.githubusercontent.com/stamparm/ipsum/master/ipsum.txt"},
		// The second field counts the lists that have an address. Lists copy each other, so one or
		// two are too few.
		Format:     listformat.Format{Encoding: listformat.Text, MinCount: 3},
		Says:       "on three lists or more; has research scanners, too",
		Categories: of(reputation.Abuse),
		Confidence: 0.6, Weight: 24, Group: lists,
		Refresh: day, MinRefresh: 12 * time.Hour, MaxAge: 7 * day,
		Terms: "Unlicense; the data is of third parties",
		Sure:  Confirmed,
	},
	{
		Name:   "abuseipdb_blacklist",
		URLs:   []string{"https://api.abuseipdb.com/api/v2/blacklist"},
		Format: json("data[].ipAddress"),
		// Without Accept, errors come as a whole web page.
		Header:     map[string]string{"Key": "{key}", "Accept": "application/json"},
		Says:       "the 10,000 newest with AbuseIPDB's highest score",
		Categories: of(reputation.Abuse),
		// The service itself is of this group, too: its answer and the list are one observation.
		Confidence: 0.75, Weight: 32, Group: "abuseipdb",
		// A free account may fetch five times a day, and gets a list that is up to a day old.
		Refresh: 6 * time.Hour, MinRefresh: 6 * time.Hour, MaxAge: 3 * day,
		IPv6:       true,
		Terms:      "those of your AbuseIPDB account; a free one may fetch 5 times a day",
		Restricted: true,
		Sure:       Confirmed,
	},
	{
		Name:       "feodo",
		URLs:       []string{"https://feodotracker.abuse.ch/downloads/ipblocklist.json"},
		Format:     json("[].ip_address"),
		Says:       "servers that control botnets; seldom visitors",
		Categories: of(reputation.BotnetC2),
		Confidence: 0.9, Weight: 20, Group: lists,
		Refresh: time.Hour, MinRefresh: 5 * time.Minute, MaxAge: 30 * day,
		MayBeEmpty: true, // after a botnet is taken down
		Terms:      "CC0",
		Sure:       Confirmed,
	},
	{
		// This is the publisher's own list. emerging-Block-IPs.txt combines lists of other
		// publishers, which operators can load directly; the same evidence must not count twice.
		Name:       "emerging_threats",
		URLs:       []string{"https://rules.emergingthreats.net/blockrules/compromised-ips.txt"},
		Format:     text,
		Says:       "compromised hosts",
		Categories: of(reputation.Compromised),
		Confidence: 0.6, Weight: 20, Group: lists,
		Refresh: 12 * time.Hour, MinRefresh: 12 * time.Hour, MaxAge: 7 * day,
		Terms: "BSD-3-Clause, with notice",
		Sure:  Confirmed,
	},
	{
		Name:       "cins",
		URLs:       []string{"https://cinsarmy.com/list/ci-badguys.txt"},
		Format:     text,
		Says:       "attacked CINS sensors, and is on no other list",
		Categories: of(reputation.Scanner),
		Confidence: 0.5, Weight: 20, Group: lists,
		Refresh: 3 * time.Hour, MinRefresh: 3 * time.Hour, MaxAge: 7 * day,
		Terms: "none stated",
		Sure:  Confirmed,
	},
	{
		Name:       "greensnow",
		URLs:       []string{"https://blocklist.greensnow.co/greensnow.txt"},
		Format:     text,
		Says:       "scans and brute force against GreenSnow's sensors",
		Categories: of(reputation.BruteForce),
		Confidence: 0.5, Weight: 20, Group: lists,
		Refresh: time.Hour, MinRefresh: 30 * time.Minute, MaxAge: 7 * day,
		Terms:      "own use only; reproduction or republication is prohibited",
		Restricted: true,
		Sure:       Confirmed,
	},
	{
		// By the publisher's policy, entries never expire.
		Name:       "binary_defense",
		URLs:       []string{"https://www.binarydefense.com/banlist.txt"},
		Format:     text,
		Says:       "attacked Artillery sensors, at any time in the past",
		Categories: of(reputation.Abuse),
		Confidence: 0.3, Weight: 20, Group: lists,
		Refresh: day, MinRefresh: 12 * time.Hour, MaxAge: 30 * day,
		Terms:      "no commercial resale, and no use in products that charge fees",
		Restricted: true,
		Sure:       Confirmed,
	},
	{
		Name:       "dshield",
		URLs:       []string{"https://feeds.dshield.org/block.txt"},
		Format:     listformat.Format{Encoding: listformat.DShield},
		Says:       "the 20 /24 networks that attack most",
		Categories: of(reputation.Scanner),
		Confidence: 0.6, Weight: 20, Group: lists,
		Refresh: time.Hour, MinRefresh: time.Hour, MaxAge: 3 * day,
		Terms:      "CC BY-NC-SA 2.5: non-commercial; credit SANS ISC; no resale",
		Restricted: true,
		Sure:       Confirmed,
	},
	{
		// The publisher documents http, which anybody on the way can change.
		Name:       "bruteforceblocker",
		URLs:       []string{"https://danger.rulez.sk/projects/bruteforceblocker/blist.php"},
		Format:     text,
		Says:       "brute force against SSH",
		Categories: of(reputation.BruteForce),
		Confidence: 0.45, Weight: 20, Group: lists,
		Refresh: 6 * time.Hour, MinRefresh: 3 * time.Hour, MaxAge: 30 * day,
		Terms: "none stated",
		Sure:  Unconfirmed,
	},
	{
		Name:       "stopforumspam_toxic",
		URLs:       []string{"https://www.stopforumspam.com/downloads/toxic_ip_cidr.txt"},
		Format:     text,
		Says:       "networks that send nothing but spam to forums",
		Categories: of(reputation.Spam),
		Confidence: 0.6, Weight: 20, Group: lists,
		Refresh: day, MinRefresh: 12 * time.Hour, MaxAge: 30 * day,
		Terms:      "non-commercial, as far as is known; not to close a whole site to those listed",
		Restricted: true,
		Sure:       Likely,
	},
}

// blocklistDE are the lists of blocklist.de: attacks of the last 48 hours that servers with fail2ban
// reported. The first is all others together.
var blocklistDE = []Preset{
	ofBlocklistDE("blocklist_de", "all", "all reports of servers with fail2ban", 0.6, reputation.BruteForce),
	ofBlocklistDE("blocklist_de_apache", "apache", "attacks against web servers", 0.6, reputation.WebAttack),
	ofBlocklistDE("blocklist_de_bots", "bots", "harmful bots and spam in forms", 0.6, reputation.Bot),
	ofBlocklistDE("blocklist_de_bruteforcelogin", "bruteforcelogin", "brute force against log-ins of web sites",
		0.6, reputation.BruteForce),
	ofBlocklistDE("blocklist_de_ftp", "ftp", "brute force against FTP", 0.5, reputation.BruteForce),
	ofBlocklistDE("blocklist_de_imap", "imap", "brute force against mailboxes", 0.5, reputation.BruteForce),
	ofBlocklistDE("blocklist_de_ircbot", "ircbot", "bots of IRC", 0.5, reputation.Bot),
	ofBlocklistDE("blocklist_de_mail", "mail", "attacks against mail servers", 0.5, reputation.BruteForce),
	ofBlocklistDE("blocklist_de_sip", "sip", "brute force against telephony", 0.5, reputation.BruteForce),
	ofBlocklistDE("blocklist_de_ssh", "ssh", "brute force against SSH", 0.5, reputation.BruteForce),
	ofBlocklistDE("blocklist_de_strongips", "strongips", "attacks for two months or more", 0.6, reputation.Abuse),
}

func ofBlocklistDE(name, file, says string, confidence float64, c reputation.Category) Preset {
	return Preset{
		Name:       name,
		URLs:       []string{"https://lists.blocklist.de/lists/" + file + ".txt"},
		Format:     text,
		Says:       says,
		Categories: of(c),
		Confidence: confidence, Weight: 20, Group: lists,
		Refresh: 2 * time.Hour, MinRefresh: 30 * time.Minute, MaxAge: 3 * day,
		IPv6:  true,
		Terms: "none stated",
		Sure:  Confirmed,
	}
}
