package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func compile(t interface {
	Helper()
	Fatalf(string, ...any)
}, c Config) Conditions {
	t.Helper()
	out, err := c.Compile(findASNs)
	if err != nil {
		t.Fatalf("Compile(%+v): %v", c, err)
	}
	return out
}

func scored(score uint8) reputation.Verdict { return reputation.Verdict{Scored: true, Score: score} }

// badTorExit is a verdict with something for every condition.
func badTorExit() reputation.Verdict {
	return reputation.Verdict{
		Scored: true, Score: 90, Status: reputation.Partial,
		Categories: reputation.CategoriesOf(reputation.Scanner, reputation.Tor),
		Facts: reputation.Facts{
			Country: "DE", ASN: 64496,
			Nature: reputation.Nature{}.With(reputation.NatureTor, true).With(reputation.NatureVPN, false),
		},
		Reasons: []reputation.Reason{{Source: "abuseipdb", Points: 28.8}, {Source: "tor_exits", Points: 8}},
	}
}

// seenHere is a verdict on what this site has seen.
func seenHere(source string) reputation.Verdict {
	return reputation.Verdict{Scored: true, Score: 40, Reasons: []reputation.Reason{{Source: source, Points: 18}}}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		name    string
		config  Config
		verdict reputation.Verdict
		want    bool
	}{
		{"no conditions", Config{}, badTorExit(), true},
		{"no conditions, nothing known", Config{}, reputation.Verdict{}, true},

		{"score above", Config{Score: "85"}, badTorExit(), true},
		{"score at the least", Config{Score: "85"}, scored(85), true},
		{"score below", Config{Score: "85"}, scored(84), false},
		{"score 0 and a score", Config{Score: "0"}, scored(0), true},
		{"score 0 and no score", Config{Score: "0"}, reputation.Verdict{}, false},
		{"score of a verdict that is not scored", Config{Score: "85"}, reputation.Verdict{Score: 90}, false},
		{"score 100", Config{Score: "100"}, scored(100), true},
		{"score 100 and less", Config{Score: "100"}, scored(99), false},
		{"range, lower end", Config{Score: "40-84"}, scored(40), true},
		{"range, upper end", Config{Score: "40-84"}, scored(84), true},
		{"range, below", Config{Score: "40-84"}, scored(39), false},
		{"range, above", Config{Score: "40-84"}, scored(85), false},
		{"range of one", Config{Score: "0-0"}, scored(0), true},
		{"range of one, above", Config{Score: "0-0"}, scored(1), false},

		{"category", Config{Category: []string{"spam", "scanner"}}, badTorExit(), true},
		{"other category", Config{Category: []string{"spam", "botnet_c2"}}, badTorExit(), false},
		{"nature", Config{Nature: []string{"tor", "vpn"}}, badTorExit(), true},
		{"nature that is known not to be", Config{Nature: []string{"vpn"}}, badTorExit(), false},
		{"nature that is not known", Config{Nature: []string{"hosting"}}, badTorExit(), false},
		{"country", Config{Country: []string{"se", "de", "AT"}}, badTorExit(), true},
		{"other country", Config{Country: []string{"SE", "AT"}}, badTorExit(), false},
		{"country not known", Config{Country: []string{"SE", "AT"}}, scored(0), false},
		{"asn", Config{ASN: []uint32{64511, 64496, 64497}}, badTorExit(), true},
		{"other asn", Config{ASN: []uint32{64497}}, badTorExit(), false},
		{"asn not known", Config{ASN: []uint32{64497}}, scored(0), false},
		{"asn of a list", Config{ASN: []uint32{64511}, ASNList: []string{"two", "one"}}, badTorExit(), true},
		{"asn of another list", Config{ASNList: []string{"two"}}, badTorExit(), false},
		{"asn of a list, not known", Config{ASNList: []string{"one"}}, scored(0), false},
		{"continent", Config{Continent: []string{"as", "eu"}}, badTorExit(), true},
		{"other continent", Config{Continent: []string{"AS"}}, badTorExit(), false},
		{"source", Config{Source: []string{"otx", "tor_exits"}}, badTorExit(), true},
		{"other source", Config{Source: []string{"otx"}}, badTorExit(), false},
		{"source in its favour", Config{Source: []string{"otx"}}, reputation.Verdict{
			Reasons: []reputation.Reason{{Source: "otx", Points: -2}},
		}, true},
		{"whatever was seen here", Config{Source: []string{"own"}}, seenHere("own.trap"), true},
		{"what was seen here", Config{Source: []string{"otx", "own.trap"}}, seenHere("own.trap"), true},
		{"something else was seen here", Config{Source: []string{"own.spam"}}, seenHere("own.trap"), false},
		{"nothing was seen here", Config{Source: []string{"own", "own.trap"}}, badTorExit(), false},
		{"neighbours were seen here", Config{Source: []string{"own"}}, seenHere("neighbourhood"), false},
		{"a name that begins alike", Config{Source: []string{"own"}}, seenHere("owner.trap"), false},
		{"source of the network only", Config{Source: []string{"otx"}}, reputation.Verdict{
			Reasons: []reputation.Reason{{Source: "otx", Points: 9, Network: true}},
		}, false},
		{"status", Config{Status: []string{"fresh", "partial"}}, badTorExit(), true},
		{"other status", Config{Status: []string{"fresh"}}, badTorExit(), false},
		{"status exempt", Config{Status: []string{"exempt"}}, reputation.Verdict{Status: reputation.Exempt}, true},

		{"all hold", Config{
			Score: "85", Category: []string{"tor"}, Nature: []string{"tor"}, Country: []string{"DE"},
			ASN: []uint32{64496}, Source: []string{"abuseipdb"}, Status: []string{"partial"},
		}, badTorExit(), true},
		{"one does not hold", Config{Score: "85", Country: []string{"AT"}}, badTorExit(), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			conditions := compile(t, c.config)
			if got := conditions.Match(&c.verdict, client); got != c.want {
				t.Errorf("Match() = %v, want %v", got, c.want)
			}
		})
	}
}

