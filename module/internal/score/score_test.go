package score

import (
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const day = 24 * time.Hour

// services are the weights, good weights and groups that services of these kinds are given; that of a guest is in its
// profile, and its tests hold that the two agree.
var services = map[string]reputation.Profile{
	"abuseipdb":      {Weight: 32, GoodWeight: 4, SelfAged: true},
	"crowdsec":       {Weight: 32, GoodWeight: 4, Group: "crowdsec"},
	"crowdsec_cti":   {Weight: 32, GoodWeight: 4, Group: "crowdsec", SelfAged: true},
	"greynoise":      {Weight: 26, GoodWeight: 40},
	"httpbl":         {Weight: 26, GoodWeight: 2},
	"ipqualityscore": {Weight: 24, GoodWeight: 4},
	"proxycheck":     {Weight: 24, GoodWeight: 4},
	"virustotal":     {Weight: 24, GoodWeight: 4},
	"otx":            {Weight: 24, GoodWeight: 4},
	"zen":            {Weight: 22, GoodWeight: 1, Group: spamhaus},
	"dqs":            {Weight: 22, GoodWeight: 1, Group: spamhaus},

	// Anyone may run a DNS list, and many hold whole carriers' shared addresses: half the trust.
	"dnsbl":   {Trust: .5, Weight: 16, GoodWeight: 1, Group: "dnsbl"},
	"dronebl": {Trust: .5, Weight: 16, GoodWeight: 1, Group: "dnsbl"},
}

// feeds are the weights of lists that are known by name; that of a preset is beside it, and TestPresetsAreWeighed in module
// holds that the two agree.
var feeds = map[string]Source{
	"spamhaus_drop":     {Trust: 1, Weight: 34, Group: spamhaus},
	"firehol_level1":    {Trust: 1, Weight: 24, Group: lists},
	"ipsum":             {Trust: 1, Weight: 24, Group: lists},
	"tor_exits":         {Trust: 1, Weight: 8, Group: nature},
	"x4bnet_vpn":        {Trust: 1, Weight: 8, Group: nature},
	"x4bnet_datacenter": {Trust: 1, Weight: 8, Group: nature},

	"spamhaus_asndrop":    {Trust: 1, Weight: 34, Group: spamhaus},
	"abuseipdb_blacklist": {Trust: 1, Weight: 32, Group: "abuseipdb"},
	"aws":                 {Trust: 1, Weight: 8, Group: nature},

	reputation.SourceVerifiedBots: OfVerifiedBots(),
	reputation.SourceFakeBot:      OfFakeBot(),
}

// spamhaus is the group of its lists: DROP is part of what its DNS zones answer.
const spamhaus = "spamhaus"

// sourceOf returns a service or a feed that is known by name.
func sourceOf(name string) Source {
	if p, known := services[name]; known {
		p.Name = name
		return OfProfile(name, p)
	}
	s, known := feeds[name]
	if !known {
		panic("no defaults for " + name)
	}
	s.Name = name
	return s
}

// says returns evidence from a source that is known by name.
func says(name string, severity, confidence float64) Evidence {
	s := sourceOf(name)
	return Evidence{Source: &s, Severity: severity, Confidence: confidence}
}

// listedOn returns evidence of an address that stands on a feed without a known name.
func listedOn(name string, categories ...reputation.Category) Evidence {
	set := reputation.CategoriesOf(categories...)
	s := OfFeed(name, set)
	return Evidence{Source: &s, Severity: 1, Confidence: .6, Categories: set, Listed: true}
}

// The severities and confidences in the cases are those that the providers and feeds give.
var (
	neverReported = says("abuseipdb", -1, .5)
	notSeen       = says("greynoise", 0, .3)
	benign        = says("greynoise", -1, .95)
	drop          = says("spamhaus_drop", 1, .95)
	torExit       = says("tor_exits", 1, .95)
	threeLists    = []Evidence{says("firehol_level1", 1, .6), says("ipsum", 1, .6), listedOn("blocklist_de")}
	manyReporters = says("abuseipdb", 1, .9)
)

// percentOf judges without reasons and checks that they explain the result.
func percentOf(t interface {
	Helper()
	Errorf(string, ...any)
}, evidence ...Evidence) float64 {
	t.Helper()
	percent, reasons := Judge(evidence, nil)
	if sum := sumOf(reasons); !near(percent, percentAt(sum)) {
		t.Errorf("Judge() = %v %%, but its reasons add up to %v points, which is %v %%", percent, sum, percentAt(sum))
	}
	return percent
}

// sumOf adds up the prior and the reasons' points as a person would, in decimals.
func sumOf(reasons []reputation.Reason) float64 {
	thousandths := int64(Prior * 1000)
	for _, r := range reasons {
		thousandths += int64(math.Round(r.Points * 1000))
	}
	return float64(thousandths) / 1000
}

// percentAt is the formula as it is documented.
func percentAt(points float64) float64 { return 100 / (1 + math.Pow(10, -points/10)) }

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9 }

