package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

const (
	// historyTimeout is the time limit of a query, in case the reader's own limit fails.
	historyTimeout = 15 * time.Second

	retryUnavailable = 10 * time.Second
	retrySchema      = time.Minute

	// The shortest prefixes whose history can be queried.
	minBits4 = 8
	minBits6 = 16
)

// history answers GET /v1/ip/{address}/history.
func (h *Handler) history(q *request) (response, error) {
	query, err := q.query("view", "bits", "from", "to", "limit", "after")
	if err != nil {
		return response{}, err
	}
	addr, err := parseAddress(q.argument)
	if err != nil {
		return response{}, badRequest(err.Error())
	}
	question, err := h.historyQuery(addr, query)
	if err != nil {
		return response{}, err
	}
	return h.read(q, func(ctx context.Context, reader history.Reader) (any, error) {
		if query.Get("view") == "changes" {
			c, err := reader.Changes(ctx, question)
			return completeChanges(c), err
		}
		t, err := reader.Timeline(ctx, question)
		return completeTimeline(t), err
	})
}

// historyQuery parses a query about one address.
func (h *Handler) historyQuery(addr netip.Addr, query url.Values) (history.Query, error) {
	if view := query.Get("view"); query.Has("view") && view != "timeline" && view != "changes" {
		return history.Query{}, badRequest("view is timeline or changes")
	}
	prefix, err := widen(addr, query)
	if err != nil {
		return history.Query{}, err
	}
	if prefix, err = h.o.Backend.Stored(prefix); err != nil {
		return history.Query{}, historyProblem(err, err)
	}
	period, limit, after, err := page(query, time.Now())
	return history.Query{Period: period, Prefix: prefix, Limit: limit, After: after}, err
}

// widen returns the network of addr with the length of the parameter bits; by default the address
// itself.
func widen(addr netip.Addr, query url.Values) (netip.Prefix, error) {
	if !query.Has("bits") {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	minBits := minBits4
	if addr.Is6() {
		minBits = minBits6
	}
	bits, err := strconv.Atoi(query.Get("bits"))
	if err != nil || bits < minBits || bits > addr.BitLen() {
		return netip.Prefix{}, badRequest(
			fmt.Sprintf("bits is the length of a network, from %d to %d for this address", minBits, addr.BitLen()))
	}
	return netip.PrefixFrom(addr, bits).Masked(), nil
}

// worst answers GET /v1/history/worst.
func (h *Handler) worst(q *request) (response, error) {
	query, err := q.query("by", "from", "to", "limit", "after")
	if err != nil {
		return response{}, err
	}
	by := query.Get("by")
	if query.Has("by") && by != "address" && by != "network" {
		return response{}, badRequest("by is address or network")
	}
	ranking, err := rankingOf(query)
	if err != nil {
		return response{}, err
	}
	ranking.Networks = by == "network"
	return h.read(q, func(ctx context.Context, reader history.Reader) (any, error) {
		w, err := reader.Worst(ctx, ranking)
		w.Worst = notNil(w.Worst)
		return w, err
	})
}

// rules answers GET /v1/history/rules.
func (h *Handler) rules(q *request) (response, error) {
	query, err := q.query("from", "to", "limit", "after")
	if err != nil {
		return response{}, err
	}
	ranking, err := rankingOf(query)
	if err != nil {
		return response{}, err
	}
	return h.read(q, func(ctx context.Context, reader history.Reader) (any, error) {
		r, err := reader.Rules(ctx, ranking)
		r.Rules = notNil(r.Rules)
		return r, err
	})
}

func rankingOf(query url.Values) (history.Ranking, error) {
	period, limit, after, err := page(query, time.Now())
	return history.Ranking{Period: period, Limit: limit, After: after}, err
}

// maxQueries is how many queries of the history run at once; others wait. The rest of the
// database's capacity is for the operator.
const maxQueries = 2

// read runs a query of the history.
func (h *Handler) read(q *request, question func(context.Context, history.Reader) (any, error)) (response, error) {
	reader, err := h.o.Backend.History(q.Context())
	if err != nil {
		return response{}, historyProblem(err, newProblem(http.StatusNotFound, "no_history", "this server keeps no history"))
	}
	ctx, cancel := context.WithTimeout(q.Context(), historyTimeout)
	defer cancel()
	select {
	case h.queries <- struct{}{}:
		defer func() { <-h.queries }()
	case <-ctx.Done():
		return response{}, historyProblem(ctx.Err(), nil)
	}
	answer, err := question(ctx, reader)
	if err != nil {
		return response{}, historyProblem(err, err)
	}
	return jsonResponse(answer, cacheNone)
}

// historyProblem returns the problem for an error of the history; other if the error is unknown.
func historyProblem(err, other error) error {
	switch {
	case errors.Is(err, history.ErrQuery):
		return badRequest(err.Error())
	case errors.Is(err, history.ErrSlow):
		return newProblem(http.StatusUnprocessableEntity, "too_slow", "the question takes too long: ask for a shorter time")
	case errors.Is(err, history.ErrSchema):
		return unavailable("history_away", "the history cannot be read at present", retrySchema)
	case errors.Is(err, history.ErrUnavailable),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return unavailable("history_away", "the history cannot be read at present", retryUnavailable)
	}
	return other
}

// page parses the period, the limit and the cursor.
func page(query url.Values, now time.Time) (period history.Period, limit int, after string, err error) {
	if period.From, err = timeOf(query, "from", now); err != nil {
		return period, 0, "", err
	}
	if period.To, err = timeOf(query, "to", now); err != nil {
		return period, 0, "", err
	}
	if !period.From.IsZero() && !period.To.IsZero() && !period.From.Before(period.To) {
		return period, 0, "", badRequest("from is not before to")
	}
	if query.Has("limit") {
		limit, err = strconv.Atoi(query.Get("limit"))
		if err != nil || limit < 1 || limit > history.MaxLimit {
			return period, 0, "", badRequest(fmt.Sprintf("limit is a number from 1 to %d", history.MaxLimit))
		}
	}
	return period, limit, query.Get("after"), nil
}

// timeOf parses a time parameter.
func timeOf(query url.Values, name string, now time.Time) (time.Time, error) {
	if !query.Has(name) {
		return time.Time{}, nil
	}
	at, ok := history.ParseTime(query.Get(name), now, name == "to")
	if !ok {
		return time.Time{}, badRequest(name + " is a time such as 2027-03-31T12:00:00Z, a day such as 2027-03-31, " +
			"or how long ago it is, such as 36h or 7d")
	}
	return at, nil
}

// notNil replaces nil by an empty list, so that JSON has [] instead of null.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func completeTimeline(t history.Timeline) history.Timeline {
	t.Entries = notNil(t.Entries)
	for i := range t.Entries {
		if v := t.Entries[i].Verdict; v != nil {
			v.Evidence = notNil(v.Evidence)
		}
	}
	return t
}

func completeChanges(c history.Changes) history.Changes {
	c.Changes = notNil(c.Changes)
	for i := range c.Changes {
		c.Changes[i].Evidence = notNil(c.Changes[i].Evidence)
		c.Changes[i].Causes = notNil(c.Changes[i].Causes)
	}
	return c
}
