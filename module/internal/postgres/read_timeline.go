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

// Timeline implements history.Reader. The latest is first by minute, then by the time of the entry; of one time, decisions
// come before what they were made of.
func (r *reader) Timeline(ctx context.Context, asked history.Query) (history.Timeline, error) {
	q, err := r.about(ofTimeline, asked)
	if err != nil {
		return history.Timeline{}, err
	}
	t := history.Timeline{Prefix: q.prefix, Period: q.period}
	var entries []placed
	err = r.ask(ctx, "the timeline of "+q.prefix.String(), func(a *inquiry) error {
		if entries, err = a.entries(&q); err != nil || asked.After != "" {
			return err
		}
		t.Seen, err = a.seen(&q)
		if err != nil && errors.Is(readError(err), history.ErrSlow) { // it counts all that is kept, whatever the period
			t.Warning, err = "when it was first and last seen is left out: that takes the database too long", nil
		}
		return err
	})
	if err != nil {
		return history.Timeline{}, err
	}
	entries, t.Next = page(entries, q.limit, func(last placed) cursor { return q.following(last.place) })
	t.Entries = make([]history.Entry, len(entries))
	for i := range entries {
		t.Entries[i] = entries[i].Entry
	}
	return t, nil
}

// place is where an entry is in a timeline.
type place struct {
	minute, at time.Time
	verdict    bool
	id         int64
}

// before tells whether p is shown before o: whether it is the later one.
func (p place) before(o place) bool {
	switch {
	case !p.minute.Equal(o.minute):
		return p.minute.After(o.minute)
	case !p.at.Equal(o.at):
		return p.at.After(o.at)
	case p.verdict != o.verdict:
		return !p.verdict
	default:
		return p.id > o.id
	}
}

// placed is an entry and its place.
type placed struct {
	history.Entry
	place
}

// merge returns both, each of which is in order, in order.
func merge(a, b []placed) []placed {
	all := make([]placed, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].before(b[0].place) {
			all, a = append(all, a[0]), a[1:]
		} else {
			all, b = append(all, b[0]), b[1:]
		}
	}
	return append(append(all, a...), b...)
}

// place returns where the page before ended. The first page follows what is at the end of the time, which no entry is.
func (q *question) place() place {
	if q.after == nil {
		return place{minute: q.period.To, at: q.period.To}
	}
	return place{micro(q.after.Minute), micro(q.after.At), q.after.Verdict, q.after.ID}
}

// following returns the cursor of the page after p.
func (q *question) following(p place) cursor {
	c := q.cursor()
	c.Minute, c.At, c.Verdict, c.ID = p.minute.UnixMicro(), p.at.UnixMicro(), p.verdict, p.id
	return c
}

// decision returns what the key of decisions after p is below.
func (p place) decision() (minute, at time.Time, id int64) {
	if p.verdict {
		return p.minute, p.at, 0 // those of the same time were before
	}
	return p.minute, p.at, p.id
}

// change returns what the key of verdicts after p is below. Their minute is that of their time, so a place that is not
// within its minute (a decision whose clock went wrong) is at its edge for them.
func (p place) change() (at time.Time, id int64) {
	switch end := p.minute.Add(time.Minute); {
	case p.verdict:
		return p.at, p.id
	case p.at.Before(p.minute):
		return p.minute, 0
	case !p.at.Before(end):
		return end, 0
	default:
		return p.at, math.MaxInt64
	}
}

// entries returns those of a page, and at least one more if there is one.
func (a *inquiry) entries(q *question) ([]placed, error) {
	var all []placed
	from := q.place()
	for _, s := range q.spans(from) {
		decisions, err := a.decisions(q, from, s)
		if err != nil {
			return nil, err
		}
		verdicts, err := a.verdicts(q, from, s)
		if err != nil {
			return nil, err
		}
		if all = append(all, merge(decisions, verdicts)...); len(all) > q.limit {
			break
		}
	}
	return all, nil
}

// span is a part of the time that is looked at, by whole minutes.
type span struct{ first, until time.Time }

// spans returns the parts of the time from the place on, the latest first. The index has the rows of one address in the order
// of a timeline, but those of a network must all be read and sorted: that is done for the last day, and only if there is not
// enough for more, each time for four times as much.
func (q *question) spans(from place) []span {
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

// The key of decisions is (minute, last_at, id): the index on (address, minute) has the rows of an address in that order but
// for what is in one minute, and partitions follow each other in it, so that a page about one address reads little more than
// itself. That minute is not above @minute follows from the next line; it is what partitions are left out by.
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

func (a *inquiry) decisions(q *question, from place, s span) ([]placed, error) {
	args := q.args()
	args["first"], args["until"] = s.first, s.until
	args["minute"], args["at"], args["id"] = from.decision()
	args["limit"] = q.limit + 1
	statement := decisionsOfNetwork
	if q.prefix.IsSingleIP() {
		statement = decisionsOfAddress
	}
	return answers(a, statement, args, func(row pgx.CollectableRow) (placed, error) {
		var d history.Decision
		var id int64
		err := row.Scan(&d.Minute, &d.Address, &d.Host, &d.Rule, &d.Action, &d.Mode, &d.Count, &d.First, &d.Last, &d.RequestID,
			&d.Score, &d.Status, &d.Config, &id)
		d.Minute, d.First, d.Last = d.Minute.UTC(), d.First.UTC(), d.Last.UTC()
		return placed{history.Entry{At: d.Last, Decision: &d}, place{minute: d.Minute, at: d.Last, id: id}}, err
	})
}

// Numeric, because coverage is kept in 32 bits: 0.8 is not to be 0.800000011920929.
const changeColumns = `v.at, v.subject, v.score, v.status, v.coverage::numeric::float8, v.categories, v.country, v.asn, v.evidence,
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

func (a *inquiry) verdicts(q *question, from place, s span) ([]placed, error) {
	args := q.args()
	args["first"], args["until"] = s.first, s.until
	args["at"], args["id"] = from.change()
	args["limit"] = q.limit + 1
	statement := verdictsOfNetwork
	if q.prefix.IsSingleIP() {
		statement = verdictsOfSubject
	}
	return answers(a, statement, args, func(row pgx.CollectableRow) (placed, error) {
		var c history.Change
		var id int64
		err := row.Scan(changeFields(&c, &id)...)
		finish(&c)
		p := place{minute: c.At.Truncate(time.Minute), at: c.At, verdict: true, id: id}
		return placed{history.Entry{At: c.At, Verdict: &c}, p}, err
	})
}

// changeFields are what changeColumns are scanned into.
func changeFields(c *history.Change, id *int64) []any {
	return []any{&c.At, &c.Subject, &c.Score, &c.Status, &c.Coverage, &c.Categories, &c.Country, &c.ASN, &c.Evidence, &c.RequestID,
		&c.Config, id}
}

// finish makes what was scanned what a Reader answers: as it was when it was stored, without what the sources reported.
func finish(c *history.Change) {
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

const seenOf = `
SELECT action, sum(count)::bigint, min(first_at), max(last_at)
FROM ip_reputation.decisions
WHERE address >= @low AND address <= @high
GROUP BY action`

// seen returns when the prefix was seen, in all time that is kept; nil: never. For large networks that takes longer than
// the page.
func (a *inquiry) seen(q *question) (*history.Seen, error) {
	var s history.Seen
	_, err := answers(a, seenOf, q.args(), func(row pgx.CollectableRow) (struct{}, error) {
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
