// Package recordtest is a conformance suite for caches of records: the one of a process, and the one that instances
// share.
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

// Cache is what all caches have in common.
type Cache interface {
	// Put stores the report of a source about a subject, unless a newer one is stored.
	Put(tb testing.TB, key record.Key, source string, r reputation.Report, fetched, due time.Time)
	// Get returns the record of a subject. It is empty if none is stored.
	Get(tb testing.TB, key record.Key, sources []string) record.Record
	// Delete removes the record of a subject, and reports whether there was one.
	Delete(tb testing.TB, key record.Key) bool
}

// Sources are the sources that the suite uses. A cache must have room for all of them.
var Sources = []string{"abuseipdb", "crowdsec", "dronebl"}

// Run runs the suite on an empty cache.
func Run(t *testing.T, c Cache) {
	t.Run("what was put is returned", func(t *testing.T) { returnsWhatWasPut(t, c) })
	t.Run("subjects are apart", func(t *testing.T) { separatesSubjects(t, c) })
	t.Run("like a slow twin", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) { agreesWithTwin(t, rt, c) })
	})
}

var now = time.Now().Truncate(time.Second)

func key(addr string) record.Key { return record.KeyOf(netip.MustParseAddr(addr)) }

// report has a value in every field that is stored.
func report(severity float64) reputation.Report {
	return reputation.Report{
		Severity: severity, Confidence: .75, Categories: reputation.CategoriesOf(reputation.Scanner,
			reputation.Spam),
		Facts: reputation.Facts{
			Country: "NL", ASN: 64500,
			Nature: reputation.Nature{}.With(reputation.NatureHosting, true).With(reputation.NatureTor, false),
		},
		LastSeen: now.Add(-50 * time.Hour),
	}
}

func returnsWhatWasPut(t *testing.T, c Cache) {
	k := key("203.0.113.1")
	if rec := c.Get(t, k, Sources); rec != (record.Record{}) {
		t.Errorf("an empty cache returns %+v", rec)
	}
	if c.Delete(t, k) {
		t.Error("it deletes a record that it does not have")
	}
	c.Put(t, k, Sources[0], report(1), now, now.Add(time.Hour))
	c.Put(t, k, Sources[1], report(-1), now.Add(-time.Minute), now.Add(time.Hour))
	var want record.Record
	want.Learn(record.Pack(record.IDOf(Sources[0]), report(1), now, now.Add(time.Hour)), report(1).Facts)
	want.Learn(record.Pack(record.IDOf(Sources[1]), report(-1), now.Add(-time.Minute),
		now.Add(time.Hour)), report(-1).Facts)
	if diff := cmp.Diff(want, c.Get(t, k, Sources), cmp.AllowUnexported(reputation.Nature{})); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
	c.Put(t, k, Sources[0], report(0), now.Add(-time.Second), now.Add(2*time.Hour))
	if a := answer(c.Get(t, k, Sources), Sources[0]); a.Severity != 100 {
		t.Errorf("an older report replaced a newer one: %+v", a)
	}
	c.Put(t, k, Sources[0], report(0), now.Add(time.Second), now.Add(2*time.Hour))
	rec := c.Get(t, k, Sources)
	if a := answer(rec, Sources[0]); a.Severity != 0 || a.Fetched != record.Seconds(now.Add(time.Second)) {
		t.Errorf("a newer report did not replace an older one: %+v", a)
	}
	if a := answer(rec, Sources[1]); a.Severity != -100 {
		t.Errorf("the report of another source changed: %+v", a)
	}
	if !c.Delete(t, k) || c.Get(t, k, Sources) != (record.Record{}) {
		t.Error("it does not delete")
	}
}

func separatesSubjects(t *testing.T, c Cache) {
	keys := []record.Key{key("203.0.113.2"), key("203.0.113.3"), key("2001:db8:1:2::"), key("2001:db8:1:3::")}
	for i, k := range keys {
		c.Put(t, k, Sources[0], report(float64(i)/10), now, now.Add(time.Hour))
	}
	for i, k := range keys {
		if a := answer(c.Get(t, k, Sources), Sources[0]); a.Severity != int8(10*i) {
			t.Errorf("subject %d has the severity %d", i, a.Severity)
		}
		c.Delete(t, k)
	}
	if k := key("2001:db8:1:2:ffff::1"); k != keys[2] {
		t.Error("two addresses of a /64 are two subjects")
	}
}

// agreesWithTwin compares the cache with a list of all reports, of which the newest counts.
func agreesWithTwin(tb testing.TB, t *rapid.T, c Cache) {
	type put struct {
		source   string
		severity int
		at       int
	}
	k := key("203.0.113.4")
	c.Delete(tb, k)
	var all []put
	for range rapid.IntRange(1, 20).Draw(t, "times") {
		s := put{
			source:   rapid.SampledFrom(Sources).Draw(t, "source"),
			severity: rapid.IntRange(-100, 100).Draw(t, "severity"),
			at:       rapid.IntRange(1, 1000).Draw(t, "at"), // none in the future, which is not believed
		}
		if slices.ContainsFunc(all, func(o put) bool { return o.source == s.source && o.at == s.at }) {
			continue // of two reports with the same time, either may count
		}
		all = append(all, s)
		at := now.Add(time.Duration(s.at-1000) * time.Second)
		c.Put(tb, k, s.source, reputation.Report{Severity: float64(s.severity) / 100}, at, at.Add(time.Hour))
	}
	rec := c.Get(tb, k, Sources)
	for _, source := range Sources {
		var newest put
		for _, s := range all {
			if s.source == source && s.at > newest.at {
				newest = s
			}
		}
		a := answer(rec, source)
		if newest.at == 0 {
			if a.Answered() {
				t.Fatalf("%s has no report, but the answer %+v", source, a)
			}
			continue
		}
		if int(a.Severity) != newest.severity ||
			a.Fetched != record.Seconds(now.Add(time.Duration(newest.at-1000)*time.Second)) {
			t.Fatalf("after %v, %s has the answer %+v", all, source, a)
		}
	}
}

func answer(rec record.Record, source string) record.Answer {
	if a := rec.Find(record.IDOf(source)); a != nil {
		return *a
	}
	return record.Answer{}
}