func TestScoresThatTheDefaultsMustGive(t *testing.T) {
	verified, relay := says(reputation.SourceVerifiedBots, -1, 1), OfLabel("icloud_private_relay")
	for _, c := range []struct {
		name     string
		evidence []Evidence
		min, max float64 // percent; the table's "below" is below what would round to the bound
	}{
		{"nothing known", nil, .99, .991},
		{"all answer, clean", []Evidence{neverReported, notSeen}, 0, .99},
		{"abuseipdb 100 by 60 reporters, alone", []Evidence{manyReporters}, 85, 92},
		{"abuseipdb 100 by one reporter, alone", []Evidence{says("abuseipdb", 1, .3)}, 2, 14.4},
		{"abuseipdb 50 by 10 reporters, alone", []Evidence{says("abuseipdb", .5, .75)}, 8, 25},
		{"a DNS list at .6, the APIs clean", []Evidence{says("dronebl", 1, .6), neverReported, notSeen}, .99, 4.4},
		{"a DNS list at .9, the APIs clean", []Evidence{says("dronebl", 1, .9), neverReported, notSeen}, .99, 4.4},
		{"three lists that copy each other, the APIs clean", append([]Evidence{neverReported, notSeen}, threeLists...), 20, 54.4},
		{
			"twelve lists that copy each other, the APIs clean",
			append([]Evidence{neverReported, notSeen}, slices.Repeat(threeLists, 4)...), 20, 64.4,
		},
		{"200 copies of one list, nothing else", slices.Repeat([]Evidence{listedOn("copy")}, 200), 20, 64.4},
		{"tor exit, nothing else", []Evidence{torExit}, .99, 9.4},
		{"a cloud, nothing else", []Evidence{says("aws", 1, .95)}, .99, 9.4},
		{
			"a cloud on lists of data centres and VPNs, nothing else",
			[]Evidence{says("aws", 1, .95), says("x4bnet_datacenter", 1, .6), says("x4bnet_vpn", 1, .6)}, .99, 14.4,
		},
		{"a relay, nothing else", []Evidence{{Source: &relay, Severity: 1, Confidence: .95}}, .99, .991},
		{"spamhaus drop, nothing else", []Evidence{drop}, 93.5, 100},
		{"a network of spamhaus asndrop, nothing else", []Evidence{says("spamhaus_asndrop", 1, .7)}, 60, 75},
		{"abuseipdb's blacklist, alone", []Evidence{says("abuseipdb_blacklist", 1, .75)}, 60, 75},
		{"a current crowdsec decision, alone", []Evidence{says("crowdsec", 1, .95)}, 88.5, 100},
		{
			"research scanner: three lists and abuseipdb 100, greynoise benign",
			append([]Evidence{manyReporters, benign}, threeLists...), 2, 19.4,
		},
		{"googlebot, verified, abuseipdb 40", []Evidence{says("abuseipdb", .4, .9), verified}, 0, .4},
		{"a user agent that claims to be googlebot and is not, nothing else", []Evidence{says(reputation.SourceFakeBot, 1, 1)}, 10, 40},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := percentOf(t, c.evidence...); got < c.min || got > c.max {
				t.Errorf("Judge() = %.3f %%, want %v to %v", got, c.min, c.max)
			}
		})
	}
}

