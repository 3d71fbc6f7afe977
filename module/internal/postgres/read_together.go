package postgres

import (
	"net/netip"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

const selectTogether = `
SELECT address, sum(count)::bigint
FROM ip_reputation.decisions
WHERE address = ANY(@wider) AND` + decisionsInTime + `
GROUP BY address
ORDER BY masklen(address) DESC`

// together returns the requests in the period that rows of wider prefixes count.
func (a *readTx) together(q *query) ([]history.Together, error) {
	wider := widerPrefixes(q.prefix)
	if len(wider) == 0 {
		return nil, nil
	}
	args := q.args()
	args["wider"] = wider
	found, err := selectRows(a, selectTogether, args, func(row pgx.CollectableRow) (t history.Together, err error) {
		return t, row.Scan(&t.Prefix, &t.Requests)
	})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found, nil
}

// widerPrefixes returns the prefixes whose rows may count requests of p: its network, that of all
// pseudonyms, and everybody.
func widerPrefixes(p netip.Prefix) (all []netip.Prefix) {
	lengths := []int{64, 48, 0}
	if p.Addr().Is4() {
		lengths = []int{24, 0}
	}
	for _, bits := range lengths {
		if bits < p.Bits() {
			all = append(all, netip.PrefixFrom(p.Addr(), bits).Masked())
		}
	}
	return all
}
