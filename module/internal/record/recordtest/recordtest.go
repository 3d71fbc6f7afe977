// Package recordtest is what every memory of records promises, as a test suite: that of one process, and the one that
// instances share.
package recordtest

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Memory is what is common to all memories.
type Memory interface {
	// Keep remembers what a source said of a subject, unless something newer is remembered.
	Keep(tb testing.TB, key record.Key, source string, r reputation.Report, fetched, due time.Time)
	// Recall returns what is remembered of a subject.
	Recall(tb testing.TB, key record.Key, sources []string) record.Record
	// Forget drops what is remembered of a subject, and reports whether there was anything.
	Forget(tb testing.TB, key record.Key) bool
}

// Sources are the sources that the suite plays. A memory must have room for as many.
var Sources = []string{"abuseipdb", "crowdsec", "dronebl"}

// Run runs the suite on an empty memory.
func Run(t *testing.T, m Memory) {
	t.Run("what was kept is recalled", func(t *testing.T) { recalls(t, m) })
	t.Run("subjects are apart", func(t *testing.T) { apart(t, m) })
	t.Run("as if written down", func(t *testing.T) { rapid.Check(t, func(rt *rapid.T) { asIfWrittenDown(t, rt, m) }) })
}

var now = time.Now().Truncate(time.Second)

func key(addr string) record.Key { return record.KeyOf(netip.MustParseAddr(addr)) }

// report has something in every field that is remembered.
func report(severity float64) reputation.Report {
	return reputation.Report{
		Severity: severity, Confidence: .75, Categories: reputation.CategoriesOf(reputation.Scanner, reputation.Spam),
		Facts: reputation.Facts{
			Country: "NL", ASN: 64500,
			Nature: reputation.Nature{}.With(reputation.NatureHosting, true).With(reputation.NatureTor, false),
		},
		LastSeen: now.Add(-50 * time.Hour),
	}
}

func recalls(t *testing.T, m Memory) {
	k := key("203.0.113.1")
	if rec := m.Recall(t, k, Sources); rec != (record.Record{}) {
		t.Errorf("of a subject that nobody spoke of it recalls %+v", rec)
	}
	if m.Forget(t, k) {
		t.Error("it forgets what it did not know")
	}
	m.Keep(t, k, Sources[0], report(1), now, now.Add(time.Hour))
	m.Keep(t, k, Sources[1], report(-1), now.Add(-time.Minute), now.Add(time.Hour))
	var want record.Record
	want.Learn(record.Pack(record.IDOf(Sources[0]), report(1), now, now.Add(time.Hour)), report(1).Facts)
	want.Learn(record.Pack(record.IDOf(Sources[1]), report(-1), now.Add(-time.Minute), now.Add(time.Hour)), report(-1).Facts)
	if diff := cmp.Diff(want, m.Recall(t, k, Sources), cmp.AllowUnexported(reputation.Nature{})); diff != "" {
		t.Errorf("recalled (-want +got):\n%s", diff)
	}
	m.Keep(t, k, Sources[0], report(0), now.Add(-time.Second), now.Add(2*time.Hour))
	if a := answer(m.Recall(t, k, Sources), Sources[0]); a.Severity != 100 {
		t.Errorf("something older took the place: %+v", a)
	}
	m.Keep(t, k, Sources[0], report(0), now.Add(time.Second), now.Add(2*time.Hour))
	rec := m.Recall(t, k, Sources)
	if a := answer(rec, Sources[0]); a.Severity != 0 || a.Fetched != record.Seconds(now.Add(time.Second)) {
		t.Errorf("something newer did not take the place: %+v", a)
	}
	if a := answer(rec, Sources[1]); a.Severity != -100 {
		t.Errorf("another source was touched: %+v", a)
	}
	if !m.Forget(t, k) || m.Recall(t, k, Sources) != (record.Record{}) {
		t.Error("it does not forget")
	}
}

func apart(t *testing.T, m Memory) {
	keys := []record.Key{key("203.0.113.2"), key("203.0.113.3"), key("2001:db8:1:2::"), key("2001:db8:1:3::")}
	for i, k := range keys {
		m.Keep(t, k, Sources[0], report(float64(i)/10), now, now.Add(time.Hour))
	}
	for i, k := range keys {
		if a := answer(m.Recall(t, k, Sources), Sources[0]); a.Severity != int8(10*i) {
			t.Errorf("subject %d has the severity %d", i, a.Severity)
		}
		m.Forget(t, k)
	}
	if k := key("2001:db8:1:2:ffff::1"); k != keys[2] {
		t.Error("two addresses of a /64 are two subjects")
	}
}

// asIfWrittenDown compares the memory with a list of all that was said, of which the newest counts.
func asIfWrittenDown(tb testing.TB, t *rapid.T, m Memory) {
	type said struct {
		source   string
		severity int
		at       int
	}
	k := key("203.0.113.4")
	m.Forget(tb, k)
	var all []said
	for range rapid.IntRange(1, 20).Draw(t, "times") {
		s := said{
			source:   rapid.SampledFrom(Sources).Draw(t, "source"),
			severity: rapid.IntRange(-100, 100).Draw(t, "severity"),
			at:       rapid.IntRange(1, 1000).Draw(t, "at"),
		}
		if slices.ContainsFunc(all, func(o said) bool { return o.source == s.source && o.at == s.at }) {
			continue // which of two that were said at once counts is not promised
		}
		all = append(all, s)
		at := now.Add(time.Duration(s.at) * time.Second)
		m.Keep(tb, k, s.source, reputation.Report{Severity: float64(s.severity) / 100}, at, at.Add(time.Hour))
	}
	rec := m.Recall(tb, k, Sources)
	for _, source := range Sources {
		var newest said
		for _, s := range all {
			if s.source == source && s.at > newest.at {
				newest = s
			}
		}
		a := answer(rec, source)
		if newest.at == 0 {
			if a.Answered() {
				t.Fatalf("%s said nothing, and is recalled as %+v", source, a)
			}
			continue
		}
		if int(a.Severity) != newest.severity || a.Fetched != record.Seconds(now.Add(time.Duration(newest.at)*time.Second)) {
			t.Fatalf("of %v, %s is recalled as %+v", all, source, a)
		}
	}
}

func answer(rec record.Record, source string) record.Answer {
	if a := rec.Find(record.IDOf(source)); a != nil {
		return *a
	}
	return record.Answer{}
}
