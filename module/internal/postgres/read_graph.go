package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

const (
	// graphSpan is the period of a graph without From about a prefix that was never seen.
	graphSpan = day

	// shortestPart is the minimum length of parts in a graph without From, since decisions are
	// counted per minute.
	shortestPart = time.Minute
)

// Graph implements history.Reader. Without From, it begins when the prefix was first seen. A
// decision counts in the part of its last request. Limit and After are ignored.
func (r *reader) Graph(ctx context.Context, asked history.Query, parts int) (history.Graph, error) {
	if parts < 1 || parts > history.MaxParts {
		return history.Graph{}, fmt.Errorf("%w: a graph has 1 to %d parts, not %d", history.ErrQuery, history.MaxParts, parts)
	}
	q, err := r.prefixQuery("graph", history.Query{Period: asked.Period, Prefix: asked.Prefix})
	if err != nil {
		return history.Graph{}, err
	}
	var g history.Graph
	err = r.read(ctx, "the graph of "+q.prefix.String(), func(a *readTx) error {
		if q.period.From.IsZero() {
			if err := a.setFrom(&q, parts); err != nil {
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

const selectFirstSeen = `
SELECT least(
	(SELECT min(first_at) FROM ip_reputation.decisions WHERE` + decisionsAsked + `),
	(SELECT min(at) FROM ip_reputation.verdicts WHERE` + verdictsAsked + `)
)`

// setFrom sets the beginning of the period.
func (a *readTx) setFrom(q *query, parts int) error {
	found, err := selectRows(a, selectFirstSeen, q.args(), pgx.RowTo[*time.Time])
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

// newGraph returns an empty graph. Parts have whole microseconds; the last part also gets the
// remainder.
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

// partWidth returns the length of a part in microseconds.
func partWidth(p history.Period, parts int) int64 {
	return (p.To.UnixMicro() - p.From.UnixMicro()) / int64(parts)
}

const (
	partOfDecision = `least((extract(epoch FROM last_at - @from::timestamptz) * 1000000)::bigint / @width, @parts - 1)`
	partOfVerdict  = `least((extract(epoch FROM at - @from::timestamptz) * 1000000)::bigint / @width, @parts - 1)`

	selectGraph = `
SELECT ` + partOfDecision + ` AS part, action, sum(count)::bigint, max(score)
FROM ip_reputation.decisions WHERE` + decisionsAsked + `
GROUP BY 1, 2
UNION ALL
SELECT ` + partOfVerdict + ` AS part, '', 0, max(score)
FROM ip_reputation.verdicts WHERE` + verdictsAsked + `
GROUP BY 1`
)

func (a *readTx) fill(q *query, parts []history.Part) error {
	args := q.args()
	args["width"], args["parts"] = partWidth(q.period, len(parts)), int64(len(parts))
	_, err := selectRows(a, selectGraph, args, func(row pgx.CollectableRow) (struct{}, error) {
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
