package policy

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestOpen(t *testing.T) {
	rule := func(a reputation.Action, c Config) Rule { return Rule{Action: a, Conditions: compile(t, c)} }
	block85, login := rule(reputation.Block, Config{Score: "85"}), Rule{Action: reputation.Limit, More: true}
	admin := Rule{Action: reputation.Block, More: true, Conditions: compile(t, Config{Score: "40"})}
	between := func(low, high uint8) Prospect { return Prospect{Low: low, High: high} }
	says := func(c reputation.Capabilities) Prospect { return Prospect{Low: 0, High: 40, Says: c} }
	unknown := reputation.Verdict{Status: reputation.Unknown}
	scanner := Config{Category: []string{"scanner"}}
	for _, c := range []struct {
		name     string
		rules    []Rule
		unknown  reputation.Action
		verdict  reputation.Verdict
		prospect Prospect
		want     bool
		alike    reputation.Action
	}{
		{"no rules", nil, 0, scored(1), between(0, 100), false, reputation.Pass},
		{"below the threshold", []Rule{block85}, 0, scored(1), between(0, 84), false, reputation.Pass},
		{"at the threshold", []Rule{block85}, 0, scored(1), between(0, 85), true, 0},
		{"above the threshold", []Rule{block85}, 0, scored(90), between(85, 100), false, reputation.Block},
		{"no score yet", []Rule{block85}, 0, reputation.Verdict{}, between(85, 100), true, 0},
		{"two rules that block", []Rule{rule(reputation.Block, Config{Score: "97"}), block85}, 0, scored(96), between(90, 99), false, reputation.Block},
		{"two statuses", []Rule{{Action: reputation.Block, StatusCode: 451, Conditions: compile(t, Config{Score: "97"})}, block85},
			0, scored(96), between(90, 99), true, 0},
		{"two bans", []Rule{
			{Action: reputation.Ban, Ban: time.Hour, Conditions: compile(t, Config{Score: "97"})},
			{Action: reputation.Ban, Conditions: compile(t, Config{Score: "85"})},
		}, 0, scored(96), between(90, 99), true, 0},
		{"two limits", []Rule{rule(reputation.Limit, Config{Score: "50"}), {Action: reputation.Limit}}, 0, scored(1), between(0, 60), true, 0},
		{"a limit for all", []Rule{{Action: reputation.Limit}}, 0, scored(1), between(0, 60), false, reputation.Limit},
		{"it counts by system", []Rule{{Action: reputation.Limit, BySystem: true}}, 0, scored(1), says(reputation.Capabilities{ASN: true}), true, 0},
		{"by the system that is known", []Rule{{Action: reputation.Limit, BySystem: true}}, 0, scored(1), between(0, 60), false, reputation.Limit},
		{"it counts by what is known", []Rule{{Action: reputation.Limit, Varies: true}}, 0, scored(1), between(0, 60), true, 0},
		{"a pass before", []Rule{rule(reputation.Pass, Config{Country: []string{"DE"}}), block85}, 0, badTorExit(), between(0, 100), false, reputation.Pass},

		{"a rule about the request alone", []Rule{login}, 0, scored(1), between(0, 100), false, reputation.Pass},
		{"a rule about the request too", []Rule{admin}, 0, scored(1), between(0, 41), true, 0},
		{"a rule about the request too, far away", []Rule{admin}, 0, scored(1), between(0, 39), false, reputation.Pass},
		{"a rule about the request before a certain one", []Rule{login, block85}, 0, scored(90), between(85, 100), false, reputation.Block},
		{"one that may block before a limit of a request", []Rule{rule(reputation.Block, Config{Score: "30-40"}), login}, 0, scored(1), between(0, 60), true, 0},

		{"a category that may come", []Rule{rule(reputation.Block, scanner)}, 0, scored(1),
			says(reputation.Capabilities{Categories: reputation.CategoriesOf(reputation.Scanner)}), true, 0},
		{"another category", []Rule{rule(reputation.Block, scanner)}, 0, scored(1),
			says(reputation.Capabilities{Categories: reputation.CategoriesOf(reputation.Spam)}), false, reputation.Pass},
		{"a category that is there", []Rule{rule(reputation.Block, scanner)}, 0, badTorExit(), between(0, 100), false, reputation.Block},
		{"a nature that may come", []Rule{rule(reputation.Block, Config{Nature: []string{"vpn"}})}, 0, scored(1),
			says(reputation.Capabilities{Natures: reputation.KindsOf(reputation.NatureVPN)}), true, 0},
		{"a nature that may go", []Rule{rule(reputation.Block, Config{Nature: []string{"tor"}})}, 0, badTorExit(),
			says(reputation.Capabilities{Natures: reputation.KindsOf(reputation.NatureTor)}), true, 0},
		{"a nature that stays", []Rule{rule(reputation.Block, Config{Nature: []string{"tor"}})}, 0, badTorExit(), between(0, 100), false, reputation.Block},
		{"a country that may come", []Rule{rule(reputation.Block, Config{Country: []string{"SE"}})}, 0, scored(1), says(reputation.Capabilities{Country: true}), true, 0},
		{"a country that is certain", []Rule{rule(reputation.Block, Config{Country: []string{"SE"}})}, 0, badTorExit(), between(0, 100), false, reputation.Pass},
		{"a system that may come", []Rule{rule(reputation.Block, Config{ASN: []uint32{64497}})}, 0, scored(1), says(reputation.Capabilities{ASN: true}), true, 0},
		{"a source that may come", []Rule{rule(reputation.Block, Config{Source: []string{"otx"}})}, 0, scored(1), Prospect{Sources: []string{"otx"}}, true, 0},
		{"a source that may go", []Rule{rule(reputation.Block, Config{Source: []string{"tor_exits"}})}, 0, badTorExit(), Prospect{Sources: []string{"tor_exits"}}, true, 0},
		{"a source that has spoken of the network only", []Rule{rule(reputation.Block, Config{Source: []string{"otx"}}), block85}, 0,
			reputation.Verdict{Scored: true, Score: 5, Reasons: []reputation.Reason{{Source: "otx", Points: 6, Network: true}}},
			between(0, 100), true, 0},
		{"another network", []Rule{rule(reputation.Block, Config{Score: "50", Network: []string{"192.0.2.0/24"}})}, 0, scored(1), between(0, 100), false, reputation.Pass},

		{"unknown, to be blocked", nil, reputation.Block, unknown, between(0, 20), true, 0},
		{"unknown, to be passed", nil, reputation.Pass, unknown, between(0, 20), false, reputation.Pass},
		{"a rule for unknown", []Rule{rule(reputation.Limit, Config{Status: []string{"unknown"}})}, 0, unknown, between(0, 20), true, 0},
		{"a rule for pending", []Rule{rule(reputation.Limit, Config{Status: []string{"pending"}})}, 0, scored(1), between(0, 20), false, reputation.Pass},
		{"a rule for fresh", []Rule{rule(reputation.Limit, Config{Status: []string{"fresh"}})}, 0, scored(1), between(0, 20), false, reputation.Limit},
		{"a rule for partial, and nobody may be missed", []Rule{rule(reputation.Block, Config{Status: []string{"partial"}})}, 0,
			reputation.Verdict{Status: reputation.Partial}, Prospect{High: 20, Settles: true}, true, 0},
		{"exempt", []Rule{block85}, reputation.Block, reputation.Verdict{Status: reputation.Exempt}, between(0, 100), false, reputation.Pass},
	} {
		t.Run(c.name, func(t *testing.T) {
			open, alike := newPolicy(t, c.unknown, c.rules...).Open(&c.verdict, client, &c.prospect)
			if open != c.want || !open && alike != c.alike {
				t.Errorf("Open() = %v, %v; want %v, %v", open, alike, c.want, c.alike)
			}
		})
	}
}

