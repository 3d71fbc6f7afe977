package policy

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func newPolicy(t interface {
	Helper()
	Fatalf(string, ...any)
}, unknown reputation.Action, rules ...Rule) *Policy {
	t.Helper()
	p, err := New(rules, unknown)
	if err != nil {
		t.Fatalf("New(%+v): %v", rules, err)
	}
	return p
}

func TestDecide(t *testing.T) {
	rule := func(a reputation.Action, c Config) Rule { return Rule{Action: a, Conditions: compile(t, c)} }
	site := []Rule{
		rule(reputation.Pass, Config{Country: []string{"AT"}}),
		rule(reputation.Block, Config{Score: "85"}),
		rule(reputation.Drop, Config{Source: []string{reputation.SourceBan}}),
		rule(reputation.Limit, Config{Score: "50"}),
	}
	by := func(source string) []reputation.Reason {
		return []reputation.Reason{{Source: "otx"}, {Source: source, Points: 60}}
	}
	limits := []Rule{rule(reputation.Limit, Config{Score: "50"}), {Action: reputation.Limit}}
	bans := []Rule{rule(reputation.Ban, Config{Score: "85"}), rule(reputation.Block, Config{Score: "97"})}
	ownWord := func(source string) reputation.Verdict {
		return reputation.Verdict{Scored: true, Score: 100, Reasons: by(source)}
	}
	for _, c := range []struct {
		name    string
		rules   []Rule
		unknown reputation.Action
		verdict reputation.Verdict
		want    reputation.Action
		rule    int // the number of the rule that decides, 0 for none
	}{
		{"first that holds", site, 0, scored(90), reputation.Block, 2},
		{"later that holds", site, 0, scored(60), reputation.Limit, 4},
		{"none that holds", site, 0, scored(10), reputation.Pass, 0},
		{"no rules", nil, 0, scored(100), reputation.Pass, 0},
		{"earlier pass", site, 0, reputation.Verdict{Scored: true, Score: 90, Facts: reputation.Facts{Country: "AT"}}, reputation.Pass, 1},
		{
			"exempt passes whatever the rules say", []Rule{rule(reputation.Block, Config{})}, reputation.Block,
			reputation.Verdict{Status: reputation.Exempt, Scored: true, Score: 100, Reasons: by(reputation.SourceDeny)}, reputation.Pass, 0,
		},

		{"deny list without rules", nil, 0, reputation.Verdict{Reasons: by(reputation.SourceDeny)}, reputation.Block, 0},
		{"ban without rules", nil, 0, reputation.Verdict{Reasons: by(reputation.SourceBan)}, reputation.Block, 0},
		{"other sources without rules", nil, 0, reputation.Verdict{Reasons: by("partner")}, reputation.Pass, 0},
		{"a harder rule before a ban", site, 0, reputation.Verdict{Reasons: by(reputation.SourceBan)}, reputation.Drop, 3},
		{
			"a milder rule before a ban", site, 0,
			reputation.Verdict{Reasons: by(reputation.SourceBan), Facts: reputation.Facts{Country: "AT"}}, reputation.Pass, 1,
		},

		{"a limit decides", limits, reputation.Pass, scored(90), reputation.Limit, 1},
		{"a limit for all", limits, reputation.Block, reputation.Verdict{Status: reputation.Unknown}, reputation.Limit, 2},
		{"a limit lets nobody in who is banned", limits, reputation.Pass, ownWord(reputation.SourceBan), reputation.Block, 0},
		{"nor who is denied", limits, reputation.Pass, ownWord(reputation.SourceDeny), reputation.Block, 0},
		{
			"unless it is for them",
			[]Rule{{Action: reputation.Limit, Conditions: compile(t, Config{Source: []string{reputation.SourceBan}})}},
			reputation.Pass, ownWord(reputation.SourceBan), reputation.Limit, 1,
		},
		{"a ban decides", bans, reputation.Pass, scored(97), reputation.Ban, 1},
		{"a ban is not prolonged", bans, reputation.Pass, ownWord(reputation.SourceBan), reputation.Block, 2},
		{"nor is who is denied banned", bans[:1], reputation.Pass, ownWord(reputation.SourceDeny), reputation.Block, 0},
		{
			"whatever the rule names",
			[]Rule{{Action: reputation.Ban, Conditions: compile(t, Config{Source: []string{reputation.SourceBan, "otx"}})}},
			reputation.Pass, ownWord(reputation.SourceBan), reputation.Block, 0,
		},
		{"exempt addresses are not limited", limits, reputation.Pass, reputation.Verdict{Status: reputation.Exempt}, reputation.Pass, 0},

		{"unknown passes", site, reputation.Pass, reputation.Verdict{Status: reputation.Unknown}, reputation.Pass, 0},
		{"unknown is blocked", site, reputation.Block, reputation.Verdict{Status: reputation.Unknown}, reputation.Block, 0},
		{"pending is not unknown", site, reputation.Block, reputation.Verdict{Status: reputation.Pending}, reputation.Pass, 0},
		{
			"a rule before unknown", site, reputation.Block,
			reputation.Verdict{Status: reputation.Unknown, Facts: reputation.Facts{Country: "AT"}}, reputation.Pass, 1,
		},
		{
			"banned and unknown", nil, reputation.Pass,
			reputation.Verdict{Status: reputation.Unknown, Reasons: by(reputation.SourceBan)}, reputation.Block, 0,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			action, decided := newPolicy(t, c.unknown, c.rules...).Decide(&c.verdict, client, 0)
			number := 0
			if decided != nil {
				number = decided.Number
			}
			if action != c.want || number != c.rule {
				t.Errorf("Decide() = %v by rule %d, want %v by rule %d", action, number, c.want, c.rule)
			}
		})
	}
}

