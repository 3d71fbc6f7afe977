package postgres

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// twin answers as a database does, from slices and slowly. IDs are places in them, and in request IDs.
type twin struct {
	decisions []history.Decision
	changes   []history.Change
	incidents []history.Incident
}

// Few of everything, so that there are ties, in as many ways as inet orders them.
var (
	twinAddresses = prefixes("203.0.113.7/32", "203.0.113.8/32", "203.0.113.0/32", "203.0.113.255/32", "203.0.113.0/24", "203.0.112.0/24",
		"203.0.0.0/16", "198.51.100.1/32", "0.0.0.0/32", "255.255.255.255/32", "2001:db8::1/128", "2001:db8::2/128", "2001:db8::/64",
		"2001:db8:0:1::/64", "2001:db8::/48", "2001:db8:0:0:ffff:ffff:ffff:ffff/128", "::1/128")
	twinSubjects  = prefixes("203.0.113.7/32", "203.0.113.8/32", "203.0.113.0/24", "2001:db8::/64", "2001:db8:0:1::/64", "2001:db8::/48")
	twinQuestions = append(prefixes("203.0.113.0/25", "203.0.113.128/25", "203.0.112.0/23", "203.0.113.9/32", "0.0.0.0/0", "128.0.0.0/1",
		"::/0", "2001:db8::/32", "2001:db8::/127", "2001:db8::/63", "::/128"), twinAddresses...)
)

func prefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

// drawTime draws one of few times of the days that have partitions.
func drawTime(t *rapid.T, what string) time.Time {
	minutes := rapid.SampledFrom([]int{0, 1, 2, 60, 12 * 60, 24 * 60, 24*60 + 31, 2 * 24 * 60, 3*24*60 + 1, 4 * 24 * 60})
	seconds := rapid.SampledFrom([]time.Duration{0, 0, 1, 30 * time.Second, 59*time.Second + 999999*time.Microsecond})
	return readNow.Truncate(time.Minute).Add(-time.Duration(minutes.Draw(t, what+" minutes ago")) * time.Minute).
		Add(seconds.Draw(t, what).Truncate(time.Microsecond))
}

func drawDecisions(t *rapid.T, label string) []history.Decision {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) history.Decision {
		last := drawTime(t, "last")
		d := history.Decision{
			Minute: last.Truncate(time.Minute), Address: rapid.SampledFrom(twinAddresses).Draw(t, "address"),
			Host: rapid.SampledFrom([]string{"example.com", "Example.com", "exämple.com"}).Draw(t, "host"),
			Rule: rapid.SampledFrom([]string{"", "block score 85", "Block"}).Draw(t, "rule"), Last: last,
			Action: rapid.SampledFrom([]string{"pass", "limit", "block", "drop"}).Draw(t, "action"),
			Mode:   rapid.SampledFrom([]string{"enforce", "observe"}).Draw(t, "mode"),
			Count:  rapid.Int64Range(1, 3).Draw(t, "count"), Status: "fresh", Config: "c0ffee",
		}
		d.First = d.Minute
		if rapid.Bool().Draw(t, "one") {
			d.First = last
		}
		if rapid.Bool().Draw(t, "known") {
			score := rapid.Uint8Range(0, 100).Draw(t, "score")
			d.Score = &score
		}
		return d
	}), 0, 25).Draw(t, label)
}

func drawChanges(t *rapid.T, label string) []history.Change {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) history.Change {
		c := history.Change{
			At: drawTime(t, "at"), Subject: rapid.SampledFrom(twinSubjects).Draw(t, "subject"),
			Score: rapid.Uint8Range(0, 2).Draw(t, "score"), Status: "fresh", Coverage: 0.8, Country: "DE",
			ASN: rapid.SampledFrom([]uint32{0, 64500, 4294967295}).Draw(t, "asn"), Config: "c0ffee", Evidence: []history.Evidence{},
		}
		for _, source := range []string{"abuseipdb", "tor"} {
			if p := rapid.SampledFrom([]float64{0, 10, 10.04, 10.4, 10.6, 20}).Draw(t, source); p > 0 {
				c.Evidence = append(c.Evidence, history.Evidence{Source: source, Points: p, Categories: []string{"scanner"}, Age: 60})
				c.Categories = []string{"scanner"}
			}
		}
		return c
	}), 0, 15).Draw(t, label)
}

