package postgres

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

const (
	// sameMargin is how many points a source may change between verdicts that count as equal:
	// evidence ages.
	sameMargin = 0.5

	// minCause is how many points a source must change to be a cause of a difference.
	minCause = 0.05

	// How many verdicts are read for one page, at a time and at most. Most of them may be equal.
	comparedAtOnce = 1000
	maxCompared    = 10 * comparedAtOnce
)

// Changes implements history.Reader. It omits verdicts that equal the subject's previous one: each
// instance records them again, as does a restart. If very many are omitted, a page is short, even
// empty, and has Next.
func (r *reader) Changes(ctx context.Context, asked history.Query) (history.Changes, error) {
	q, err := r.prefixQuery(kindChanges, asked)
	if err != nil {
		return history.Changes{}, err
	}
	c := history.Changes{Prefix: q.prefix, Period: q.period}
	err = r.read(ctx, "what changed the verdicts about "+q.prefix.String(), func(a *readTx) error {
		c.Changes, c.Next, err = a.changes(&q)
		return err
	})
	if err != nil {
		return history.Changes{}, err
	}
	return c, nil
}

// comparison is a verdict and the subject's previous one.
type comparison struct {
	history.Difference
	id       int64
	evidence []history.Evidence // of the previous verdict
}

func (s *comparison) position() position { return position{at: s.At, kind: ofVerdict, id: s.id} }

// changes returns a page and the cursor of the next page.
func (a *readTx) changes(q *query) (page []history.Difference, next string, err error) {
	page = []history.Difference{}
	from := q.position()
	if q.after == nil {
		from.kind = ofVerdict
	}
	// The first read is enough if no verdict is omitted.
	for looked, atOnce := 0, q.limit+1; ; atOnce = comparedAtOnce {
		found, err := a.comparisons(q, from, atOnce)
		if err != nil {
			return nil, "", err
		}
		for i := range found {
			s := &found[i]
			if !s.differs() {
				from = s.position()
				continue
			}
			if len(page) == q.limit {
				return page, q.cursorAfter(from).String(), nil
			}
			from = s.position()
			page = append(page, s.Difference)
		}
		if looked += len(found); len(found) < atOnce {
			return page, "", nil
		}
		if looked >= maxCompared {
			return page, q.cursorAfter(from).String(), nil
		}
	}
}

// The previous verdict may be before the period. It is missing if it has expired.
const selectComparisons = `
SELECT ` + changeColumns + `, b.score, b.evidence
FROM ip_reputation.verdicts v
LEFT JOIN LATERAL (
	SELECT score, evidence
	FROM ip_reputation.verdicts
	WHERE subject = v.subject AND at <= v.at AND (at, id) < (v.at, v.id)
	ORDER BY at DESC, id DESC
	LIMIT 1
) b ON true
WHERE subject >= @low AND subject <= @high AND` + verdictsBelow

func (a *readTx) comparisons(q *query, from position, limit int) ([]comparison, error) {
	args, bound := q.args(), from.below(ofVerdict)
	args["at"], args["id"] = bound.at, bound.id
	args["limit"] = limit
	return selectRows(a, selectComparisons, args, func(row pgx.CollectableRow) (comparison, error) {
		var s comparison
		err := row.Scan(append(changeFields(&s.Change, &s.id), &s.Before, &s.evidence)...)
		normalize(&s.Change)
		s.Causes = causesOf(s.evidence, s.Evidence)
		return s, err
	})
}

// differs reports whether a verdict differs from the previous one.
func (s *comparison) differs() bool {
	if s.Before == nil || *s.Before != s.Score {
		return true
	}
	return slices.ContainsFunc(s.Causes, func(c history.Cause) bool {
		return c.Before == nil || c.After == nil || math.Abs(*c.After-*c.Before) > sameMargin
	})
}

// causesOf returns the sources that changed, the largest change first; never nil.
func causesOf(before, after []history.Evidence) []history.Cause {
	was, is := points(before), points(after)
	all := []history.Cause{}
	for source, p := range is {
		old, ok := was[source]
		switch {
		case !ok:
			all = append(all, history.Cause{Source: source, After: &p})
		case math.Abs(p-old) >= minCause:
			all = append(all, history.Cause{Source: source, Before: &old, After: &p})
		}
	}
	for source, p := range was {
		if _, ok := is[source]; !ok {
			all = append(all, history.Cause{Source: source, Before: &p})
		}
	}
	slices.SortFunc(all, func(a, b history.Cause) int {
		return cmp.Or(cmp.Compare(distance(b), distance(a)), strings.Compare(a.Source, b.Source))
	})
	return all
}

func points(evidence []history.Evidence) map[string]float64 {
	all := make(map[string]float64, len(evidence))
	for _, e := range evidence {
		all[e.Source] += e.Points
	}
	return all
}

// distance returns how many points a source changed.
func distance(c history.Cause) float64 {
	var before, after float64
	if c.Before != nil {
		before = *c.Before
	}
	if c.After != nil {
		after = *c.After
	}
	return math.Abs(after - before)
}
