package policy

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestNeverHolds(t *testing.T) {
	const silent = "no source that is configured ever says so"
	lists := Reach{
		Says: reputation.Capabilities{
			Categories: reputation.CategoriesOf(reputation.Tor, reputation.Abuse), Natures: reputation.KindsOf(reputation.NatureTor),
		},
		Sources: []string{"ban", "tor_exits"}, Score: 9, ScoreKnown: true,
	}
	knowing := Reach{Says: reputation.Capabilities{Country: true, ASN: true}, Providers: true, Score: 100, ScoreKnown: true}
	seen := Reach{Sources: []string{"ban", "own.trap"}}
	anything := Reach{Anything: true, Providers: true}
	for name, tc := range map[string]struct {
		config         Config
		reach          Reach
		condition, why string
	}{
		"no condition":             {Config{}, Reach{}, "", ""},
		"a category":               {Config{Category: []string{"tor"}}, lists, "", ""},
		"no source says it":        {Config{Category: []string{"ddos"}}, lists, "category ddos", silent},
		"none of two":              {Config{Category: []string{"spam", "malware"}}, lists, "category spam,malware", silent},
		"one of two":               {Config{Category: []string{"spam", "abuse"}}, lists, "", ""},
		"a source says anything":   {Config{Category: []string{"ddos"}, Country: []string{"AT"}}, anything, "", ""},
		"a nature":                 {Config{Nature: []string{"tor", "vpn"}}, lists, "", ""},
		"a nature of none":         {Config{Nature: []string{"vpn"}}, lists, "nature vpn", silent},
		"a country":                {Config{Country: []string{"AT", "DE"}}, lists, "country AT,DE", silent},
		"a country can be known":   {Config{Country: []string{"AT"}}, knowing, "", ""},
		"a continent":              {Config{Continent: []string{"EU"}}, lists, "continent EU", silent},
		"a continent can be known": {Config{Continent: []string{"EU"}}, knowing, "", ""},
		"a list of asns":           {Config{ASN: []uint32{64500}, ASNList: []string{"bad_networks"}}, lists, "asn 64500,bad_networks", silent},
		"an asn":                   {Config{ASN: []uint32{64500}}, lists, "asn 64500", silent},
		"an asn can be known":      {Config{ASN: []uint32{64500}}, knowing, "", ""},
		"bans can come":            {Config{Source: []string{"ban"}}, lists, "", ""},
		"nothing is denied":        {Config{Source: []string{"deny"}}, lists, "source deny", silent},
		"violations":               {Config{Source: []string{"own"}}, seen, "", ""},
		"one of them":              {Config{Source: []string{"own.trap"}}, seen, "", ""},
		"another of them":          {Config{Source: []string{"own.spam"}}, seen, "source own.spam", silent},
		"no violations":            {Config{Source: []string{"own"}}, lists, "source own", silent},
		"nobody is asked":          {Config{Status: []string{"pending", "stale"}}, lists, "status pending,stale", silent},
		"somebody is asked":        {Config{Status: []string{"pending", "stale"}}, knowing, "", ""},
		"lists can be missing":     {Config{Status: []string{"partial"}}, lists, "", ""},
		"a score":                  {Config{Score: "9"}, lists, "", ""},
		"a score beyond": {
			Config{Score: "10"}, lists, "score 10", "all sources together give a score of 9 at most, unless you deny or ban the address",
		},
		"a range beyond": {Config{Score: "10-84"}, lists, "score 10-84", "all sources together give a score of 9 at most"},
		"no source":      {Config{Score: "85"}, Reach{}, "", ""},
		"the second of two": {
			Config{Score: "5", Category: []string{"ddos"}, Status: []string{"fresh"}}, lists, "category ddos", silent,
		},
	} {
		t.Run(name, func(t *testing.T) {
			condition, why := tc.config.NeverHolds(tc.reach)
			if condition != tc.condition || why != tc.why {
				t.Errorf("%q: %q, want %q: %q", condition, why, tc.condition, tc.why)
			}
		})
	}
}

// TestWhatHoldsIsWithinReach holds that nothing is reported of conditions that a verdict meets.
func TestWhatHoldsIsWithinReach(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		config, v, client := drawConfig(t), drawVerdict(t), drawClient(t)
		conditions := compile(t, config)
		if !conditions.Match(&v, client) {
			return
		}
		yes, _ := v.Facts.Nature.Bits()
		r := Reach{
			Says: reputation.Capabilities{
				Categories: v.Categories, Natures: reputation.Kinds(yes), Country: v.Facts.Country != "", ASN: v.Facts.ASN != 0,
			},
			Providers: v.Status == reputation.Pending || v.Status == reputation.Stale,
			Score:     v.Score, ScoreKnown: v.Scored,
		}
		for _, reason := range v.Reasons {
			r.Sources = append(r.Sources, reason.Source)
		}
		if condition, why := config.NeverHolds(r); condition != "" {
			t.Fatalf("%s: %s, and %+v meets it", condition, why, v)
		}
	})
}
