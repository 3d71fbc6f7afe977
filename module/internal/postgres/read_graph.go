package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

const (
	// graphSpan is the time of a graph without From when nothing was ever seen.
	graphSpan = day

	// shortestPart is how short the parts of a graph without From may become: decisions are counted by the minute.
	shortestPart = time.Minute
)

// Graph implements history.Reader. Without From it begins when the prefix was first seen. A decision is in the part that the
// last of its requests is in. Limit and After mean nothing.
func (r *reader) Graph(ctx context.Context, asked history.Query, parts int) (history.Graph, error) {
	if parts < 1 || parts > history.MaxParts {
		return history.Graph{}, fmt.Errorf("%w: a graph has 1 to %d parts, not %d", history.ErrQuery, history.MaxParts, parts)
	}
	q, err := r.about("graph", history.Query{Period: asked.Period, Prefix: asked.Prefix})
	if err != nil {
		return history.Graph{}, err
	}
	var g history.Graph
	err = r.ask(ctx, "the graph of "+q.prefix.String(), func(a *inquiry) error {
		if q.period.From.IsZero() {
			if err := a.begin(&q, parts); err != nil {
				return err
			}
		}
		if g, err = newGraph(q.period, parts); err != nil {
			return err
		}
		return a.fill(&q, g.Parts)
	})
	if err != nil {
		return history.Graph{}, err
	}
	return g, nil
}

const firstSeen = `
SELECT least(
	(SELECT min(first_at) FROM ip_reputation.decisions WHERE` + decisionsAsked + `),
	(SELECT min(at) FROM ip_reputation.verdicts WHERE` + verdictsAsked + `)
)`

// begin gives the time a beginning.
func (a *inquiry) begin(q *question, parts int) error {
	found, err := answers(a, firstSeen, q.args(), pgx.RowTo[*time.Time])
	if err != nil {
		return err
	}
	q.period.From = q.period.To.Add(-graphSpan)
	if len(found) == 1 && found[0] != nil {
		q.period.From = found[0].UTC()
	}
	if latest := q.period.To.Add(-shortestPart * time.Duration(parts)); q.period.From.After(latest) {
		q.period.From = latest
	}
	return nil
}

// newGraph returns a graph with nothing in it. The time is divided to the microsecond; what is left over is in the last part.
func newGraph(p history.Period, parts int) (history.Graph, error) {
	width := partWidth(p, parts)
	if width == 0 {
		return history.Graph{}, fmt.Errorf("%w: %s cannot be divided by %d", history.ErrQuery, p.To.Sub(p.From), parts)
	}
	g := history.Graph{Period: p, Parts: make([]history.Part, parts)}
	for i := range g.Parts {
		g.Parts[i].From = micro(p.From.UnixMicro() + int64(i)*width)
	}
	return g, nil
}

// partWidth returns how many microseconds one of the equal parts of p takes.
func partWidth(p history.Period, parts int) int64 {
	return (p.To.UnixMicro() - p.From.UnixMicro()) / int64(parts)
}

const (
	partOfDecision = `least((extract(epoch FROM last_at - @from::timestamptz) * 1000000)::bigint / @width, @parts - 1)`
	partOfVerdict  = `least((extract(epoch FROM at - @from::timestamptz) * 1000000)::bigint / @width, @parts - 1)`

	graphOf = `
SELECT ` + partOfDecision + ` AS part, action, sum(count)::bigint, max(score)
FROM ip_reputation.decisions WHERE` + decisionsAsked + `
GROUP BY 1, 2
UNION ALL
SELECT ` + partOfVerdict + ` AS part, '', 0, max(score)
FROM ip_reputation.verdicts WHERE` + verdictsAsked + `
GROUP BY 1`
)

func (a *inquiry) fill(q *question, parts []history.Part) error {
	args := q.args()
	args["width"], args["parts"] = partWidth(q.period, len(parts)), int64(len(parts))
	_, err := answers(a, graphOf, args, func(row pgx.CollectableRow) (struct{}, error) {
		var i, requests int64
		var action string
		var score *uint8
		if err := row.Scan(&i, &action, &requests, &score); err != nil {
			return struct{}{}, err
		}
		p := &parts[i]
		if score != nil && (p.Score == nil || *p.Score < *score) {
			p.Score = score
		}
		if action != "" {
			if p.Actions == nil {
				p.Actions = map[string]int64{}
			}
			p.Actions[action] += requests
		}
		return struct{}{}, nil
	})
	return err
}
