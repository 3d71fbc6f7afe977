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
	// sameWithin is how many points a source may move between verdicts that do not differ: evidence ages.
	sameWithin = 0.5

	// causeFrom is how many points a source must move to be a cause of a difference.
	causeFrom = 0.05

	// changesLooked is how many verdicts are looked at for one page, at a time and at most: most may not differ.
	changesAtOnce = 1000
	changesLooked = 10 * changesAtOnce
)

// Changes implements history.Reader. Verdicts that do not differ from the one before about the same subject are left out:
// after a restart, and by each instance, they are recorded again. A page that would have to leave out very many is short,
// even empty, and has Next.
func (r *reader) Changes(ctx context.Context, asked history.Query) (history.Changes, error) {
	q, err := r.about(ofChanges, asked)
	if err != nil {
		return history.Changes{}, err
	}
	c := history.Changes{Prefix: q.prefix, Period: q.period}
	err = r.ask(ctx, "what changed the verdicts about "+q.prefix.String(), func(a *inquiry) error {
		c.Changes, c.Next, err = a.changes(&q)
		return err
	})
	if err != nil {
		return history.Changes{}, err
	}
	return c, nil
}

// succession is a verdict and the one before.
type succession struct {
	history.Difference
	id       int64
	evidence []history.Evidence // of the one before
}

func (s *succession) place() place { return place{at: s.At, verdict: true, id: s.id} }

// changes returns a page, and the cursor of the next one.
func (a *inquiry) changes(q *question) (page []history.Difference, next string, err error) {
	page = []history.Difference{}
	from := q.place()
	if q.after == nil {
		from.verdict = true
	}
	// The first look is for a page of which none is left out.
	for looked, atOnce := 0, q.limit+1; ; atOnce = changesAtOnce {
		found, err := a.successions(q, from, atOnce)
		if err != nil {
			return nil, "", err
		}
		for i := range found {
			s := &found[i]
			if !s.differs() {
				from = s.place()
				continue
			}
			if len(page) == q.limit {
				return page, q.following(from).String(), nil
			}
			from = s.place()
			page = append(page, s.Difference)
		}
		if looked += len(found); len(found) < atOnce {
			return page, "", nil
		}
		if looked >= changesLooked {
			return page, q.following(from).String(), nil
		}
	}
}

// The verdict before may be older than the time that is asked for. There is none where it is not kept any more.
const successionsOf = `
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

func (a *inquiry) successions(q *question, from place, limit int) ([]succession, error) {
	args := q.args()
	args["at"], args["id"] = from.change()
	args["limit"] = limit
	return answers(a, successionsOf, args, func(row pgx.CollectableRow) (succession, error) {
		var s succession
		err := row.Scan(append(changeFields(&s.Change, &s.id), &s.Before, &s.evidence)...)
		finish(&s.Change)
		s.Causes = causesOf(s.evidence, s.Evidence)
		return s, err
	})
}

// differs tells whether a verdict says anything that the one before did not.
func (s *succession) differs() bool {
	if s.Before == nil || *s.Before != s.Score {
		return true
	}
	return slices.ContainsFunc(s.Causes, func(c history.Cause) bool {
		return c.Before == nil || c.After == nil || math.Abs(*c.After-*c.Before) > sameWithin
	})
}

// causesOf returns the sources that say something else after than before, what changed most first; never nil.
func causesOf(before, after []history.Evidence) []history.Cause {
	was, is := points(before), points(after)
	all := []history.Cause{}
	for source, p := range is {
		old, ok := was[source]
		switch {
		case !ok:
			all = append(all, history.Cause{Source: source, After: &p})
		case math.Abs(p-old) >= causeFrom:
			all = append(all, history.Cause{Source: source, Before: &old, After: &p})
		}
	}
	for source, p := range was {
		if _, ok := is[source]; !ok {
			all = append(all, history.Cause{Source: source, Before: &p})
		}
	}
	slices.SortFunc(all, func(a, b history.Cause) int {
		return cmp.Or(cmp.Compare(moved(b), moved(a)), strings.Compare(a.Source, b.Source))
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

// moved returns by how many points.
func moved(c history.Cause) float64 {
	var before, after float64
	if c.Before != nil {
		before = *c.Before
	}
	if c.After != nil {
		after = *c.After
	}
	return math.Abs(after - before)
}
