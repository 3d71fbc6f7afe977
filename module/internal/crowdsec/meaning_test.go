package crowdsec

import (
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestCategoryOf(t *testing.T) {
	for scenario, want := range map[string]reputation.Category{
		"crowdsecurity/ssh-bf":                       reputation.BruteForce,
		"crowdsecurity/ssh-slow-bf_user-enum":        reputation.BruteForce,
		"crowdsecurity/http-bf-wordpress_bf":         reputation.BruteForce,
		"http:bruteforce":                            reputation.BruteForce,
		"crowdsecurity/http-probing":                 reputation.Scanner,
		"crowdsecurity/http-admin-interface-probing": reputation.Scanner,
		"crowdsecurity/http-sensitive-files":         reputation.Scanner,
		"crowdsecurity/http-backdoors-attempts":      reputation.Scanner,
		"crowdsecurity/http-open-proxy":              reputation.Scanner,
		"crowdsecurity/iptables-scan-multi_ports":    reputation.Scanner,
		"tcp:scan":                        reputation.Scanner,
		"http:scan":                       reputation.Scanner,
		"crowdsecurity/http-sqli-probing": reputation.WebAttack,
		"crowdsecurity/http-path-traversal-probing":  reputation.WebAttack,
		"crowdsecurity/CVE-2022-26134":               reputation.WebAttack,
		"crowdsecurity/apache_log4j2_cve-2021-44228": reputation.WebAttack,
		"crowdsecurity/vpatch-env-access":            reputation.WebAttack,
		"crowdsecurity/http-wordpress_user-agent":    reputation.Bot,
		"ltsich/http-w00tw00t":                       reputation.WebAttack,
		"http:exploit":                               reputation.WebAttack,
		"crowdsecurity/http-generic":                 reputation.WebAttack,
		"crowdsecurity/http-crawl-non_statics":       reputation.Bot,
		"crowdsecurity/http-bad-user-agent":          reputation.Bot,
		"crowdsecurity/postfix-spam":                 reputation.Spam,
		"http:dos":                                   reputation.DDoS,
		"me/udp-flood":                               reputation.DDoS,
		"otx-botnet-c2":                              reputation.BotnetC2,
		"tor-exit-node":                              reputation.Tor,
		"some-vpn-list":                              reputation.VPN,
		"firehol_proxies":                            reputation.Proxy,
		"manual 'ban' from 'localhost'":              reputation.Abuse,
		"firehol_cybercrime":                         reputation.Abuse,
		"crowdsecurity/community-blocklist":          reputation.Abuse,
		"":                                           reputation.Abuse,
		"victoria/robots":                            reputation.Abuse, // words count, not parts of them
	} {
		if got := CategoryOf(scenario); got != want {
			t.Errorf("%s is %s, want %s", scenario, got, want)
		}
	}
}

// Each meaning has a part of its own, the first of which is a ban by the own engine; what is local comes before
// what is not.
func TestParts(t *testing.T) {
	seen := map[uint8]bool{}
	for origin, word := range origins {
		for r := range Remediation(numRemediations) {
			for _, c := range categories {
				part := partOf(origin, r, c)
				if got := MeaningOf(int(part)); seen[part] || got != (Meaning{word, r, c}) {
					t.Errorf("part %d means %+v, want %s %s %s", part, got, word, r, c)
				}
				seen[part] = true
			}
		}
	}
	if len(seen) != NumParts || len(origins) != numOrigins || len(categories) != numCategories {
		t.Errorf("%d parts, want %d", len(seen), NumParts)
	}
	if got := MeaningOf(0); got != (Meaning{"crowdsec", Ban, reputation.Abuse}) {
		t.Errorf("the first part means %+v", got)
	}
	for word, want := range map[string]int{"crowdsec": 0, "cscli": 1, "cscli-import": 1, "console": 2, "remediation_sync": 2, "mine": 3, "CAPI": 4, "lists": 5} {
		if got := originOf(word); got != want {
			t.Errorf("%s is origin %d, want %d", word, got, want)
		}
	}
	for _, row := range words {
		partOf(0, Ban, row.category) // panics if it has none
	}
}
