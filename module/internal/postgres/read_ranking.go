package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// Worst implements history.Reader, for the last day when there is no From. Those of which nothing was refused, and would not
// have been, are not among them.
func (r *reader) Worst(ctx context.Context, asked history.Ranking) (history.Worst, error) {
	of, statement, what := ofWorst, worstAddresses, "the worst addresses"
	if asked.Networks {
		of, statement, what = ofNetworks, worstNetworks, "the worst networks"
	}
	q, err := r.ranking(of, asked)
	if err != nil {
		return history.Worst{}, err
	}
	args := q.args()
	args["limit"], args["further"] = q.limit+1, q.after != nil
	c := q.afterOrNone()
	args["refused"], args["requests"], args["prefix"] = c.Refused, c.Requests, c.Prefix
	w := history.Worst{Period: q.period}
	err = r.ask(ctx, what, func(a *inquiry) error {
		w.Worst, err = answers(a, statement, args, func(row pgx.CollectableRow) (history.Ranked, error) {
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

// Addresses are put together first, for networks, too: several processes share that, which they cannot share where distinct
// values are counted.
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

	// An address that is cut shorter than the networks is a network by itself.
	worstNetworks = `
SELECT prefix, refused, requests, addresses, score, first_at, last_at
FROM (
	SELECT network(set_masklen(address, least(masklen(address), CASE family(address) WHEN 4 THEN 24 ELSE 48 END)))::inet AS prefix,
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

// Rules implements history.Reader, for the last day when there is no From. Requests that no rule decided are a rule without
// a name.
func (r *reader) Rules(ctx context.Context, asked history.Ranking) (history.Rules, error) {
	q, err := r.ranking(ofRules, asked)
	if err != nil {
		return history.Rules{}, err
	}
	args := q.args()
	args["limit"], args["further"] = q.limit+1, q.after != nil
	c := q.afterOrNone()
	args["requests"], args["host"], args["rule"], args["action"], args["mode"] = c.Requests, c.Host, c.Rule, c.Action, c.Mode
	rules := history.Rules{Period: q.period}
	err = r.ask(ctx, "what the rules decided", func(a *inquiry) error {
		rules.Rules, err = answers(a, rulesOf, args, func(row pgx.CollectableRow) (history.RuleStats, error) {
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
		next.Requests, next.Host, next.Rule, next.Action, next.Mode = last.Requests, last.Host, last.Rule, last.Action, last.Mode
		return next
	})
	return rules, nil
}

// Addresses are counted in a pass of their own, by a number that stands for the texts: with the texts, the database sorts all
// rows on disk, which took 25 s for ten million, and this 5 s. No text but the host, which is last, is a client's. In the
// answer, texts are in the order of their bytes, whatever the language of the database: its rules may change with its system.
const (
	ruleNumber = `hashtextextended(action || E'\n' || mode || E'\n' || rule || E'\n' || host, 0)`

	rulesOf = `
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

// afterOrNone returns where the page before ended; of the first page, anything.
func (q *question) afterOrNone() cursor {
	if q.after == nil {
		return cursor{}
	}
	return *q.after
}