func TestCompileErrors(t *testing.T) {
	const numbers = "write whole numbers from 0 to 100, as in 85 (or more) or 40-84"
	score := func(s string) Config { return Config{Score: s} }
	for _, c := range []struct {
		config Config
		want   string
	}{
		{score("101"), `score "101": ` + numbers},
		{score("256"), `score "256": ` + numbers},
		{score("-5"), `score "-5": ` + numbers},
		{score("+5"), `score "+5": ` + numbers},
		{score("85-"), `score "85-": ` + numbers},
		{score("-"), `score "-": ` + numbers},
		{score("40-101"), `score "40-101": ` + numbers},
		{score("40-50-60"), `score "40-50-60": ` + numbers},
		{score("40 - 84"), `score "40 - 84": ` + numbers},
		{score("8.5"), `score "8.5": ` + numbers},
		{score("high"), `score "high": ` + numbers},
		{score("84-40"), `score "84-40": the first number is the larger one, write 40-84`},

		{Config{Category: []string{"scan"}}, `unknown category "scan": use one of abuse, scanner, `},
		{Config{Category: []string{"tor", "tor"}}, `category "tor" is written twice: remove one`},
		{Config{Nature: []string{"onion"}}, `unknown nature "onion": use one of tor, vpn, proxy, hosting, mobile`},
		{Config{Nature: []string{"tor", "vpn", "tor"}}, `nature "tor" is written twice: remove one`},
		{Config{Country: []string{"DEU"}}, `country "DEU": write the two letters of ISO 3166-1, such as DE`},
		{Config{Country: []string{"D1"}}, `country "D1": write the two letters of ISO 3166-1, such as DE`},
		{Config{Country: []string{"ı"}}, `country "ı": write the two letters of ISO 3166-1, such as DE`},
		{Config{Country: []string{""}}, `country "": write the two letters of ISO 3166-1, such as DE`},
		{Config{Country: []string{"uk"}}, `country "uk": the code of the United Kingdom is GB`},
		{Config{Country: []string{"DE", "de"}}, `country "de" is written twice: remove one`},
		{Config{Continent: []string{"XX"}}, `unknown continent "XX": use one of AF (Africa), AN (Antarctica), AS (Asia), EU (Europe), `},
		{Config{Continent: []string{"EU", "eu"}}, `continent "eu" is written twice: remove one`},
		{Config{ASNList: []string{"a", "a"}}, `asn "a" is written twice: remove one`},
		{Config{ASN: []uint32{0}}, `asn 0: no address belongs to it, write a number from 1 to 4294967295`},
		{Config{ASN: []uint32{64496, 64496}}, `asn "64496" is written twice: remove one`},
		{Config{Source: []string{""}}, `source "": write the name of a list, feed or provider`},
		{Config{Source: []string{"ban", "ban"}}, `source "ban" is written twice: remove one`},
		{Config{Status: []string{"ok"}}, `unknown status "ok": use one of fresh, partial, stale, pending, unknown, exempt`},
		{Config{Status: []string{"stale", "stale"}}, `status "stale" is written twice: remove one`},
	} {
		_, err := c.config.Compile(nil)
		if err == nil {
			t.Errorf("Compile(%+v) succeeds, want the error: %s", c.config, c.want)
		} else if !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("Compile(%+v)\n got error: %v\nwant error: %s", c.config, err, c.want)
		}
	}
}