func TestTheZeroPolicyHeedsTheOperatorsWord(t *testing.T) {
	var p Policy
	denied := reputation.Verdict{Reasons: []reputation.Reason{{Source: reputation.SourceDeny}}}
	if got, _ := p.Decide(&denied, client, 0); got != reputation.Block {
		t.Errorf("Decide() = %v for a denied address, want block", got)
	}
	if got, _ := p.Decide(&reputation.Verdict{Status: reputation.Unknown}, client, 0); got != reputation.Pass {
		t.Errorf("Decide() = %v for an unknown address, want pass", got)
	}
}

func TestNewErrors(t *testing.T) {
	high := compile(t, Config{Score: "85"})
	exempt := compile(t, Config{Status: []string{"exempt"}})
	for _, c := range []struct {
		rules   []Rule
		unknown reputation.Action
		want    string
	}{
		{nil, reputation.Drop, `action "drop" for unknown addresses: use pass or block`},
		{nil, reputation.Limit, `action "limit" for unknown addresses: use pass or block`},
		{
			[]Rule{{Action: reputation.NumActions, Conditions: high}}, 0,
			`rule 1 (Action(5)): unknown action: use pass, limit, block, ban or drop`,
		},
		{
			[]Rule{{Action: reputation.Ban, StatusCode: 403, Conditions: high}}, 0,
			`rule 1 (ban): status code 403: only block answers with one, remove it`,
		},
		{
			[]Rule{{Action: reputation.Ban, Conditions: compile(t, Config{Source: []string{reputation.SourceBan}})}}, 0,
			`rule 1 (ban): condition source ban or deny never decides, because such addresses are kept out already: ` +
				`use block or drop, or remove the rule`,
		},
		{
			[]Rule{{Action: reputation.Drop, StatusCode: 403, Conditions: high}}, 0,
			`rule 1 (drop): status code 403: only block answers with one, remove it`,
		},
		{
			[]Rule{{Conditions: high}, {Action: reputation.Block, StatusCode: 399, Conditions: high}}, 0,
			`rule 2 (block): status code 399: use one from 400 to 599`,
		},
		{
			[]Rule{{Action: reputation.Block, StatusCode: 600, Conditions: high}}, 0,
			`rule 1 (block): status code 600: use one from 400 to 599`,
		},
		{
			[]Rule{{Action: reputation.Block, Conditions: exempt}}, 0,
			`rule 1 (block): condition status exempt never decides, because exempt addresses always pass: remove the rule`,
		},
		{
			[]Rule{{Conditions: high}, {}, {Action: reputation.Block, Conditions: high}}, 0,
			`rule 3 (block) is never tried, because rule 2 has no conditions: give that one conditions, or move it to the end`,
		},
	} {
		_, err := New(c.rules, c.unknown)
		if err == nil {
			t.Errorf("New(%+v) succeeds, want the error: %s", c.rules, c.want)
		} else if err.Error() != c.want {
			t.Errorf("New(%+v)\n got error: %v\nwant error: %s", c.rules, err, c.want)
		}
	}
	for _, code := range []int{0, 400, 599} {
		if _, err := New([]Rule{{Action: reputation.Block, StatusCode: code, Conditions: high}}, 0); err != nil {
			t.Errorf("block with status code %d: %v", code, err)
		}
	}
}

