package crowdsec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Remediation is what a decision asks for.
type Remediation uint8

// The remediations that count. Others never block anybody: a word such as "allow" has no meaning in
// CrowdSec.
const (
	Ban Remediation = iota
	Captcha
	Throttle

	numRemediations = iota
)

var remediationWords = [numRemediations]string{"ban", "captcha", "throttle"}

// String returns CrowdSec's word.
func (r Remediation) String() string { return remediationWords[r] }

// Severity is how much a decision speaks against an address. With the weight of CrowdSec, a ban
// alone gives a score of 92, a captcha 73 and a throttle 52: usual rules block the first, and limit
// the others.
func (r Remediation) Severity() float64 { return [numRemediations]float64{1, 0.8, 2.0 / 3}[r] }

// origins are where decisions come from. Decisions of the operator's own engine and hand come first:
// they have precedence when there are too many.
var origins = [...]string{"crowdsec", "cscli", "console", "other", "CAPI", "lists"}

// CheckOrigin reports whether decisions can have an origin: one of origins, or one list, as lists:firehol.
func CheckOrigin(word string) error {
	known := func(origin string) bool { return strings.EqualFold(origin, word) }
	if list, isList := strings.CutPrefix(strings.ToLower(word), "lists:"); isList && list != "" ||
		slices.ContainsFunc(origins[:], known) || known("cscli-import") || known("remediation_sync") {
		return nil
	}
	return fmt.Errorf("unknown origin %q: use one of %s, or one list, such as lists:firehol", word, strings.Join(origins[:], ", "))
}

// originOf returns the position of an origin in origins.
func originOf(word string) int {
	switch word {
	case "crowdsec":
		return 0
	case "cscli", "cscli-import":
		return 1
	case "console", "remediation_sync":
		return 2
	case "CAPI":
		return 4
	case "lists":
		return 5
	}
	return 3
}

// categories are what decisions can accuse of.
var categories = [...]reputation.Category{
	reputation.Abuse, reputation.BruteForce, reputation.Scanner, reputation.WebAttack, reputation.Spam, reputation.Bot,
	reputation.BotnetC2, reputation.Malware, reputation.DDoS, reputation.Tor, reputation.VPN, reputation.Proxy,
}

// words lead from a word in the name of a scenario to a position in categories. Names of detected
// attacks, such as http-sqli-probing, hold words of several categories: the first row that has one
// of the words decides.
var words = []struct {
	category reputation.Category
	words    string
}{
	{reputation.Spam, "spam"},
	{reputation.DDoS, "ddos dos flood"},
	{reputation.BruteForce, "bf bruteforce brute credential credentials stuffing enum enumeration login logon"},
	{reputation.WebAttack, "cve exploit exploits exploitation sqli xss rce lfi rfi ssrf ssti injection traversal log4j log4j2 " +
		"log4shell spring4shell webshell vpatch appsec crs waf w00tw00t thinkphp"},
	{reputation.Scanner, "probing probe scan scans scanner scanners scanning portscan webscanners backdoors backdoor sensitive open"},
	{reputation.BotnetC2, "botnet c2 cnc"},
	{reputation.Malware, "malware ransomware"},
	{reputation.Bot, "crawl crawler crawlers bot bots agent scraper scraping"},
	{reputation.Tor, "tor"},
	{reputation.VPN, "vpn"},
	{reputation.Proxy, "proxy proxies"},
	{reputation.WebAttack, "http http2 https web wordpress"},
}

// CategoryOf returns what a scenario accuses of. Its names are written by many: crowdsecurity/ssh-bf,
// http:scan, "manual 'ban' from 'localhost'".
func CategoryOf(scenario string) reputation.Category {
	if _, name, ok := strings.Cut(scenario, "/"); ok {
		scenario = name
	}
	in := strings.FieldsFunc(strings.ToLower(scenario), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	for _, row := range words {
		for word := range strings.FieldsSeq(row.words) {
			for _, found := range in {
				if found == word {
					return row.category
				}
			}
		}
	}
	return reputation.Abuse
}

const (
	numOrigins    = len(origins)
	numCategories = len(categories)

	// NumParts is the number of kinds of decisions, each of which is a part of the list.
	NumParts = numOrigins * numRemediations * numCategories
)

// Meaning is what the decisions of one part of the list have in common.
type Meaning struct {
	Origin      string
	Remediation Remediation
	Category    reputation.Category
}

// MeaningOf returns the meaning of a part.
func MeaningOf(part int) Meaning {
	return Meaning{
		Origin:      origins[originIn(part)],
		Remediation: Remediation(part / numCategories % numRemediations),
		Category:    categories[part%numCategories],
	}
}

// originIn returns the position in origins of the decisions of a part.
func originIn(part int) int { return part / (numRemediations * numCategories) }

// partOf returns the part of decisions with the given meaning.
func partOf(origin int, remediation Remediation, category reputation.Category) uint8 {
	for i, c := range categories {
		if c == category {
			return uint8((origin*numRemediations+int(remediation))*numCategories + i)
		}
	}
	panic("crowdsec: a scenario has a category of no part")
}