// drawProspect draws what a verdict may become.
func drawProspect(t *rapid.T, v *reputation.Verdict) (p Prospect) {
	p.Low = rapid.Uint8Range(0, 100).Draw(t, "low")
	p.High = rapid.Uint8Range(p.Low, 100).Draw(t, "high")
	v.Score = rapid.Uint8Range(p.Low, p.High).Draw(t, "score within")
	p.Says = reputation.Capabilities{
		Natures: reputation.Kinds(rapid.Uint8Range(0, 1<<5-1).Draw(t, "says natures")),
		Country: rapid.Bool().Draw(t, "says country"), ASN: rapid.Bool().Draw(t, "says asn"),
	}
	for _, word := range drawSome(t, categoryPool, "says categories") {
		c, _ := reputation.ParseCategory(word)
		p.Says.Categories |= reputation.CategoriesOf(c)
	}
	p.Sources = drawSome(t, sourcePool, "missing sources")
	p.Settles = rapid.Bool().Draw(t, "may settle")
	return p
}

// drawOutcome draws a verdict that may come true.
func drawOutcome(t *rapid.T, v reputation.Verdict, p *Prospect) reputation.Verdict {
	if rapid.Bool().Draw(t, "answers") {
		v.Scored, v.Score = true, rapid.Uint8Range(p.Low, p.High).Draw(t, "score later")
	}
	later := drawVerdict(t)
	v.Categories |= later.Categories & p.Says.Categories
	if p.Says.Country {
		v.Facts.Country = later.Facts.Country
	}
	if p.Says.ASN {
		v.Facts.ASN = later.Facts.ASN
	}
	yes, no := later.Facts.Nature.Bits()
	v.Facts.Nature = v.Facts.Nature.Update(reputation.UnpackNature(yes&uint8(p.Says.Natures), no&uint8(p.Says.Natures)))
	v.Reasons = slices.DeleteFunc(slices.Clone(v.Reasons), func(r reputation.Reason) bool {
		return slices.Contains(p.Sources, r.Source)
	})
	for _, r := range later.Reasons {
		if slices.Contains(p.Sources, r.Source) {
			v.Reasons = append(v.Reasons, r)
		}
	}
	if v.Status == reputation.Unknown || p.Settles && v.Status != reputation.Exempt {
		v.Status = rapid.SampledFrom([]reputation.Status{v.Status, reputation.Fresh, reputation.Partial}).Draw(t, "status later")
	}
	return v
}

