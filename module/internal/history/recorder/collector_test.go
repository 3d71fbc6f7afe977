package recorder

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestHostOf(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "app.example.com": "app.example.com", "App.Example.COM:8443": "app.example.com", "app.example.com.": "app.example.com", "app.example.com.:80": "app.example.com", "[2001:db8::1]:443": "[2001:db8::1]",
		"[2001:db8::1]": "[2001:db8::1]", "2001:db8::1": "2001:db8::1", "a:": "a", ":80": "", ":": "", "]:80": "]", "[": "[",
		"a\x00b\x1b[2J\n": "a?b?[2j?", "bücher.example": "bücher.example", "a\xffb": "a?b", "a\u202eb": "a?b", "a\x7fb": "a?b",
		strings.Repeat("x", 300):        strings.Repeat("x", 253),
		"x" + strings.Repeat("ü", 200):  "x" + strings.Repeat("ü", 126),
		"xx" + strings.Repeat("ü", 200): "xx" + strings.Repeat("ü", 125),
	} {
		if got := hostOf(text); got != want {
			t.Errorf("the host of %q is %q, want %q", text, got, want)
		}
	}
}

func FuzzHostOf(f *testing.F) {
	f.Add("app.example.com:443")
	f.Add("\xff[:")
	f.Fuzz(func(t *testing.T, text string) {
		got := hostOf(text)
		if len(got) > maxHost || plain(got, maxHost) != got {
			t.Fatalf("the host of %q is %q", text, got)
		}
	})
}

// TestRow holds what a row has of the requests that it counts.
func TestRow(t *testing.T) {
	k := newRig(t, Options{})
	at := func(seconds int, e history.Event, id string) history.Event {
		e.At, e.RequestID = start.Add(time.Duration(seconds)*time.Second).In(time.FixedZone("", 3600)), id
		return e
	}
	unknown := request(7)
	unknown.Verdict.Status = reputation.Unknown
	k.record(at(1, unknown, "1"), at(3, scored(7, 90), "3"), at(0, unknown, "0"), at(2, scored(7, 20), "2"))
	k.record(at(60, request(7), strings.Repeat("x", 200)))
	score := uint8(90)
	first := history.Decision{
		Minute: start.Truncate(time.Minute), Address: netip.MustParsePrefix("203.0.113.7/32"), Host: "app.example.com", Rule: "block score 85",
		Action: "block", Mode: "enforce", Count: 4, First: start, Last: start.Add(3 * time.Second), RequestID: "0", Score: &score, Status: "fresh", Config: "1f8a",
	}
	second := first
	second.Minute, second.First, second.Last = first.Minute.Add(time.Minute), start.Add(time.Minute), start.Add(time.Minute)
	second.Count, second.RequestID, second.Score, second.Status = 1, strings.Repeat("x", 128), nil, "pending"
	if diff := cmp.Diff([]history.Decision{first, second}, k.collector.ledger.decisions, prefixes); diff != "" {
		t.Errorf("rows differ (-want +got):\n%s", diff)
	}
}

// TestApart holds what has rows of its own.
func TestApart(t *testing.T) {
	for name, change := range map[string]func(*history.Event){
		"minute":  func(e *history.Event) { e.At = e.At.Add(time.Minute) },
		"address": func(e *history.Event) { e.Address = netip.MustParseAddr("203.0.113.9") },
		"host":    func(e *history.Event) { e.Host = "b.example.com" },
		"rule":    func(e *history.Event) { e.Rule = "" },
		"action":  func(e *history.Event) { e.Action = reputation.Pass },
		"mode":    func(e *history.Event) { e.Enforce = false },
		"config":  func(e *history.Event) { e.Config = "2" },
	} {
		k := newRig(t, Options{})
		other := request(1)
		change(&other)
		k.record(request(1), other, request(1))
		if rows := k.collector.ledger.decisions; len(rows) != 2 || rows[0].Count != 2 {
			t.Errorf("with another %s the rows are %+v", name, rows)
		}
	}
	k := newRig(t, Options{})
	mapped := request(1)
	mapped.Address = netip.AddrFrom16(mapped.Address.As16())
	k.record(request(1), mapped)
	if rows := k.collector.ledger.decisions; len(rows) != 1 {
		t.Errorf("of one address the rows are %+v", rows)
	}
}