func TestPoints(t *testing.T) {
	source := Source{Name: "s", Trust: 1, Weight: 32, GoodWeight: 4}
	current := Source{Name: "s", Trust: 1, Weight: 32, Current: true}
	selfAged := Source{Name: "s", Trust: 1, Weight: 32, SelfAged: true}
	of := reputation.CategoriesOf
	for _, c := range []struct {
		name string
		e    Evidence
		want float64
	}{
		{"trust and confidence multiply", Evidence{Source: &Source{Trust: .5, Weight: 32}, Severity: .5, Confidence: .25}, 2},
		{"good weight", Evidence{Source: &source, Severity: -.5, Confidence: 1}, -2},
		{"to a thousandth", Evidence{Source: &source, Severity: 1, Confidence: 1. / 3}, 10.667},
		{"no source", Evidence{Severity: 1, Confidence: 1}, 0},

		{"default half-life", Evidence{Source: &source, Severity: 1, Confidence: 1, Age: 7 * day}, 16},
		{"good evidence decays too", Evidence{Source: &source, Severity: -1, Confidence: 1, Age: 7 * day}, -2},
		{"scan", Evidence{Source: &source, Severity: 1, Confidence: 1, Age: 3 * day, Categories: of(reputation.Scanner)}, 16},
		{"brute force", Evidence{Source: &source, Severity: 1, Confidence: 1, Age: 7 * day, Categories: of(reputation.BruteForce)}, 16},
		{"spam", Evidence{Source: &source, Severity: 1, Confidence: 1, Age: 14 * day, Categories: of(reputation.Spam)}, 16},
		{"c2", Evidence{Source: &source, Severity: 1, Confidence: 1, Age: 14 * day, Categories: of(reputation.BotnetC2)}, 16},
		{
			"the longest half-life",
			Evidence{Source: &source, Severity: 1, Confidence: 1, Age: 14 * day, Categories: of(reputation.Scanner, reputation.Spam)}, 16,
		},
		{
			"scan and brute force",
			Evidence{Source: &source, Severity: 1, Confidence: 1, Age: 7 * day, Categories: of(reputation.Scanner, reputation.BruteForce)}, 16,
		},
		{"seen and asked add up", Evidence{Source: &source, Severity: 1, Confidence: 1, Age: 3 * day, Seen: 4 * day}, 16},
		{"self-aged decays from the fetch", Evidence{Source: &selfAged, Severity: 1, Confidence: 1, Age: 7 * day, Seen: 70 * day}, 16},
		{"current does not decay", Evidence{Source: &current, Severity: 1, Confidence: 1, Age: 7 * day, Seen: 70 * day}, 32},
		{"listed does not decay", Evidence{Source: &source, Severity: 1, Confidence: 1, Age: 7 * day, Seen: 7 * day, Listed: true}, 32},
		{"negative ages are none", Evidence{Source: &source, Severity: 1, Confidence: 1, Age: -7 * day, Seen: -7 * day}, 32},
		{
			"the longest ages do not overflow",
			Evidence{Source: &source, Severity: 1, Confidence: 1, Age: math.MaxInt64, Seen: math.MaxInt64}, 0,
		},

		{"severity above 1", Evidence{Source: &source, Severity: 5, Confidence: 1}, 32},
		{"severity below -1", Evidence{Source: &source, Severity: math.Inf(-1), Confidence: 1}, -4},
		{"severity NaN", Evidence{Source: &source, Severity: math.NaN(), Confidence: 1}, 0},
		{"confidence above 1", Evidence{Source: &source, Severity: 1, Confidence: math.Inf(1)}, 32},
		{"confidence below 0", Evidence{Source: &source, Severity: 1, Confidence: -1}, 0},
		{"trust above 1", Evidence{Source: &Source{Trust: 9, Weight: 32}, Severity: 1, Confidence: 1}, 32},
		{"negative weight", Evidence{Source: &Source{Trust: 1, Weight: -32}, Severity: 1, Confidence: 1}, 0},
		{"weight without bounds", Evidence{Source: &Source{Trust: 1, Weight: math.Inf(1)}, Severity: 1, Confidence: 1}, 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.e.Points(); got != c.want {
				t.Errorf("Points() = %v, want %v", got, c.want)
			}
		})
	}
}