func FuzzParseScore(f *testing.F) {
	for _, s := range []string{"0", "85", "100", "40-84", "84-40", "0-100", "", "-", "-1", "1-", "256", "007", "1-2-3", "٣"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		low, high, err := parseScore(s)
		if err != nil {
			if low != 0 || high != 0 {
				t.Fatalf("parseScore(%q) = %d, %d beside the error %v", s, low, high, err)
			}
			return
		}
		if low > high || high > 100 {
			t.Fatalf("parseScore(%q) = %d, %d", s, low, high)
		}
		if l, h, err := parseScore(fmt.Sprintf("%d-%d", low, high)); err != nil || l != low || h != high {
			t.Fatalf("parseScore(%q) = %d, %d, which reads back as %d, %d, %v", s, low, high, l, h, err)
		}
		if rest := strings.Trim(s, "0123456789-"); rest != "" {
			t.Fatalf("parseScore(%q) accepts %q", s, rest)
		}
	})
}

// The pools from which random conditions and verdicts are drawn, small so that they meet.
var (
	categoryPool = []string{"scanner", "spam", "tor"}
	naturePool   = []string{"tor", "vpn", "hosting"}
	countryPool  = []string{"AT", "DE", "SE", "US"}
	sourcePool   = []string{"abuseipdb", "otx", "own", "own.trap", reputation.SourceDeny, reputation.SourceBan}
	statusPool   = []string{"fresh", "partial", "stale", "pending", "unknown", "exempt"}
	asnPool      = []uint32{64496, 64497, 64498}

	continentPool = []string{"EU", "AS", "NA"}
	continentTwin = map[string]string{"AT": "EU", "DE": "EU", "SE": "EU", "US": "NA"}
	asnListPool   = []string{"one", "two"}
	asnListTwin   = map[string]asnSet{"one": {64496, 64497}, "two": {}}
)

// asnSet is a list of autonomous systems.
type asnSet []uint32

func (s asnSet) Has(asn uint32) bool { return slices.Contains(s, asn) }

func findASNs(name string) (ASNSet, error) { return asnListTwin[name], nil }

func drawSome[T comparable](t *rapid.T, pool []T, name string) []T {
	if rapid.IntRange(0, 2).Draw(t, name+"?") > 0 {
		return nil
	}
	return rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 0, len(pool)-1, rapid.ID[T]).Draw(t, name)
}

