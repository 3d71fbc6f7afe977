package postgres

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// The questions, as cursors name them.
const (
	ofTimeline = "timeline"
	ofChanges  = "changes"
	ofWorst    = "worst"
	ofNetworks = "networks"
	ofRules    = "rules"
)

// rankedSpan is the time that a ranking is of when nobody says.
const rankedSpan = day

// question is one that makes sense, with nothing left open.
type question struct {
	of     string
	prefix netip.Prefix // not valid in rankings
	period history.Period
	limit  int
	after  *cursor // nil: the first page
}

// about returns q as a question; of tells which.
func (r *reader) about(of string, q history.Query) (question, error) {
	p, err := askable(q.Prefix)
	if err != nil {
		return question{}, err
	}
	return r.understand(question{of: of, prefix: p, period: q.Period, limit: q.Limit}, q.After)
}

// ranking returns q as a question; of tells which.
func (r *reader) ranking(of string, q history.Ranking) (question, error) {
	if q.From.IsZero() {
		to := q.To
		if to.IsZero() {
			to = r.now()
		}
		q.From = to.Add(-rankedSpan)
	}
	return r.understand(question{of: of, period: q.Period, limit: q.Limit}, q.After)
}

func (r *reader) understand(q question, after string) (question, error) {
	switch {
	case q.limit == 0:
		q.limit = history.DefaultLimit
	case q.limit < 0 || q.limit > history.MaxLimit:
		return q, fmt.Errorf("%w: a page has 1 to %d entries, not %d", history.ErrQuery, history.MaxLimit, q.limit)
	}
	if after == "" {
		var err error
		q.period, err = r.understandPeriod(q.period)
		return q, err
	}
	c, err := parseCursor(after)
	if err != nil {
		return q, err
	}
	if c.Of != q.of || (q.prefix.IsValid() && c.Prefix != q.prefix) {
		return q, fmt.Errorf("%w: after is the next of an answer to another question; ask that again, or leave it out",
			history.ErrQuery)
	}
	q.after = &c
	q.period = history.Period{From: micro(c.From), To: micro(c.To)}
	return q, nil
}

func (r *reader) understandPeriod(p history.Period) (history.Period, error) {
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

// askable returns p as rows have it.
func askable(p netip.Prefix) (netip.Prefix, error) {
	const mapped = 96 // bits before an IPv4 address that is written as IPv6
	if p.Addr().Is4In6() && p.Bits() >= mapped {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	if !p.IsValid() {
		return p, fmt.Errorf("%w: it needs an address or a network, such as 192.0.2.1/32 or 2001:db8::/64", history.ErrQuery)
	}
	return p.Masked(), nil
}

// args are what all statements about a time, and a prefix, take:
//
//	@low, @high     the prefix, as the order of inet has it: a network is before its addresses, and what is inside of
//	                a prefix, cut short or not, is between that and its last address. `address <<= @prefix` finds the same
//	                rows, by the index only where the planner knows the value
//	@from, @to      the time
//	@first, @until  the minutes that are looked at: partitions are of minutes
func (q *question) args() pgx.NamedArgs {
	all := pgx.NamedArgs{
		"from": q.period.From, "to": q.period.To,
		"first": q.period.From.Truncate(time.Minute), "until": q.period.To,
	}
	if q.prefix.IsValid() {
		all["low"], all["high"] = q.prefix, last(q.prefix)
	}
	return all
}

// The rows that args are about. What a decision counts is at the last of its requests.
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

// cursor returns what all cursors of the question have.
func (q *question) cursor() cursor {
	return cursor{Of: q.of, Prefix: q.prefix, From: q.period.From.UnixMicro(), To: q.period.To.UnixMicro()}
}

func micro(since1970 int64) time.Time { return time.UnixMicro(since1970).UTC() }