// add appends what was drawn, and returns it with request IDs that tell rows apart.
func (w *twin) add(decisions []history.Decision, changes []history.Change) ([]history.Decision, []history.Change) {
	for i := range decisions {
		decisions[i].RequestID = "d" + strconv.Itoa(len(w.decisions)+i)
	}
	for i := range changes {
		changes[i].RequestID = "c" + strconv.Itoa(len(w.changes)+i)
	}
	w.decisions, w.changes = append(w.decisions, decisions...), append(w.changes, changes...)
	return decisions, changes
}

func inside(q, p netip.Prefix) bool { return p.Bits() >= q.Bits() && q.Contains(p.Addr()) }

func during(p history.Period, at time.Time) bool {
	return (p.From.IsZero() || !at.Before(p.From)) && at.Before(p.To)
}

// line is what a timeline shows of an entry.
func line(e history.Entry) string {
	switch {
	case e.Decision != nil:
		return e.Decision.RequestID
	case e.Incident != nil:
		return e.Incident.RequestID
	}
	return e.Verdict.RequestID
}

// timeline returns all entries.
func (w *twin) timeline(q netip.Prefix, p history.Period) []history.Entry {
	all := []history.Entry{}
	for i := range slices.Backward(w.decisions) { // the latest stored first
		if d := &w.decisions[i]; inside(q, d.Address) && during(p, d.Last) {
			all = append(all, history.Entry{At: d.Last, Decision: d})
		}
	}
	for i := range slices.Backward(w.changes) {
		if c := &w.changes[i]; inside(q, c.Subject) && during(p, c.At) {
			all = append(all, history.Entry{At: c.At, Verdict: c})
		}
	}
	for n := range slices.Backward(w.incidents) {
		if i := &w.incidents[n]; inside(q, i.Address) && during(p, i.Last) {
			all = append(all, history.Entry{At: i.Last, Incident: i})
		}
	}
	slices.SortStableFunc(all, func(a, b history.Entry) int { return b.At.Compare(a.At) })
	return all
}

func (w *twin) seen(q netip.Prefix) *history.Seen {
	var s *history.Seen
	for _, d := range w.decisions {
		if !inside(q, d.Address) {
			continue
		}
		if s == nil {
			s = &history.Seen{First: d.First, Last: d.Last, Actions: map[string]int64{}}
		}
		if d.First.Before(s.First) {
			s.First = d.First
		}
		if d.Last.After(s.Last) {
			s.Last = d.Last
		}
		s.Requests += d.Count
		s.Actions[d.Action] += d.Count
	}
	return s
}

func higher(a *uint8, b uint8) *uint8 {
	if a != nil && *a >= b {
		return a
	}
	return &b
}

func (w *twin) graph(q netip.Prefix, p history.Period, n int) history.Graph {
	w = &twin{decisions: w.decisions, changes: w.changes}
	if p.From.IsZero() {
		p.From = p.To.Add(-24 * time.Hour)
		first := time.Time{}
		for _, e := range w.timeline(q, p0(p.To)) {
			at := e.At
			if e.Decision != nil {
				at = e.Decision.First
			}
			if first.IsZero() || at.Before(first) {
				first = at
			}
		}
		if !first.IsZero() {
			p.From = first
		}
		if latest := p.To.Add(-time.Duration(n) * time.Minute); p.From.After(latest) {
			p.From = latest
		}
	}
	width := (p.To.Sub(p.From) / time.Duration(n)).Truncate(time.Microsecond)
	g := history.Graph{Period: p, Parts: make([]history.Part, n)}
	for i := range g.Parts {
		part := history.Period{From: p.From.Add(width * time.Duration(i)), To: p.From.Add(width * time.Duration(i+1))}
		if i == n-1 {
			part.To = p.To
		}
		g.Parts[i].From = part.From
		for _, e := range w.timeline(q, part) {
			if e.Verdict != nil {
				g.Parts[i].Score = higher(g.Parts[i].Score, e.Verdict.Score)
				continue
			}
			if e.Decision.Score != nil {
				g.Parts[i].Score = higher(g.Parts[i].Score, *e.Decision.Score)
			}
			if g.Parts[i].Actions == nil {
				g.Parts[i].Actions = map[string]int64{}
			}
			g.Parts[i].Actions[e.Decision.Action] += e.Decision.Count
		}
	}
	return g
}

func p0(to time.Time) history.Period { return history.Period{To: to} }