// effect is what a policy does with a request that meets the further conditions of some rules.
func effect(p *Policy, v *reputation.Verdict, addr netip.Addr, met uint8) Rule {
	action, by := p.Decide(v, addr, 0)
	for by != nil && by.More && met>>by.Number&1 == 0 {
		action, by = p.Decide(v, addr, by.Number)
	}
	if by == nil {
		return Rule{Action: action}
	}
	e := Rule{Action: by.Action, StatusCode: by.StatusCode, Ban: by.Ban}
	if by.Action == reputation.Limit {
		e.Number = by.Number
	}
	return e
}

// TestNothingIsOpenWithoutBeingSaid proves that, where Open is false, no verdict within the prospect leads to another
// decision, whichever request of the client it is.
func TestNothingIsOpenWithoutBeingSaid(t *testing.T) {
	closed := 0
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(rapid.Custom(drawRule), 0, 5).Draw(t, "rules")
		for i := range rules {
			rules[i].More = rapid.Bool().Draw(t, "more")
			if rules[i].Action == reputation.Ban {
				rules[i].Ban = rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "ban")
			}
		}
		p := newPolicy(t, rapid.SampledFrom([]reputation.Action{reputation.Pass, reputation.Block}).Draw(t, "unknown"), rules...)
		now, addr := drawVerdict(t), drawClient(t)
		now.Reasons = slices.DeleteFunc(now.Reasons, func(r reputation.Reason) bool {
			return r.Source == reputation.SourceDeny || r.Source == reputation.SourceBan
		})
		prospect := drawProspect(t, &now)
		prospect.Sources = slices.DeleteFunc(prospect.Sources, func(s string) bool { return s == reputation.SourceDeny || s == reputation.SourceBan })
		open, alike := p.Open(&now, addr, &prospect)
		if open {
			return
		}
		closed++
		if got := effect(p, &now, addr, 0); got.Action != alike {
			t.Fatalf("%v is done, and said to be %v", got.Action, alike)
		}
		met := rapid.Uint8().Draw(t, "met")
		later := drawOutcome(t, now, &prospect)
		if a, b := effect(p, &now, addr, met), effect(p, &later, addr, met); a.Action != b.Action || a.StatusCode != b.StatusCode || a.Ban != b.Ban || a.Number != b.Number {
			t.Fatalf("%+v becomes %+v by %+v", a, b, later)
		}
	})
	if closed == 0 {
		t.Error("everything is always open")
	}
}

func TestOpenDoesNotAllocate(t *testing.T) {
	p := newPolicy(t, reputation.Block,
		Rule{Action: reputation.Limit, Conditions: compile(t, Config{Category: []string{"spam"}, Nature: []string{"vpn"}})},
		Rule{Action: reputation.Block, Conditions: compile(t, Config{Score: "95", Source: []string{"otx"}})})
	v, prospect := badTorExit(), Prospect{High: 100, Sources: []string{"abuseipdb"}}
	if n := testing.AllocsPerRun(100, func() { p.Open(&v, client, &prospect) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOpen(b *testing.B) {
	p := newPolicy(b, reputation.Pass,
		Rule{Action: reputation.Drop, Conditions: compile(b, Config{Score: "97", Category: []string{"ddos"}})},
		Rule{Action: reputation.Block, Conditions: compile(b, Config{Score: "85"})},
		Rule{Action: reputation.Block, Conditions: compile(b, Config{Category: []string{"botnet_c2", "malware"}})},
		Rule{Action: reputation.Limit, Conditions: compile(b, Config{Score: "50"})})
	v, prospect := scored(1), Prospect{High: 49}
	for b.Loop() {
		p.Open(&v, client, &prospect)
	}
}
