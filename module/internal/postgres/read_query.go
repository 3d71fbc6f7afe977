package postgres

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// The kinds of queries, as cursors name them.
const (
	kindTimeline = "timeline"
	kindChanges  = "changes"
	kindWorst    = "worst"
	kindNetworks = "networks"
	kindRules    = "rules"
)

// rankedSpan is the default period of a ranking.
const rankedSpan = day

// query is a valid query with all defaults filled in.
type query struct {
	kind   string
	prefix netip.Prefix // invalid in rankings
	period history.Period
	limit  int
	after  *cursor // nil: the first page
}

// prefixQuery validates a query about a prefix. kind is one of the constants.
func (r *reader) prefixQuery(kind string, q history.Query) (query, error) {
	p, err := normalizePrefix(q.Prefix)
	if err != nil {
		return query{}, err
	}
	return r.complete(query{kind: kind, prefix: p, period: q.Period, limit: q.Limit}, q.After)
}

// rankingQuery validates a ranking. kind is one of the constants.
func (r *reader) rankingQuery(kind string, q history.Ranking) (query, error) {
	if q.From.IsZero() {
		to := q.To
		if to.IsZero() {
			to = r.now()
		}
		q.From = to.Add(-rankedSpan)
	}
	return r.complete(query{kind: kind, period: q.Period, limit: q.Limit}, q.After)
}

func (r *reader) complete(q query, after string) (query, error) {
	switch {
	case q.limit == 0:
		q.limit = history.DefaultLimit
	case q.limit < 0 || q.limit > history.MaxLimit:
		return q, fmt.Errorf("%w: a page has 1 to %d entries, not %d", history.ErrQuery, history.MaxLimit, q.limit)
	}
	if after == "" {
		var err error
		q.period, err = r.completePeriod(q.period)
		return q, err
	}
	c, err := parseCursor(after)
	if err != nil {
		return q, err
	}
	if c.Of != q.kind || (q.prefix.IsValid() && c.Prefix != q.prefix) {
		return q, fmt.Errorf("%w: after is the next of an answer to another question; ask that again, or leave it out",
			history.ErrQuery)
	}
	q.after = &c
	q.period = history.Period{From: micro(c.From), To: micro(c.To)}
	return q, nil
}

func (r *reader) completePeriod(p history.Period) (history.Period, error) {
	if p.To.IsZero() {
		p.To = r.now()
	}
	if !storable(p.From) || !storable(p.To) {
		return p, fmt.Errorf("%w: times are in the years 1 to 9999", history.ErrQuery)
	}
	p.From, p.To = micro(p.From.UnixMicro()), micro(p.To.UnixMicro()) // as exactly as the database has them
	if !p.From.Before(p.To) {
		return p, fmt.Errorf("%w: the time from %s to %s is none; the first must be the earlier one",
			history.ErrQuery, p.From.Format(time.RFC3339), p.To.Format(time.RFC3339))
	}
	return p, nil
}

// normalizePrefix returns p in the form that rows have.
func normalizePrefix(p netip.Prefix) (netip.Prefix, error) {
	const mapped = 96 // bits before an IPv4 address that is written as IPv6
	if p.Addr().Is4In6() && p.Bits() >= mapped {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	if !p.IsValid() {
		return p, fmt.Errorf("%w: it needs an address or a network, such as 192.0.2.1/32 or 2001:db8::/64", history.ErrQuery)
	}
	return p.Masked(), nil
}

// args returns the arguments of all statements about a period, and a prefix:
//
//	@low, @high     the range of the prefix in the order of inet: a network sorts before its addresses, and
//	                everything inside it sorts up to its last address. `address <<= @prefix` finds the same
//	                rows, but uses the index only if the planner knows the value
//	@from, @to      the period
//	@first, @until  the minutes of the period, which select partitions
func (q *query) args() pgx.NamedArgs {
	all := pgx.NamedArgs{
		"from": q.period.From, "to": q.period.To,
		"first": q.period.From.Truncate(time.Minute), "until": q.period.To,
	}
	if q.prefix.IsValid() {
		all["low"], all["high"] = q.prefix, last(q.prefix)
	}
	return all
}

// The rows that args select. The time of a decision is that of its last request.
const (
	decisionsInTime = ` minute >= @first AND minute < @until AND last_at >= @from AND last_at < @to `
	verdictsInTime  = ` at >= @first AND at < @until AND at >= @from AND at < @to `

	decisionsAsked = ` address >= @low AND address <= @high AND` + decisionsInTime
	verdictsAsked  = ` subject >= @low AND subject <= @high AND` + verdictsInTime
)

// last returns the last address of p.
func last(p netip.Prefix) netip.Prefix {
	bytes := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(bytes)
	return netip.PrefixFrom(a, a.BitLen())
}

// cursor returns the part that all cursors of the query have in common.
func (q *query) cursor() cursor {
	return cursor{Of: q.kind, Prefix: q.prefix, From: q.period.From.UnixMicro(), To: q.period.To.UnixMicro()}
}

func micro(since1970 int64) time.Time { return time.UnixMicro(since1970).UTC() }