// changed returns the request IDs of the differences, with the scores before.
func (w *twin) changed(q netip.Prefix, p history.Period) []string {
	all := []string{}
	for _, e := range w.timeline(q, p) {
		if e.Verdict == nil {
			continue
		}
		later, before := false, "none"
		var was *history.Change
		for _, o := range w.timeline(e.Verdict.Subject, p0(readNow.AddDate(1, 0, 0))) {
			if o.Verdict == nil || o.Verdict.Subject != e.Verdict.Subject {
				continue
			}
			if later {
				was = o.Verdict
				before = strconv.Itoa(int(was.Score))
				break
			}
			later = o.Verdict == e.Verdict
		}
		if was != nil && was.Score == e.Verdict.Score && near(was.Evidence, e.Verdict.Evidence) {
			continue
		}
		all = append(all, e.Verdict.RequestID+" was "+before)
	}
	return all
}

// near tells whether the same sources say about the same; both have them in one order.
func near(a, b []history.Evidence) bool {
	return slices.EqualFunc(a, b, func(a, b history.Evidence) bool {
		return a.Source == b.Source && max(a.Points-b.Points, b.Points-a.Points) <= 0.5
	})
}

// inetCompare orders as PostgreSQL does.
func inetCompare(a, b netip.Prefix) int {
	if a.Addr().BitLen() != b.Addr().BitLen() {
		return cmp.Compare(a.Addr().BitLen(), b.Addr().BitLen())
	}
	common := min(a.Bits(), b.Bits())
	x, _ := a.Addr().Prefix(common)
	y, _ := b.Addr().Prefix(common)
	return cmp.Or(x.Addr().Compare(y.Addr()), cmp.Compare(a.Bits(), b.Bits()), a.Addr().Compare(b.Addr()))
}

func (w *twin) worst(p history.Period, networks bool) []history.Ranked {
	found := map[netip.Prefix]*history.Ranked{}
	addresses := map[netip.Prefix]map[netip.Prefix]bool{}
	for _, d := range w.decisions {
		if !during(p, d.Last) {
			continue
		}
		key := d.Address
		if bits := map[int]int{32: 24, 128: 48}[key.Addr().BitLen()]; networks && key.Bits() > bits {
			key, _ = key.Addr().Prefix(bits)
		}
		r := found[key]
		if r == nil {
			r = &history.Ranked{Prefix: key, First: d.First, Last: d.Last}
			found[key], addresses[key] = r, map[netip.Prefix]bool{}
		}
		addresses[key][d.Address] = true
		r.Addresses = int64(len(addresses[key]))
		r.Requests += d.Count
		if d.Action != "pass" {
			r.Refused += d.Count
		}
		if d.Score != nil {
			r.Score = higher(r.Score, *d.Score)
		}
		if d.First.Before(r.First) {
			r.First = d.First
		}
		if d.Last.After(r.Last) {
			r.Last = d.Last
		}
	}
	all := []history.Ranked{}
	for _, r := range found {
		if r.Refused > 0 {
			all = append(all, *r)
		}
	}
	slices.SortFunc(all, func(a, b history.Ranked) int {
		return cmp.Or(cmp.Compare(b.Refused, a.Refused), cmp.Compare(b.Requests, a.Requests), inetCompare(a.Prefix, b.Prefix))
	})
	return all
}

func (w *twin) rules(p history.Period) []history.RuleStats {
	found := map[history.RuleStats]*history.RuleStats{}
	addresses := map[history.RuleStats]map[netip.Prefix]bool{}
	for _, d := range w.decisions {
		if !during(p, d.Last) {
			continue
		}
		key := history.RuleStats{Host: d.Host, Rule: d.Rule, Action: d.Action, Mode: d.Mode}
		r := found[key]
		if r == nil {
			r = &history.RuleStats{Host: d.Host, Rule: d.Rule, Action: d.Action, Mode: d.Mode, First: d.First, Last: d.Last}
			found[key], addresses[key] = r, map[netip.Prefix]bool{}
		}
		addresses[key][d.Address] = true
		r.Addresses = int64(len(addresses[key]))
		r.Requests += d.Count
		if d.First.Before(r.First) {
			r.First = d.First
		}
		if d.Last.After(r.Last) {
			r.Last = d.Last
		}
	}
	all := []history.RuleStats{}
	for _, r := range found {
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b history.RuleStats) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), strings.Compare(a.Host, b.Host), strings.Compare(a.Rule, b.Rule),
			strings.Compare(a.Action, b.Action), strings.Compare(a.Mode, b.Mode))
	})
	return all
}