func TestNewLeavesTheCallersRulesAlone(t *testing.T) {
	rules := []Rule{{Action: reputation.Block}}
	p := newPolicy(t, reputation.Pass, rules...)
	if rules[0].Number != 0 {
		t.Errorf("New numbers the caller's rule: %+v", rules[0])
	}
	rules[0].Action = reputation.Drop
	if got, _ := p.Decide(&reputation.Verdict{}, client, 0); got != reputation.Block {
		t.Errorf("Decide() = %v after the caller changed its rules, want block", got)
	}
}

func drawRule(t *rapid.T) Rule {
	for {
		config := drawConfig(t)
		r := Rule{
			Action:     reputation.Action(rapid.Uint8Range(0, reputation.NumActions-1).Draw(t, "action")),
			Conditions: compile(t, config),
		}
		if !r.Conditions.always() && r.check() == nil {
			return r
		}
	}
}

func TestARuleAtTheEndNeverChangesWhatAnEarlierOneDecided(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(rapid.Custom(drawRule), 0, 6).Draw(t, "rules")
		unknown := rapid.SampledFrom([]reputation.Action{reputation.Pass, reputation.Block}).Draw(t, "unknown")
		verdict, client, last := drawVerdict(t), drawClient(t), drawRule(t)

		action, by := newPolicy(t, unknown, rules...).Decide(&verdict, client, 0)
		got, gotBy := newPolicy(t, unknown, append(rules, last)...).Decide(&verdict, client, 0)
		switch {
		case by != nil && (gotBy == nil || got != action || gotBy.Number != by.Number):
			t.Fatalf("%v by %+v became %v by %+v", action, by, got, gotBy)
		case by == nil && gotBy != nil && (gotBy.Number != len(rules)+1 || verdict.Status == reputation.Exempt):
			t.Fatalf("nothing decided before, now %+v does", gotBy)
		case by == nil && gotBy == nil && got != action:
			t.Fatalf("%v became %v, though the new rule does not hold", action, got)
		}
	})
}

// eight is a site whose rules all look at the verdict and do not hold.
func eight(t testing.TB) *Policy {
	var rules []Rule
	for _, c := range []Config{
		{Score: "97", Category: []string{"ddos"}},
		{Score: "95"},
		{Category: []string{"botnet_c2", "malware"}},
		{Source: []string{reputation.SourceBan, reputation.SourceDeny}},
		{Nature: []string{"vpn", "hosting"}},
		{Country: strings.Fields("AD AE AF AG AI AL AM AO AQ AR")},
		{ASN: []uint32{64500, 64501, 64502, 64503}},
		{Status: []string{"pending", "unknown"}},
	} {
		rules = append(rules, Rule{Action: reputation.Block, Conditions: compile(t, c)})
	}
	return newPolicy(t, reputation.Pass, rules...)
}

func TestDecideDoesNotAllocate(t *testing.T) {
	p, v := eight(t), badTorExit()
	if got := testing.AllocsPerRun(100, func() {
		if action, _ := p.Decide(&v, client, 0); action != reputation.Pass {
			t.Errorf("Decide() = %v, want pass", action)
		}
	}); got != 0 {
		t.Errorf("Decide allocates %v times", got)
	}
}

func BenchmarkDecide(b *testing.B) {
	p, v := eight(b), badTorExit()
	b.ReportAllocs()
	for b.Loop() {
		p.Decide(&v, client, 0)
	}
}