// TestManyHosts holds that a client cannot make rows without end, neither within a batch nor over several.
func TestManyHosts(t *testing.T) {
	k, store := newRig(t, Options{}), &shelf{}
	for n := range 1000 {
		e := request(1)
		e.Host = fmt.Sprint(n % 500)
		k.record(e, request(2))
		if n%50 == 0 {
			k.seal()
		}
	}
	k.seal()
	if err := k.sendAll(store); err != nil {
		t.Fatal(err)
	}
	w := store.merged()
	if len(w.decisions) != maxHosts+2 || w.entries != 2000 {
		t.Errorf("%d rows of %d requests", len(w.decisions), w.entries)
	}
	for _, d := range w.decisions {
		if want := map[bool]int64{true: 2, false: 2000/2 - 2*maxHosts}[d.Host != ""]; d.Count != want && d.Host != "app.example.com" {
			t.Errorf("%d requests of host %q", d.Count, d.Host)
		}
	}
	k.record(func() history.Event { e := request(1); e.At, e.Host = start.Add(time.Minute), "another"; return e }())
	if k.collector.ledger.decisions[0].Host != "another" {
		t.Error("the next minute has no hosts")
	}
}

// TestOneNetwork holds that a client that takes many addresses of its /64 makes no more rows than one with one address.
func TestOneNetwork(t *testing.T) {
	k := newRig(t, Options{})
	for n := range 1000 {
		e := request(1)
		a := netip.MustParseAddr("2001:db8:1:2::").As16()
		a[14], a[15] = byte(n>>8), byte(n)
		e.Address, e.Host = netip.AddrFrom16(a), []string{"app.example.com", "APP.example.com.", "app.example.com:8443"}[n%3]
		k.record(e)
	}
	if rows := k.collector.ledger.decisions; len(rows) != 1 || rows[0].Count != 1000 || rows[0].Host != "app.example.com" {
		t.Errorf("%d rows, the first is %+v", len(rows), rows[0])
	}
}

// TestChanges holds which verdicts are recorded.
func TestChanges(t *testing.T) {
	v := func(score uint8, sources ...string) reputation.Verdict { return scored(1, score, sources...).Verdict }
	without := v(4)
	without.Reasons = []reputation.Reason{{Source: "tor_exits"}} // adds nothing
	other := v(90, "deny")
	other.Reasons[0].Categories = reputation.CategoriesOf(reputation.Spam)
	swapped := v(90, "deny", "ban")
	swapped.Reasons[0], swapped.Reasons[1] = swapped.Reasons[1], swapped.Reasons[0]
	type step struct {
		verdict reputation.Verdict
		changed bool
	}
	for name, steps := range map[string][]step{
		"clean":               {{v(1), false}, {v(4), false}, {without, false}, {v(1), false}},
		"a score alone":       {{v(5), true}, {v(5), false}, {v(9), false}, {v(10), true}, {v(6), false}, {v(5), true}},
		"slowly":              {{v(50, "deny"), true}, {v(48, "deny"), false}, {v(46, "deny"), false}, {v(45, "deny"), true}, {v(41, "deny"), false}},
		"low, and known":      {{v(3, "tor_exits"), false}, {v(4, "tor_exits", "ban"), false}, {v(3), false}},
		"evidence":            {{v(6, "tor_exits"), true}, {v(6, "tor_exits"), false}, {v(6, "tor_exits", "ban"), true}, {v(3, "ban"), true}, {v(3), true}, {v(3), false}},
		"what it is said of":  {{v(90, "deny"), true}, {other, true}, {other, false}},
		"in another order":    {{v(90, "deny", "ban"), true}, {swapped, false}},
		"another said it":     {{v(90, "deny"), true}, {v(90, "ban"), true}},
		"it says it no more":  {{v(90, "deny"), true}, {v(1), true}, {v(1), false}, {v(90, "deny"), true}},
		"the same from twice": {{v(90, "deny", "deny"), true}, {v(90, "deny"), true}},
	} {
		known := newVerdicts(10)
		subject := netip.MustParsePrefix("203.0.113.7/32")
		for i, s := range steps {
			if got := known.changed(subject, &s.verdict, evidenceOf(known.seed, s.verdict.Reasons), int64(i)); got != s.changed {
				t.Errorf("%s: step %d is a change: %t", name, i, got)
			}
		}
		if known.changed(netip.MustParsePrefix("203.0.113.8/32"), &reputation.Verdict{Score: 1, Scored: true}, 0, 0) {
			t.Errorf("%s: another subject is changed", name)
		}
	}
}