// pages returns what all pages have, one after the other, and fails when one is not as long as it should be.
func pages[T any](t *rapid.T, limit int, ask func(after string) ([]T, string, error)) []T {
	all := []T{}
	for after := ""; ; {
		page, next, err := ask(after)
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, page...); len(page) > limit || (next != "" && len(page) < limit) {
			t.Fatalf("a page of %d, not of %d", len(page), limit)
		}
		if after = next; after == "" {
			return all
		}
	}
}

func same(t *rapid.T, what string, want, got any) {
	if diff := gocmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Fatalf("%s:\n%s", what, diff)
	}
}

// TestReadTwin asks the database and the twin.
func TestReadTwin(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	rapid.Check(t, func(t *rapid.T) {
		l.exec("TRUNCATE ip_reputation.decisions, ip_reputation.verdicts, ip_reputation.incidents RESTART IDENTITY")
		w := &twin{}
		l.add(w.add(drawDecisions(t, "decisions"), drawChanges(t, "changes")))
		l.addIncidents(w.addIncidents(drawIncidents(t, "incidents")))
		p := history.Period{To: drawTime(t, "to").Add(time.Second)}
		if rapid.Bool().Draw(t, "a beginning") {
			if p.From = drawTime(t, "from"); !p.From.Before(p.To) {
				p.From = p.To.Add(-time.Minute)
			}
		}
		limit := rapid.SampledFrom([]int{1, 2, 3, 4, 5, 1000}).Draw(t, "limit")
		q := history.Query{Prefix: rapid.SampledFrom(twinQuestions).Draw(t, "prefix"), Period: p, Limit: limit}
		compareQuestions(t, l, w, q)
		compareRankings(t, l, w, p, limit)
	})
}

func compareQuestions(t *rapid.T, l *library, w *twin, q history.Query) {
	ctx := l.tb.Context()
	entries := pages(t, q.Limit, func(after string) ([]history.Entry, string, error) {
		q.After = after
		answer, err := l.Timeline(ctx, q)
		seen := w.seen(q.Prefix)
		if q.After != "" {
			seen = nil
		}
		same(t, "seen", seen, answer.Seen)
		same(t, "period", q.Period, answer.Period)
		return answer.Entries, answer.Next, err
	})
	same(t, "timeline", w.timeline(q.Prefix, q.Period), entries)

	changes := pages(t, q.Limit, func(after string) ([]string, string, error) {
		q.After = after
		answer, err := l.Changes(ctx, q)
		lines := make([]string, len(answer.Changes))
		for i, d := range answer.Changes {
			before := "none"
			if d.Before != nil {
				before = strconv.Itoa(int(*d.Before))
			}
			lines[i] = d.RequestID + " was " + before
		}
		return lines, answer.Next, err
	})
	same(t, "changes", w.changed(q.Prefix, q.Period), changes)

	n := rapid.IntRange(1, 7).Draw(t, "parts")
	graph, err := l.Graph(ctx, q, n)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "graph", w.graph(q.Prefix, q.Period, n), graph)
}

func compareRankings(t *rapid.T, l *library, w *twin, p history.Period, limit int) {
	ctx := l.tb.Context()
	r := history.Ranking{Period: p, Limit: limit}
	if p.From.IsZero() {
		p.From = p.To.Add(-24 * time.Hour)
	}
	for _, r.Networks = range []bool{false, true} {
		worst := pages(t, limit, func(after string) ([]history.Ranked, string, error) {
			r.After = after
			answer, err := l.Worst(ctx, r)
			same(t, "period", p, answer.Period)
			return answer.Worst, answer.Next, err
		})
		same(t, fmt.Sprint("worst, networks ", r.Networks), w.worst(p, r.Networks), worst)
	}
	rules := pages(t, limit, func(after string) ([]history.RuleStats, string, error) {
		r.After = after
		answer, err := l.Rules(ctx, r)
		return answer.Rules, answer.Next, err
	})
	same(t, "rules", w.rules(p), rules)
}

