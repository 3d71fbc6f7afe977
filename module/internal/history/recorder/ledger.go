package recorder

import (
	"iter"
	"runtime"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// ledger is the window that is being filled, which knows what of it is not in the journal yet.
type ledger struct {
	window
	marks        []mark // by decision
	dirty        []int32
	savedChanges int
	saved        int64 // entries in the journal

	savedIncidents []int64 // by row: how many of them are in the journal; rows beyond its end are not
}

// mark is what is not in the journal of a decision, and whom the decision is about.
type mark struct {
	count  int64
	line   bool // the journal lacks the line that the counts refer to
	folded bool // the row speaks for several subjects; not a matter of the journal
}

func (l *ledger) unsaved() int64 { return l.entries - l.saved }

// open adds a row, which has no requests yet. None with the same key may be there.
func (l *ledger) open(d *history.Decision) int32 {
	l.marks = append(l.marks, mark{line: true})
	return l.insert(d)
}

// sighted adds a request to a row that is open, without counting it. If it is the first, its ID is
// that of the row.
func (l *ledger) sighted(n int32, d *history.Decision) {
	if row := &l.decisions[n]; d.First.Before(row.First) {
		row.First, row.RequestID = d.First, d.RequestID
		l.marks[n].line = true
	}
}

// count adds requests to a row.
func (l *ledger) count(n int32, d *delta) {
	row := &l.decisions[n]
	row.Count += int64(d.count)
	if last := time.Unix(0, d.last).UTC(); !last.Before(row.Last) {
		row.Last, row.Status = last, d.status.String()
	}
	if d.scored && (row.Score == nil || d.top > *row.Score) {
		row.Score = new(d.top)
	}
	l.entries += int64(d.count)
	if l.marks[n].count == 0 {
		l.dirty = append(l.dirty, n)
	}
	l.marks[n].count += int64(d.count)
}

// yieldAfter is after how many rows the collector lets requests go first.
const yieldAfter = 64

// appendUnsaved appends the lines that the journal lacks.
func (l *ledger) appendUnsaved(b []byte) []byte {
	for i, n := range l.dirty {
		b = l.appendRow(b, n)
		if i%yieldAfter == yieldAfter-1 {
			runtime.Gosched()
		}
	}
	for i := l.savedChanges; i < len(l.changes); i++ {
		b = appendLine(b, line{Change: &l.changes[i]})
	}
	for i := range l.unsavedIncidents() {
		b = appendLine(b, line{Incident: i})
	}
	return b
}

func (l *ledger) appendRow(b []byte, n int32) []byte {
	d, m := &l.decisions[n], l.marks[n]
	if !m.line {
		return appendAgain(b, &again{n, m.count, d.Last, d.Status, d.Score})
	}
	part := *d
	part.Count = m.count
	return appendDecision(b, &part, n)
}

// unsavedIncidents returns the parts of rows that the journal lacks.
func (l *ledger) unsavedIncidents() iter.Seq[*history.Incident] {
	return func(yield func(*history.Incident) bool) {
		for n := range l.incidents {
			count := l.incidents[n].Count
			if n < len(l.savedIncidents) {
				count -= l.savedIncidents[n]
			}
			if count == 0 {
				continue
			}
			part := l.incidents[n]
			part.Count = count
			if !yield(&part) {
				return
			}
		}
	}
}

// setSaved marks everything as being in the journal.
func (l *ledger) setSaved() {
	for _, n := range l.dirty {
		l.marks[n].count, l.marks[n].line = 0, false
	}
	l.dirty = l.dirty[:0]
	l.savedIncidents = l.savedIncidents[:0]
	for i := range l.incidents {
		l.savedIncidents = append(l.savedIncidents, l.incidents[i].Count)
	}
	l.savedChanges, l.saved = len(l.changes), l.entries
}

// setUnsaved marks everything as not being in the journal.
func (l *ledger) setUnsaved() {
	l.dirty = l.dirty[:0]
	for n := range l.marks {
		l.marks[n].count, l.marks[n].line = l.decisions[n].Count, true
		l.dirty = append(l.dirty, int32(n))
	}
	l.savedIncidents = l.savedIncidents[:0]
	l.savedChanges, l.saved = 0, 0
}

// rest returns a ledger of what is not in the journal.
func (l *ledger) rest() ledger {
	var r ledger
	for _, n := range l.dirty {
		d := l.decisions[n]
		d.Count = l.marks[n].count
		r.open(&d)
		r.entries += d.Count
	}
	for i := l.savedChanges; i < len(l.changes); i++ {
		r.change(&l.changes[i])
	}
	for i := range l.unsavedIncidents() {
		r.addIncident(i)
	}
	r.setUnsaved()
	return r
}
