package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// Timeline implements history.Reader. Entries are sorted by minute, then by time, the latest first.
// At equal times, decisions come before verdicts, and these before incidents.
func (r *reader) Timeline(ctx context.Context, asked history.Query) (history.Timeline, error) {
	q, err := r.prefixQuery(kindTimeline, asked)
	if err != nil {
		return history.Timeline{}, err
	}
	t := history.Timeline{Prefix: q.prefix, Period: q.period}
	var entries []positioned
	err = r.read(ctx, "the timeline of "+q.prefix.String(), func(a *readTx) error {
		if entries, err = a.entries(&q); err != nil || asked.After != "" {
			return err
		}
		if t.Together, err = a.together(&q); err != nil {
			return err
		}
		t.Seen, err = a.seen(&q)
		if err != nil && errors.Is(readError(err), history.ErrSlow) { // it counts the whole retention, not the period
			t.Warning, err = "when it was first and last seen is left out: that takes the database too long", nil
		}
		return err
	})
	if err != nil {
		return history.Timeline{}, err
	}
	entries, t.Next = page(entries, q.limit, func(last positioned) cursor { return q.cursorAfter(last.position) })
	t.Entries = make([]history.Entry, len(entries))
	for i := range entries {
		t.Entries[i] = entries[i].Entry
	}
	return t, nil
}

// The kinds of entries, in their order at equal times.
type entryKind uint8

const (
	ofDecision entryKind = iota
	ofVerdict
	ofIncident
)

// position is where an entry is in a timeline.
type position struct {
	minute, at time.Time
	kind       entryKind
	id         int64
}

// before reports whether p comes before o, that is, whether p is later.
func (p position) before(o position) bool {
	switch {
	case !p.minute.Equal(o.minute):
		return p.minute.After(o.minute)
	case !p.at.Equal(o.at):
		return p.at.After(o.at)
	case p.kind != o.kind:
		return p.kind < o.kind
	default:
		return p.id > o.id
	}
}

// positioned is an entry and its position.
type positioned struct {
	history.Entry
	position
}

// merge merges two sorted lists.
func merge(a, b []positioned) []positioned {
	all := make([]positioned, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].before(b[0].position) {
			all, a = append(all, a[0]), a[1:]
		} else {
			all, b = append(all, b[0]), b[1:]
		}
	}
	return append(append(all, a...), b...)
}

// position returns where the previous page ended. The first page begins at the end of the period,
// where no entry can be.
func (q *query) position() position {
	if q.after == nil {
		return position{minute: q.period.To, at: q.period.To}
	}
	return position{micro(q.after.Minute), micro(q.after.At), q.after.kind(), q.after.ID}
}

// cursorAfter returns the cursor of the page after p.
func (q *query) cursorAfter(p position) cursor {
	c := q.cursor()
	c.Minute, c.At, c.ID = p.minute.UnixMicro(), p.at.UnixMicro(), p.id
	c.Verdict, c.Incident = p.kind == ofVerdict, p.kind == ofIncident
	return c
}

// below returns the upper bound, excluded, for the key of the entries of a kind after p. A verdict's time is
// always within its minute. A position whose time is not (another entry with a wrong clock) is moved to the
// edge of its minute.
func (p position) below(kind entryKind) position {
	switch end := p.minute.Add(time.Minute); {
	case kind == p.kind:
		return p
	case kind == ofVerdict && p.at.Before(p.minute):
		p.at, p.id = p.minute, 0
	case kind == ofVerdict && !p.at.Before(end):
		p.at, p.id = end, 0
	case kind < p.kind:
		p.id = 0 // those of the same time came before
	default:
		p.id = math.MaxInt64 // those of the same time come after
	}
	return p
}

// entries returns the entries of a page, and at least one more if there is one.
func (a *readTx) entries(q *query) ([]positioned, error) {
	var all []positioned
	from := q.position()
	for _, s := range q.spans(from) {
		decisions, err := a.decisions(q, from, s)
		if err != nil {
			return nil, err
		}
		verdicts, err := a.verdicts(q, from, s)
		if err != nil {
			return nil, err
		}
		incidents, err := a.incidents(q, from, s)
		if err != nil {
			return nil, err
		}
		if all = append(all, merge(merge(decisions, verdicts), incidents)...); len(all) > q.limit {
			break
		}
	}
	return all, nil
}

// span is a part of the period, in whole minutes.
type span struct{ first, until time.Time }

// spans divides the period from a position on, the latest part first. For one address, the index
// has the rows in the order of a timeline. For a network, all rows must be read and sorted. So the
// first span is one day, and each further one, read only if the page is not full, is four times as long.
func (q *query) spans(from position) []span {
	var all []span
	s := span{q.period.From.Truncate(time.Minute), q.period.To}
	if !q.prefix.IsSingleIP() {
		begin := dayOf(from.minute)
		for days := time.Duration(3); len(all) < 3 && begin.After(s.first); days *= 4 {
			all = append(all, span{begin, s.until})
			s.until, begin = begin, begin.Add(-days*day)
		}
	}
	return append(all, s)
}

// statement returns the one for the query's prefix: an index has the rows of one address in the order of a timeline.
func (q *query) statement(ofAddress, ofNetwork string) string {
	if q.prefix.IsSingleIP() {
		return ofAddress
	}
	return ofNetwork
}

// rowsOf returns the arguments of a statement for the rows of a span below a bound.
func (q *query) rowsOf(s span, bound position) pgx.NamedArgs {
	args := q.args()
	args["first"], args["until"] = s.first, s.until
	args["minute"], args["at"], args["id"] = bound.minute, bound.at, bound.id
	args["limit"] = q.limit + 1
	return args
}