// TestReadWhileWritten stores rows between pages: whatever they are, what was there is told once and in order, and what
// happened later is not told.
func TestReadWhileWritten(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	rapid.Check(t, func(t *rapid.T) {
		l.exec("TRUNCATE ip_reputation.decisions, ip_reputation.verdicts, ip_reputation.incidents RESTART IDENTITY")
		w := &twin{}
		l.add(w.add(drawDecisions(t, "decisions"), drawChanges(t, "changes")))
		l.addIncidents(w.addIncidents(drawIncidents(t, "incidents")))
		q := history.Query{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Limit: rapid.IntRange(1, 5).Draw(t, "limit")}
		first := w.timeline(q.Prefix, p0(readNow))
		told := map[string]bool{}
		asked := 0
		l.clock.Store(0)
		previous := readNow
		entries := pages(t, q.Limit, func(after string) ([]history.Entry, string, error) {
			asked++
			l.clock.Store(int64(asked-1) * int64(time.Hour)) // the period stays what it was
			if asked > 1 && asked < 5 {
				l.add(w.add(drawDecisions(t, "more decisions"), drawChanges(t, "more changes")))
				l.addIncidents(w.addIncidents(drawIncidents(t, "more incidents")))
			}
			q.After = after
			answer, err := l.Timeline(l.tb.Context(), q)
			return answer.Entries, answer.Next, err
		})
		for _, e := range entries {
			if told[line(e)] {
				t.Fatalf("%s is told twice", line(e))
			}
			if told[line(e)] = true; e.At.After(previous) || !e.At.Before(readNow) {
				t.Fatalf("%s of %s is told after %s", line(e), e.At, previous)
			}
			previous = e.At
		}
		for _, e := range first {
			if !told[line(e)] {
				t.Fatalf("%s is not told", line(e))
			}
		}
	})
}

// TestReadOddClocks has decisions whose times are not in their minutes. All pages together are what one page has.
func TestReadOddClocks(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	rapid.Check(t, func(t *rapid.T) {
		l.exec("TRUNCATE ip_reputation.decisions, ip_reputation.verdicts, ip_reputation.incidents RESTART IDENTITY")
		w := &twin{}
		decisions, changes := w.add(drawDecisions(t, "decisions"), drawChanges(t, "changes"))
		for i := range decisions {
			decisions[i].Last = drawTime(t, "odd last")
		}
		w.decisions = decisions
		l.add(decisions, changes)
		incidents := w.addIncidents(drawIncidents(t, "incidents"))
		for i := range incidents {
			incidents[i].Last = drawTime(t, "odd last")
		}
		w.incidents = incidents
		l.addIncidents(incidents)
		q := history.Query{Prefix: rapid.SampledFrom(prefixes("203.0.113.7/32", "0.0.0.0/0", "::/0")).Draw(t, "prefix")}
		q.To = readNow.Add(time.Hour)
		ask := func(limit int) []string {
			q.Limit = limit
			return pages(t, limit, func(after string) ([]string, string, error) {
				q.After = after
				answer, err := l.Timeline(l.tb.Context(), q)
				lines := make([]string, len(answer.Entries))
				for i, e := range answer.Entries {
					lines[i] = line(e)
				}
				return lines, answer.Next, err
			})
		}
		want := ask(history.MaxLimit)
		if expected := len(w.timeline(q.Prefix, q.Period)); len(want) != expected {
			t.Fatalf("%d entries, not %d", len(want), expected)
		}
		same(t, "pages", want, ask(rapid.IntRange(1, 4).Draw(t, "limit")))
	})
}

func TestCauses(t *testing.T) {
	t.Parallel()
	before := []history.Evidence{{Source: "gone", Points: 6}, {Source: "up", Points: 10}, {Source: "same", Points: 5}, {Source: "aged", Points: 8}}
	after := []history.Evidence{{Source: "up", Points: 31}, {Source: "new", Points: 6}, {Source: "same", Points: 5.04}, {Source: "aged", Points: 7.9}}
	six, ten, eight, thirtyOne, seven := 6.0, 10.0, 8.0, 31.0, 7.9
	want := []history.Cause{
		{Source: "up", Before: &ten, After: &thirtyOne},
		{Source: "gone", Before: &six},
		{Source: "new", After: &six},
		{Source: "aged", Before: &eight, After: &seven},
	}
	if diff := gocmp.Diff(want, causesOf(before, after)); diff != "" {
		t.Error(diff)
	}
	if got := causesOf(after, after); got == nil || len(got) > 0 {
		t.Errorf("what is the same has causes: %v", got)
	}
}
