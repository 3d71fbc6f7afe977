package postgres

import (
	"encoding/json"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// rows are the rows of a batch, with values that the database accepts.
type rows struct {
	decisions []*history.Decision
	verdicts  []*history.Change
	evidence  [][]byte // of the verdicts, in JSON
	incidents []*history.Incident
	days      []time.Time
	values    []any // of the current row
}

var (
	decisionColumns = []string{
		"minute", "address", "host", "rule", "action", "mode", "count", "first_at", "last_at",
		"request_id", "score", "status", "config",
	}
	verdictColumns = []string{
		"at", "subject", "score", "status", "coverage", "categories", "country", "asn", "evidence",
		"request_id", "config",
	}
	incidentColumns = []string{
		"minute", "address", "host", "kind", "name", "count", "points", "seconds", "categories", "result",
		"first_at", "last_at", "request_id", "config",
	}
)

// len returns the number of rows: the decisions, then the verdicts, then the incidents.
func (r *rows) len() int { return len(r.decisions) + len(r.verdicts) + len(r.incidents) }

// entries returns the number of entries that the rows stand for.
func (r *rows) entries() int64 {
	n := int64(len(r.verdicts))
	for _, d := range r.decisions {
		n += d.Count
	}
	for _, i := range r.incidents {
		n += i.Count
	}
	return n
}

// halves returns the rows in two parts.
func (r *rows) halves() (first, second *rows) {
	middle := r.len() / 2
	d := min(middle, len(r.decisions))
	v := min(middle-d, len(r.verdicts))
	i := middle - d - v
	first = &rows{decisions: r.decisions[:d], verdicts: r.verdicts[:v], evidence: r.evidence[:v], incidents: r.incidents[:i]}
	second = &rows{decisions: r.decisions[d:], verdicts: r.verdicts[v:], evidence: r.evidence[v:], incidents: r.incidents[i:]}
	first.days, second.days = r.days, r.days
	return first, second
}

// rowsOf returns the rows of a batch, and the result if they are stored.
func (db *DB) rowsOf(batch *history.Batch) (*rows, history.Stored) {
	r := &rows{decisions: make([]*history.Decision, 0, len(batch.Decisions))}
	var stored history.Stored
	days, now := make(map[time.Time]bool), db.now()
	accept := func(at time.Time, prefix netip.Prefix, entries int64) bool {
		d := dayOf(at)
		if !prefix.IsValid() || db.expired(d, now) || at.After(now.Add(maxAhead)) {
			stored.Expired += entries
			return false
		}
		if !days[d] {
			days[d] = true
			r.days = append(r.days, d)
		}
		stored.Entries += entries
		return true
	}
	for i := range batch.Decisions {
		if d := &batch.Decisions[i]; accept(d.Minute, d.Address, d.Count) {
			r.decisions = append(r.decisions, d)
		}
	}
	for i := range batch.Changes {
		c := &batch.Changes[i]
		if !accept(c.At, c.Subject, 1) {
			continue
		}
		evidence, err := encode(c.Evidence)
		if err != nil { // unreachable: every value is clean
			stored.Entries--
			stored.Rejected++
			continue
		}
		r.verdicts, r.evidence = append(r.verdicts, c), append(r.evidence, evidence)
	}
	for n := range batch.Incidents {
		if i := &batch.Incidents[n]; accept(i.Minute, i.Address, i.Count) {
			r.incidents = append(r.incidents, i)
		}
	}
	return r, stored
}

// yieldAfter is after how many rows requests go first, where there is one processor for all.
const yieldAfter = 64

// decision returns the values of decisionColumns. They are valid until the next call.
func (r *rows) decision(i int) ([]any, error) {
	if i%yieldAfter == yieldAfter-1 {
		runtime.Gosched()
	}
	d := r.decisions[i]
	var score any
	if d.Score != nil {
		score = int16(*d.Score)
	}
	r.values = append(r.values[:0], d.Minute, d.Address, text(d.Host), text(d.Rule), text(d.Action), text(d.Mode),
		d.Count, plausible(d.First, d.Minute), plausible(d.Last, d.Minute),
		text(d.RequestID), score, text(d.Status), text(d.Config))
	return r.values, nil
}

// verdict returns the values of verdictColumns. They are valid until the next call.
func (r *rows) verdict(i int) ([]any, error) {
	c := r.verdicts[i]
	r.values = append(r.values[:0], c.At, c.Subject, int16(c.Score), text(c.Status),
		float32(history.Finite(c.Coverage)), texts(c.Categories), text(c.Country), int64(c.ASN), r.evidence[i],
		text(c.RequestID), text(c.Config))
	return r.values, nil
}

// incident returns the values of incidentColumns. They are valid until the next call.
func (r *rows) incident(n int) ([]any, error) {
	i := r.incidents[n]
	r.values = append(r.values[:0], i.Minute, i.Address, text(i.Host), text(i.Kind), text(i.Name), i.Count,
		float32(min(history.Finite(i.Points), math.MaxFloat32)), i.Seconds, texts(i.Categories), text(i.Result),
		plausible(i.First, i.Minute), plausible(i.Last, i.Minute), text(i.RequestID), text(i.Config))
	return r.values, nil
}

// plausible returns t or, if t is more than a day away from the minute, the minute: a clock was
// wrong.
func plausible(t, minute time.Time) time.Time {
	if t.Sub(minute).Abs() > day {
		return minute
	}
	return t
}

// text returns s as valid UTF-8 without zero bytes, which a visitor can send in a Host header.
func text(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// texts applies text to a list. It never returns nil, which would be NULL.
func texts(list []string) []string {
	clean := make([]string, len(list))
	for i, s := range list {
		clean[i] = text(s)
	}
	return clean
}

// encode returns evidence as JSON that the database accepts.
func encode(list []history.Evidence) ([]byte, error) {
	clean := slices.Clone(list)
	for i := range clean {
		e := &clean[i]
		e.Source, e.Points = text(e.Source), history.Finite(e.Points)
		e.Severity, e.Confidence = history.Finite(e.Severity), history.Finite(e.Confidence)
		if e.Categories != nil {
			e.Categories = texts(e.Categories)
		}
	}
	if clean == nil {
		clean = []history.Evidence{}
	}
	return json.Marshal(clean)
}
