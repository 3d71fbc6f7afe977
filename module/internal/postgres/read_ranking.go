package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// Worst implements history.Reader, by default for the last day. It omits addresses without refused
// requests.
func (r *reader) Worst(ctx context.Context, asked history.Ranking) (history.Worst, error) {
	kind, statement, what := kindWorst, worstAddresses, "the worst addresses"
	if asked.Networks {
		kind, statement, what = kindNetworks, worstNetworks, "the worst networks"
	}
	q, err := r.rankingQuery(kind, asked)
	if err != nil {
		return history.Worst{}, err
	}
	args := q.args()
	args["limit"], args["further"] = q.limit+1, q.after != nil
	c := q.afterOrNone()
	args["refused"], args["requests"], args["prefix"] = c.Refused, c.Requests, c.Prefix
	w := history.Worst{Period: q.period}
	err = r.rank(ctx, what, func(a *readTx) error {
		w.Worst, err = selectRows(a, statement, args, func(row pgx.CollectableRow) (history.Ranked, error) {
			var v history.Ranked
			err := row.Scan(&v.Prefix, &v.Refused, &v.Requests, &v.Addresses, &v.Score, &v.First, &v.Last)
			v.First, v.Last = v.First.UTC(), v.Last.UTC()
			return v, err
		})
		return err
	})
	if err != nil {
		return history.Worst{}, err
	}
	w.Worst, w.Next = page(w.Worst, q.limit, func(last history.Ranked) cursor {
		next := q.cursor()
		next.Prefix, next.Refused, next.Requests = last.Prefix, last.Refused, last.Requests
		return next
	})
	return w, nil
}

// Rows are grouped by address first, even for networks: count(DISTINCT …) would sort all rows.
const (
	byAddress = `
	SELECT address,
		(sum(count) FILTER (WHERE action <> 'pass'))::bigint AS refused,
		sum(count)::bigint AS requests, max(score) AS score, min(first_at) AS first_at, max(last_at) AS last_at
	FROM ip_reputation.decisions
	WHERE` + decisionsInTime + `
	GROUP BY address`

	worstAddresses = `
SELECT prefix, refused, requests, 1::bigint, score, first_at, last_at
FROM (` + byAddress + `) a (prefix, refused, requests, score, first_at, last_at)
WHERE` + isWorst

	// An address that was truncated to less than a network's length is a network by itself.
	worstNetworks = `
SELECT prefix, refused, requests, addresses, score, first_at, last_at
FROM (
	SELECT network(set_masklen(address,
			least(masklen(address), CASE family(address) WHEN 4 THEN 24 ELSE 48 END)))::inet AS prefix,
		sum(refused)::bigint AS refused, sum(requests)::bigint AS requests, count(*) AS addresses,
		max(score) AS score, min(first_at) AS first_at, max(last_at) AS last_at
	FROM (` + byAddress + `) a
	GROUP BY 1
) n
WHERE` + isWorst

	isWorst = ` refused > 0 AND (NOT @further OR refused < @refused OR (refused = @refused
	AND (requests < @requests OR (requests = @requests AND prefix > @prefix))))
ORDER BY refused DESC, requests DESC, prefix
LIMIT @limit`
)

// Rules implements history.Reader, by default for the last day. Requests that no rule decided have
// an empty rule.
func (r *reader) Rules(ctx context.Context, asked history.Ranking) (history.Rules, error) {
	q, err := r.rankingQuery(kindRules, asked)
	if err != nil {
		return history.Rules{}, err
	}
	args := q.args()
	args["limit"], args["further"] = q.limit+1, q.after != nil
	c := q.afterOrNone()
	args["requests"], args["host"], args["rule"] = c.Requests, c.Host, c.Rule
	args["action"], args["mode"] = c.Action, c.Mode
	rules := history.Rules{Period: q.period}
	err = r.rank(ctx, "what the rules decided", func(a *readTx) error {
		rules.Rules, err = selectRows(a, selectRules, args, func(row pgx.CollectableRow) (history.RuleStats, error) {
			var v history.RuleStats
			err := row.Scan(&v.Host, &v.Rule, &v.Action, &v.Mode, &v.Requests, &v.Addresses, &v.First, &v.Last)
			v.First, v.Last = v.First.UTC(), v.Last.UTC()
			return v, err
		})
		return err
	})
	if err != nil {
		return history.Rules{}, err
	}
	rules.Rules, rules.Next = page(rules.Rules, q.limit, func(last history.RuleStats) cursor {
		next := q.cursor()
		next.Requests, next.Host, next.Rule = last.Requests, last.Host, last.Rule
		next.Action, next.Mode = last.Action, last.Mode
		return next
	})
	return rules, nil
}

// Addresses are counted in a second pass, grouped by a hash of the texts. With the texts
// themselves, the database sorts all rows on disk: ten million rows took 25 s, and take 5 s with
// the hash. Only the host is a client's text; it is last, so that it cannot imitate the others. The
// answer is sorted by bytes (COLLATE "C"), since the order of a language may change with the
// operating system.
const (
	ruleNumber = `hashtextextended(action || E'\n' || mode || E'\n' || rule || E'\n' || host, 0)`

	selectRules = `
SELECT host, rule, action, mode, requests, addresses, first_at, last_at
FROM (
	SELECT host, rule, action, mode, sum(count)::bigint AS requests, min(first_at) AS first_at, max(last_at) AS last_at
	FROM ip_reputation.decisions
	WHERE` + decisionsInTime + `
	GROUP BY host, rule, action, mode
) r
JOIN (
	SELECT number, count(*) AS addresses
	FROM (
		SELECT ` + ruleNumber + ` AS number
		FROM ip_reputation.decisions
		WHERE` + decisionsInTime + `
		GROUP BY number, address
	) pairs
	GROUP BY number
) n ON number = ` + ruleNumber + `
WHERE NOT @further OR requests < @requests OR (requests = @requests
	AND (host COLLATE "C", rule COLLATE "C", action COLLATE "C", mode COLLATE "C") > (@host, @rule, @action, @mode))
ORDER BY requests DESC, host COLLATE "C", rule COLLATE "C", action COLLATE "C", mode COLLATE "C"
LIMIT @limit`
)

// afterOrNone returns the cursor of the previous page; for the first page, a zero cursor.
func (q *query) afterOrNone() cursor {
	if q.after == nil {
		return cursor{}
	}
	return *q.after
}
