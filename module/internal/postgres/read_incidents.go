package postgres

import (
	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// The key of incidents is that of decisions: see decisionsBelow. Points are stored in 32 bits; the cast to numeric makes
// them 0.8 instead of 0.800000011920929.
const (
	selectIncidents = `
SELECT minute, address, host, kind, name, count, points::numeric::float8, seconds, categories, result, first_at, last_at,
	request_id, config, id
FROM ip_reputation.incidents`

	incidentsOfAddress = selectIncidents + `
WHERE address = @low AND` + decisionsBelow

	incidentsOfNetwork = selectIncidents + `
WHERE address >= @low AND address <= @high AND` + decisionsBelow
)

func (a *readTx) incidents(q *query, from position, s span) ([]positioned, error) {
	statement := q.statement(incidentsOfAddress, incidentsOfNetwork)
	return selectRows(a, statement, q.rowsOf(s, from.below(ofIncident)), func(row pgx.CollectableRow) (positioned, error) {
		var i history.Incident
		var id int64
		err := row.Scan(&i.Minute, &i.Address, &i.Host, &i.Kind, &i.Name, &i.Count, &i.Points, &i.Seconds, &i.Categories,
			&i.Result, &i.First, &i.Last, &i.RequestID, &i.Config, &id)
		i.Minute, i.First, i.Last = i.Minute.UTC(), i.First.UTC(), i.Last.UTC()
		if len(i.Categories) == 0 {
			i.Categories = nil
		}
		p := position{minute: i.Minute, at: i.Last, kind: ofIncident, id: id}
		return positioned{history.Entry{At: i.Last, Incident: &i}, p}, err
	})
}
