package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// requestSpan is the default period in which a request is looked for. No index has the IDs: it would be as large as all
// others together, for a question that is seldom asked. So all rows of the period are read, within the time limit of
// every question.
const requestSpan = day

const decisionsOfRequest = selectDecisions + `
WHERE request_id = @request AND` + decisionsInTime + `
ORDER BY minute DESC, last_at DESC, id DESC
LIMIT @limit`

// maxRequests bounds what a client finds that sends the same ID again and again.
const maxRequests = 20

// Requests implements history.Reader.
func (r *reader) Requests(ctx context.Context, id string, p history.Period) (history.Requests, error) {
	if p.From.IsZero() {
		to := p.To
		if to.IsZero() {
			to = r.now()
		}
		p.From = to.Add(-requestSpan)
	}
	p, err := r.completePeriod(p)
	if err != nil {
		return history.Requests{}, err
	}
	q := query{period: p}
	args := q.args()
	args["request"], args["limit"] = id, maxRequests
	found := history.Requests{Period: p, Decisions: []history.Decision{}}
	err = r.read(ctx, "the decisions of a request", func(a *readTx) error {
		scan := func(row pgx.CollectableRow) (history.Decision, error) {
			d, _, err := scanDecision(row)
			return d, err
		}
		found.Decisions, err = selectRows(a, decisionsOfRequest, args, scan)
		return err
	})
	return found, err
}