func drawConfig(t *rapid.T) Config {
	return Config{
		Score:     rapid.SampledFrom([]string{"", "", "0", "50", "100", "40-84", "0-49"}).Draw(t, "score condition"),
		Category:  drawSome(t, categoryPool, "category condition"),
		Nature:    drawSome(t, naturePool, "nature condition"),
		Country:   drawSome(t, countryPool, "country condition"),
		Continent: drawSome(t, continentPool, "continent condition"),
		ASN:       drawSome(t, asnPool, "asn condition"),
		ASNList:   drawSome(t, asnListPool, "asn condition, lists"),
		Network:   drawSome(t, networkPool, "network condition"),
		Source:    drawSome(t, sourcePool, "source condition"),
		Status:    drawSome(t, statusPool, "status condition"),
	}
}

func drawVerdict(t *rapid.T) reputation.Verdict {
	v := reputation.Verdict{
		Scored: rapid.Bool().Draw(t, "scored"),
		Score:  rapid.Uint8Range(0, 100).Draw(t, "score"),
		Status: reputation.Status(rapid.Uint8Range(0, reputation.NumStatuses-1).Draw(t, "status")),
		Facts: reputation.Facts{
			Country: rapid.SampledFrom(append([]string{""}, countryPool...)).Draw(t, "country"),
			ASN:     rapid.SampledFrom(append([]uint32{0}, asnPool...)).Draw(t, "asn"),
		},
	}
	for _, word := range drawSome(t, categoryPool, "categories") {
		c, _ := reputation.ParseCategory(word)
		v.Categories |= reputation.CategoriesOf(c)
	}
	for _, word := range drawSome(t, naturePool, "natures") {
		k, _ := reputation.ParseKind(word)
		v.Facts.Nature = v.Facts.Nature.With(k, rapid.Bool().Draw(t, word))
	}
	for _, source := range drawSome(t, sourcePool, "reasons") {
		v.Reasons = append(v.Reasons, reputation.Reason{Source: source, Network: rapid.Bool().Draw(t, source+" of the network")})
	}
	return v
}

// matchSlowly reads the conditions as they were written.
func matchSlowly(c Config, v reputation.Verdict, client netip.Addr) bool {
	if c.Score != "" {
		var low, high int
		if n, _ := fmt.Sscanf(c.Score, "%d-%d", &low, &high); n == 1 {
			high = 100
		}
		if !v.Scored || int(v.Score) < low || int(v.Score) > high {
			return false
		}
	}
	alternatives := func(words []string, holds func(string) bool) bool {
		return len(words) == 0 || slices.ContainsFunc(words, holds)
	}
	return alternatives(c.Category, func(w string) bool { return slices.Contains(strings.Split(v.Categories.String(), ", "), w) }) &&
		alternatives(c.Nature, func(w string) bool { return slices.Contains(strings.Split(v.Facts.Nature.String(), ", "), w) }) &&
		alternatives(c.Country, func(w string) bool { return w == v.Facts.Country }) &&
		alternatives(c.Status, func(w string) bool { return w == v.Status.String() }) &&
		alternatives(c.Source, func(w string) bool {
			return slices.ContainsFunc(v.Reasons, func(r reputation.Reason) bool {
				// own.trap is the one of those in sourcePool
				return !r.Network && (r.Source == w || w == "own" && r.Source == "own.trap")
			})
		}) &&
		alternatives(c.Network, func(w string) bool { return inNetwork(w, client) }) &&
		alternatives(c.Continent, func(w string) bool { return w == continentTwin[v.Facts.Country] }) &&
		(len(c.ASN)+len(c.ASNList) == 0 || slices.Contains(c.ASN, v.Facts.ASN) ||
			slices.ContainsFunc(c.ASNList, func(name string) bool { return slices.Contains(asnListTwin[name], v.Facts.ASN) }))
}

func TestMatchAgreesWithWhatIsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		config, verdict, client := drawConfig(t), drawVerdict(t), drawClient(t)
		conditions := compile(t, config)
		if got, want := conditions.Match(&verdict, client), matchSlowly(config, verdict, client); got != want {
			t.Fatalf("Match() = %v, want %v: %+v on %v, %+v", got, want, config, client, verdict)
		}
	})
}