// The key of decisions is (minute, last_at, id). The index on (address, minute) has the rows of an
// address in that order, except within a minute, and partitions are in that order, too. A page
// about one address thus reads little more than its own rows. `minute <= @minute` is redundant, but
// lets the planner exclude partitions.
const (
	decisionsBelow = decisionsInTime + `
	AND minute <= @minute
	AND (minute, last_at, id) < (@minute, @at, @id)
ORDER BY minute DESC, last_at DESC, id DESC
LIMIT @limit`

	selectDecisions = `
SELECT minute, address, host, rule, action, mode, count, first_at, last_at, request_id, score, status, config, id
FROM ip_reputation.decisions`

	decisionsOfAddress = selectDecisions + `
WHERE address = @low AND` + decisionsBelow

	decisionsOfNetwork = selectDecisions + `
WHERE address >= @low AND address <= @high AND` + decisionsBelow
)

func (a *readTx) decisions(q *query, from position, s span) ([]positioned, error) {
	statement := q.statement(decisionsOfAddress, decisionsOfNetwork)
	return selectRows(a, statement, q.rowsOf(s, from.below(ofDecision)), func(row pgx.CollectableRow) (positioned, error) {
		d, id, err := scanDecision(row)
		return positioned{history.Entry{At: d.Last, Decision: &d}, position{minute: d.Minute, at: d.Last, id: id}}, err
	})
}

// scanDecision reads a row of selectDecisions.
func scanDecision(row pgx.CollectableRow) (d history.Decision, id int64, err error) {
	err = row.Scan(&d.Minute, &d.Address, &d.Host, &d.Rule, &d.Action, &d.Mode, &d.Count, &d.First, &d.Last,
		&d.RequestID, &d.Score, &d.Status, &d.Config, &id)
	d.Minute, d.First, d.Last = d.Minute.UTC(), d.First.UTC(), d.Last.UTC()
	return d, id, err
}

// Coverage is stored in 32 bits. The cast to numeric makes it 0.8 instead of 0.800000011920929.
const changeColumns = `v.at, v.subject, v.score, v.status, v.coverage::numeric::float8, v.categories, v.country, v.asn,
	v.evidence,
	v.request_id, v.config, v.id`

const verdictsBelow = verdictsInTime + `
	AND at <= @at
	AND (at, id) < (@at, @id)
ORDER BY at DESC, id DESC
LIMIT @limit`

const (
	verdictsOfSubject = `
SELECT ` + changeColumns + `
FROM ip_reputation.verdicts v
WHERE subject = @low AND` + verdictsBelow

	verdictsOfNetwork = `
SELECT ` + changeColumns + `
FROM ip_reputation.verdicts v
WHERE subject >= @low AND subject <= @high AND` + verdictsBelow
)

func (a *readTx) verdicts(q *query, from position, s span) ([]positioned, error) {
	statement := q.statement(verdictsOfSubject, verdictsOfNetwork)
	return selectRows(a, statement, q.rowsOf(s, from.below(ofVerdict)), func(row pgx.CollectableRow) (positioned, error) {
		var c history.Change
		var id int64
		err := row.Scan(changeFields(&c, &id)...)
		normalize(&c)
		p := position{minute: c.At.Truncate(time.Minute), at: c.At, kind: ofVerdict, id: id}
		return positioned{history.Entry{At: c.At, Verdict: &c}, p}, err
	})
}

// changeFields returns the destinations for changeColumns.
func changeFields(c *history.Change, id *int64) []any {
	return []any{
		&c.At, &c.Subject, &c.Score, &c.Status, &c.Coverage, &c.Categories, &c.Country, &c.ASN, &c.Evidence,
		&c.RequestID, &c.Config, id,
	}
}

// normalize brings a scanned change into the form of a Reader's answer: in UTC, without the
// sources' reports.
func normalize(c *history.Change) {
	for i := range c.Evidence {
		c.Evidence[i].Severity, c.Evidence[i].Confidence = 0, 0
	}
	c.At = c.At.UTC()
	if len(c.Categories) == 0 {
		c.Categories = nil
	}
	if c.Evidence == nil {
		c.Evidence = []history.Evidence{}
	}
}

const selectSeen = `
SELECT action, sum(count)::bigint, min(first_at), max(last_at)
FROM ip_reputation.decisions
WHERE address >= @low AND address <= @high
GROUP BY action`

// seen summarizes all stored requests of the prefix; nil: none. For a large network, that takes
// longer than the page.
func (a *readTx) seen(q *query) (*history.Seen, error) {
	var s history.Seen
	_, err := selectRows(a, selectSeen, q.args(), func(row pgx.CollectableRow) (struct{}, error) {
		var action string
		var requests int64
		var first, last time.Time
		if err := row.Scan(&action, &requests, &first, &last); err != nil {
			return struct{}{}, fmt.Errorf("when it was seen: %w", err)
		}
		if s.Actions == nil {
			s = history.Seen{First: first.UTC(), Last: last.UTC(), Actions: map[string]int64{}}
		}
		if first.Before(s.First) {
			s.First = first.UTC()
		}
		if last.After(s.Last) {
			s.Last = last.UTC()
		}
		s.Requests += requests
		s.Actions[action] += requests
		return struct{}{}, nil
	})
	if err != nil || s.Actions == nil {
		return nil, err
	}
	return &s, nil
}