func TestReasons(t *testing.T) {
	lowTrust := Source{Name: "low", Trust: .5, Weight: 16}
	low := Evidence{Source: &lowTrust, Severity: 1, Confidence: .5, Age: 90*time.Minute + 1500*time.Millisecond}
	early := reputation.Reason{Source: "early", Points: 1}
	partner := listedOn("partner", reputation.Scanner)
	partner.Age = time.Hour

	for _, c := range []struct {
		name     string
		evidence []Evidence
		given    []reputation.Reason
		want     []reputation.Reason
	}{
		{name: "no evidence, no reasons"},
		{name: "nothing said, no reasons", evidence: []Evidence{notSeen, {Severity: 1, Confidence: 1}, says("otx", math.NaN(), 1)}},
		{
			name:     "the strongest first, for or against",
			evidence: []Evidence{neverReported, low, drop, benign},
			want: []reputation.Reason{
				{Source: "greynoise", Points: -38},
				{Source: "spamhaus_drop", Points: 32.3},
				{Source: "low", Points: 3.975, Age: 90*time.Minute + time.Second},
				{Source: "abuseipdb", Points: -2},
			},
		},
		{
			name:     "the rest of a group counts a quarter and is ordered by that",
			evidence: []Evidence{partner, says("ipsum", 1, .6), torExit, says("firehol_level1", 1, .5)},
			want: []reputation.Reason{
				{Source: "ipsum", Points: 14.4},
				{Source: "tor_exits", Points: 7.6},
				{Source: "firehol_level1", Points: 3},
				{Source: "partner", Points: 3, Categories: reputation.CategoriesOf(reputation.Scanner)},
			},
		},
		{
			name:     "for and against are separate within a group",
			evidence: []Evidence{says("crowdsec", 1, .5), says("crowdsec_cti", -1, .5)},
			want:     []reputation.Reason{{Source: "crowdsec", Points: 16}, {Source: "crowdsec_cti", Points: -2}},
		},
		{
			name:     "appended to what is given",
			evidence: []Evidence{torExit, drop},
			given:    []reputation.Reason{early},
			want:     []reputation.Reason{early, {Source: "spamhaus_drop", Points: 32.3}, {Source: "tor_exits", Points: 7.6}},
		},
		{
			name:     "a source that is not trusted is still shown",
			evidence: []Evidence{{Source: &Source{Name: "new", Weight: 20}, Severity: 1, Confidence: 1}},
			want:     []reputation.Reason{{Source: "new"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, got := Judge(c.evidence, c.given)
			reports := cmpopts.IgnoreFields(reputation.Reason{}, "Severity", "Confidence") // see TestReasonsHoldTheReport
			if diff := cmp.Diff(c.want, got, reports); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
			slices.Reverse(c.evidence)
			if _, again := Judge(c.evidence, c.given); !cmp.Equal(got, again) {
				t.Errorf("reasons of the same evidence backwards:\n%s", cmp.Diff(got, again))
			}
		})
	}
}

// Points can be worked out anew from a reason: it holds what the source reported, brought into its range.
func TestReasonsHoldTheReport(t *testing.T) {
	strange := says("otx", math.Inf(-1), 7)
	_, reasons := Judge([]Evidence{says("abuseipdb", .87, .9), benign, strange}, nil)
	got := make(map[string][2]float32)
	for _, r := range reasons {
		got[r.Source] = [2]float32{r.Severity, r.Confidence}
	}
	want := map[string][2]float32{
		"abuseipdb": {.87, .9}, "greynoise": {float32(benign.Severity), float32(benign.Confidence)}, "otx": {-1, 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
}

func TestRound(t *testing.T) {
	for _, c := range []struct {
		percent float64
		want    uint8
	}{
		{0, 0}, {.49, 0}, {.5, 1}, {84.49, 84}, {84.5, 85}, {99.99, 100}, {100, 100},
		{-3, 0}, {1e300, 100}, {math.Inf(1), 100}, {math.Inf(-1), 0}, {math.NaN(), 0},
	} {
		if got := Round(c.percent); got != c.want {
			t.Errorf("Round(%v) = %v, want %v", c.percent, got, c.want)
		}
	}
}

func TestDefaults(t *testing.T) {
	names := slices.Concat(slices.Collect(maps.Keys(services)), slices.Collect(maps.Keys(feeds)))
	for _, name := range names {
		if s := sourceOf(name); s.Name != name || s.Trust <= 0 || s.Trust > 1 || s.Weight+s.GoodWeight <= 0 {
			t.Errorf("the defaults of %q are %+v", name, s)
		}
	}
	acme := reputation.Profile{Name: "acme"}
	if s := OfProfile("acme", acme); s != (Source{Name: "acme", Group: "acme", Trust: 1, Weight: 20, GoodWeight: 2}) {
		t.Errorf("a profile with a name only gives %+v", s)
	}
	// One service that is asked in two ways is one witness.
	if s := OfProfile("acme_shop", acme); s.Name != "acme_shop" || s.Group != "acme" {
		t.Errorf("a second name gives %+v", s)
	}
}

// A report that is so old that nearly nothing of its points is left accuses of nothing: a rule that names its category
// would refuse whoever has the address now.
func TestOldReportsAccuseOfNothing(t *testing.T) {
	source := Source{Name: "s", Trust: 1, Weight: 24, GoodWeight: 4}
	current, selfAged := source, source
	current.Current, selfAged.SelfAged = true, true
	spam, scanner := reputation.CategoriesOf(reputation.Spam), reputation.CategoriesOf(reputation.Scanner)
	for _, c := range []struct {
		name  string
		e     Evidence
		holds bool
	}{
		{"spam of twelve weeks", Evidence{Source: &source, Severity: 1, Categories: spam, Seen: 84 * day}, true},
		{"spam of half a year", Evidence{Source: &source, Severity: 1, Categories: spam, Seen: 183 * day}, false},
		{"asked and seen", Evidence{Source: &source, Severity: 1, Categories: spam, Seen: 80 * day, Age: 5 * day}, false},
		{"a scan of 18 days", Evidence{Source: &source, Severity: 1, Categories: scanner, Seen: 18 * day}, true},
		{"a scan of 19 days", Evidence{Source: &source, Severity: 1, Categories: scanner, Seen: 19 * day}, false},
		{"a list", Evidence{Source: &source, Severity: 1, Categories: spam, Seen: 183 * day, Listed: true}, true},
		{"current", Evidence{Source: &current, Severity: 1, Categories: spam, Seen: 183 * day}, true},
		{"aged by the service", Evidence{Source: &selfAged, Severity: 1, Categories: spam, Seen: 183 * day}, true},
		{"good", Evidence{Source: &source, Severity: -1, Categories: reputation.CategoriesOf(reputation.BenignScanner), Seen: 183 * day}, true},
		{"neutral", Evidence{Source: &source, Categories: spam}, false},
	} {
		if got := CategoriesOf([]Evidence{c.e}); (got != 0) != c.holds {
			t.Errorf("%s: %q, want that it holds: %t", c.name, got, c.holds)
		}
	}
}

func TestOfFeed(t *testing.T) {
	of := reputation.CategoriesOf
	for _, c := range []struct {
		name       string
		categories reputation.Categories
		want       Source
	}{
		{"acme", 0, Source{Name: "acme", Group: "lists", Trust: 1, Weight: 20}},
		{"acme", of(reputation.Scanner, reputation.Tor), Source{Name: "acme", Group: "lists", Trust: 1, Weight: 20}},
		{"acme", of(reputation.Tor, reputation.VPN), Source{Name: "acme", Group: "nature", Trust: 1, Weight: 8}},
		{"acme", of(reputation.Hosting), Source{Name: "acme", Group: "nature", Trust: 1, Weight: 8}},
	} {
		if got := OfFeed(c.name, c.categories); got != c.want {
			t.Errorf("OfFeed(%q, %v) = %+v, want %+v", c.name, c.categories, got, c.want)
		}
	}
}