// TestChange holds what is recorded of a verdict.
func TestChange(t *testing.T) {
	k := newRig(t, Options{})
	e := scored(7, 88, "abuseipdb", "tor_exits")
	e.Address = netip.MustParseAddr("2001:db8::7")
	e.Verdict.Facts = reputation.Facts{Country: "NL", ASN: 64500}
	e.Verdict.Coverage = math.NaN()
	e.Verdict.Reasons[0].Age = 90*time.Minute + time.Millisecond
	e.Verdict.Reasons[0].Severity, e.Verdict.Reasons[0].Confidence = 0.87, 0.75
	e.Verdict.Reasons[1].Points, e.Verdict.Reasons[1].Categories = math.Inf(1), 0
	e.Verdict.Reasons[1].Severity = float32(math.NaN())
	k.record(e)
	want := []history.Change{{
		At: start, Subject: netip.MustParsePrefix("2001:db8::/64"), Score: 88, Status: "fresh", Categories: []string{"scanner"}, Country: "NL", ASN: 64500,
		Evidence: []history.Evidence{
			{Source: "abuseipdb", Points: 20, Categories: []string{"scanner"}, Age: 5400, Severity: 0.87, Confidence: 0.75}, {Source: "tor_exits"},
		},
		RequestID: e.RequestID, Config: e.Config,
	}}
	if diff := cmp.Diff(want, k.collector.ledger.changes, prefixes); diff != "" {
		t.Errorf("changes differ (-want +got):\n%s", diff)
	}
	many := scored(8, 100)
	for n := range 100 {
		many.Verdict.Reasons = append(many.Verdict.Reasons, reputation.Reason{Source: strings.Repeat("s", 1000), Points: float64(n), Categories: 1<<19 - 1})
	}
	k.record(many)
	c := k.collector.ledger.changes[1]
	if text := appendLine(nil, line{Change: &c}); len(c.Evidence) != 32 || len(text) == 0 || len(text) > maxLine/2 {
		t.Errorf("%d sources, a line of %d bytes", len(c.Evidence), len(text))
	}
}

// TestKeep holds how addresses are kept: cut short, as pseudonyms, or not at all.
func TestKeep(t *testing.T) {
	k := newRig(t, Options{})
	e4, e6 := scored(7, 88, "deny"), scored(7, 88, "deny")
	e6.Address = netip.MustParseAddr("2001:db8:1:2:3::7%eth0")
	check := func(what string, addresses, subjects string) {
		t.Helper()
		var gotAddresses, gotSubjects []string
		for _, d := range k.collector.ledger.decisions {
			gotAddresses = append(gotAddresses, d.Address.String())
		}
		for _, c := range k.collector.ledger.changes {
			gotSubjects = append(gotSubjects, c.Subject.String())
		}
		if a, s := strings.Join(gotAddresses, " "), strings.Join(gotSubjects, " "); a != addresses || s != subjects {
			t.Errorf("%s: %s, subjects %s", what, a, s)
		}
		k.collector.take(true)
		k.collector.ledger = ledger{}
		k.collector.verdicts = newVerdicts(10)
	}
	k.record(e4, e6)
	check("by itself", "203.0.113.7/32 2001:db8:1:2::/64", "203.0.113.7/32 2001:db8:1:2::/64")

	k.Use(Settings{Stored: func(addr netip.Addr) (kept netip.Prefix, ok bool) {
		bits := 48
		if addr.Is4() {
			bits = 24
		}
		p, err := addr.Prefix(bits)
		return p, err == nil
	}})
	neighbour := e4
	neighbour.Address = netip.MustParseAddr("203.0.113.8")
	neighbour.Verdict = scored(8, 1).Verdict
	for range 3 { // of a network that is kept as one, clean addresses do not change what is known of the others
		k.record(e4, neighbour, e6)
	}
	check("cut short", "203.0.113.0/24 2001:db8:1::/48", "203.0.113.0/24 2001:db8:1::/48")

	k.Use(Settings{Stored: func(netip.Addr) (kept netip.Prefix, ok bool) {
		return netip.Prefix{}, false
	}})
	k.record(e4, e6)
	check("hidden", "", "")
	if c := k.Counts(); c.Dropped[DropHidden] != 2 || strings.Count(k.log.String(), "there is no key for pseudonyms of their addresses\" dropped=1\n") != 1 {
		t.Errorf("%+v are counted, log:\n%s", c, &k.log)
	}
}

func TestGenerations(t *testing.T) {
	g := newGenerations[int, int](100)
	for n := range 10_000 {
		g.put(n, n)
		if _, ok := g.get(0); !ok {
			t.Fatalf("what is asked for all the time is forgotten after %d", n)
		}
		if v, ok := g.get(max(0, n-20)); !ok || v != max(0, n-20) {
			t.Fatalf("what was put of late is %d, %t", v, ok)
		}
	}
	if len(g.young)+len(g.old) > 200 {
		t.Errorf("%d are remembered", len(g.young)+len(g.old))
	}
}
