package reputation_test

import (
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestProfileDefaults(t *testing.T) {
	got := reputation.Profile{Name: "acme"}.WithDefaults()
	want := reputation.Profile{
		Name: "acme", ListedTTL: 6 * time.Hour, CleanTTL: 24 * time.Hour, Weight: 20, GoodWeight: 2, Trust: 1,
		Group: "acme", Covers: reputation.IPv4 | reputation.IPv6,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	full := reputation.Profile{
		Name: "zone", Quota: []string{"1/day"}, ListedTTL: time.Minute, CleanTTL: time.Hour, Weight: 16, GoodWeight: 1,
		Trust: .5, Group: "dnsbl", Covers: reputation.IPv4,
	}
	if diff := cmp.Diff(full, full.WithDefaults()); diff != "" {
		t.Errorf("what was set was changed (-want +got):\n%s", diff)
	}
}

func TestProfileValidate(t *testing.T) {
	good := reputation.Profile{
		Name: "acme", Quota: []string{"4/minute", "500/day", "15500/month"}, Rate: "45/1m", Batch: reputation.MaxBatch, ListedTTL: time.Second,
		Weight: reputation.MaxWeight, Trust: 1, Group: "acme-2", Key: reputation.KeyNone, Covers: reputation.IPv6,
		Terms: "non-commercial use only", Protocol: reputation.ProtocolConfirmed,
		Capabilities: reputation.Capabilities{
			Categories: reputation.CategoriesOf(reputation.Abuse, reputation.Policy), Natures: reputation.KindsOf(reputation.NatureMobile),
		},
	}
	for _, p := range []reputation.Profile{good, {Name: "a"}} {
		if err := p.Validate(); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
	for name, tc := range map[string]struct {
		change func(*reputation.Profile)
		want   string
	}{
		"no name":             {func(p *reputation.Profile) { p.Name = "" }, `Name is ""`},
		"long name":           {func(p *reputation.Profile) { p.Name = strings.Repeat("a", 65) }, "Name is"},
		"name in capital":     {func(p *reputation.Profile) { p.Name = "Acme" }, `Name is "Acme"`},
		"name of digits":      {func(p *reputation.Profile) { p.Name = "1acme" }, "the first a letter"},
		"group":               {func(p *reputation.Profile) { p.Group = "a b" }, `Group is "a b"`},
		"window":              {func(p *reputation.Profile) { p.Quota = []string{"1/day", "5/fortnight"} }, `Quota has "5/fortnight"`},
		"empty window":        {func(p *reputation.Profile) { p.Quota = []string{"0/day"} }, `Quota has "0/day"`},
		"rate":                {func(p *reputation.Profile) { p.Rate = "5/day" }, `Rate is "5/day"`},
		"batch":               {func(p *reputation.Profile) { p.Batch = 1001 }, "Batch is 1001"},
		"negative batch":      {func(p *reputation.Profile) { p.Batch = -1 }, "Batch is -1"},
		"listed TTL":          {func(p *reputation.Profile) { p.ListedTTL = time.Millisecond }, "ListedTTL is 1ms: use at least 1s"},
		"clean TTL":           {func(p *reputation.Profile) { p.CleanTTL = -time.Hour }, "CleanTTL is -1h"},
		"weight":              {func(p *reputation.Profile) { p.Weight = 1001 }, "Weight is 1001"},
		"weight NaN":          {func(p *reputation.Profile) { p.Weight = math.NaN() }, "Weight is NaN"},
		"good weight":         {func(p *reputation.Profile) { p.GoodWeight = -4 }, "GoodWeight is -4"},
		"trust":               {func(p *reputation.Profile) { p.Trust = 1.5 }, "Trust is 1.5"},
		"key":                 {func(p *reputation.Profile) { p.Key = 9 }, "Key is 9"},
		"covers":              {func(p *reputation.Profile) { p.Covers = 4 }, "Covers is 4"},
		"categories":          {func(p *reputation.Profile) { p.Capabilities.Categories = 1 << 31 }, "Capabilities.Categories"},
		"natures":             {func(p *reputation.Profile) { p.Capabilities.Natures = 1 << 7 }, "Capabilities.Natures"},
		"reports' window":     {func(p *reputation.Profile) { p.Reports.Quota = []string{"many/day"} }, `Reports.Quota has "many/day"`},
		"reports' categories": {func(p *reputation.Profile) { p.Reports.Categories = 1 << 31 }, "Reports.Categories"},
		"terms":               {func(p *reputation.Profile) { p.Terms = "a\nb" }, "Terms is not one line"},
		"long terms":          {func(p *reputation.Profile) { p.Terms = strings.Repeat("a", 201) }, "Terms is not one line"},
		"protocol":            {func(p *reputation.Profile) { p.Protocol = 7 }, "Protocol is 7"},
	} {
		t.Run(name, func(t *testing.T) {
			p := good
			tc.change(&p)
			err := p.Validate()
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Count(err.Error(), "\n") > 0 {
				t.Errorf("the error is %v, want %q in it and nothing else", err, tc.want)
			}
		})
	}
	err := reputation.Profile{Weight: -1, Trust: 2}.Validate()
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("three fields are wrong: %v", err)
	}
}

// TestProfileNamesEveryField keeps the errors complete: a field that is added has to be looked at here.
func TestProfileNamesEveryField(t *testing.T) {
	if n := reflect.TypeFor[reputation.Profile]().NumField(); n != 19 {
		t.Errorf("Profile has %d fields: check the new ones in Validate, WithDefaults and their tests", n)
	}
}

func TestFamilies(t *testing.T) {
	four, six := netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8::1")
	for f, want := range map[reputation.Families][2]bool{
		0: {true, true}, reputation.IPv4: {true, false}, reputation.IPv6: {false, true}, reputation.IPv4 | reputation.IPv6: {true, true},
	} {
		if got := [2]bool{f.Has(four), f.Has(six)}; got != want {
			t.Errorf("%d has IPv4 and IPv6: %v, want %v", f, got, want)
		}
	}
}

func TestStatements(t *testing.T) {
	report := reputation.Report{
		Severity: 1, Confidence: 1, Categories: reputation.CategoriesOf(reputation.Abuse, reputation.Spam),
		Facts: reputation.Facts{
			Country: "DE", ASN: 64500, Network: netip.MustParsePrefix("203.0.113.0/24"),
			Nature: reputation.Nature{}.With(reputation.NatureTor, false),
		},
	}
	says := reputation.Capabilities{
		Categories: report.Categories, Natures: reputation.KindsOf(reputation.NatureTor), Country: true, ASN: true, Network: true,
	}
	for _, s := range []reputation.Capabilities{{}, says} {
		if err := s.Check(report); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
	}
	err := reputation.Capabilities{Categories: reputation.CategoriesOf(reputation.Abuse)}.Check(report)
	const want = "the report has category spam, nature tor, a country, an autonomous system, a network, " +
		"which the profile does not state: add it to Capabilities"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := says.Check(reputation.Report{}); err != nil {
		t.Errorf("a report that says nothing: %v", err)
	}
}
