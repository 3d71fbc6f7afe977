package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/postgres"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
)

// serveTimeline answers GET history/{prefix}.
func serveTimeline(rt *runtime.Runtime, r *http.Request, argument string) (any, error) {
	prefix, err := rt.NAT64.ParsePrefix(argument)
	if err != nil {
		return nil, adminError(http.StatusBadRequest, err)
	}
	words := []string{"from", "to", "limit", "after", "changes"}
	if changes := r.URL.Query().Has("changes"); !changes {
		words = append(words, "parts")
	}
	query, err := parseHistoryQuery(r.URL.RawQuery, time.Now(), words...)
	if err != nil {
		return nil, adminError(http.StatusBadRequest, err)
	}
	reader, err := rt.OpenHistory(r.Context())
	if err != nil {
		return nil, historyError(err)
	}
	prefix, err = rt.StoredAs(prefix)
	if err != nil {
		return nil, historyError(err)
	}
	q := history.Query{Period: query.period, Prefix: prefix, Limit: query.limit, After: query.after}
	if query.changes {
		return asked(reader.Changes(r.Context(), q))
	}
	timeline, err := reader.Timeline(r.Context(), q)
	if err != nil {
		return nil, historyError(err)
	}
	answer := adminapi.Timeline{Timeline: timeline}
	if query.after == "" && query.parts > 0 && timeline.Seen != nil {
		q.Period = timeline.Period // the times of both are the same
		if first := timeline.Seen.First; first.After(q.From) && first.Before(q.To) {
			q.From = first // before that there is nothing to draw
		}
		if err := draw(r.Context(), &answer, reader, q, query.parts); err != nil {
			return nil, historyError(err)
		}
	}
	return answer, nil
}

// draw adds the graph. A long time may be too much for it, and not for a page of entries.
func draw(ctx context.Context, a *adminapi.Timeline, reader history.Reader, q history.Query, parts int) error {
	graph, err := reader.Graph(ctx, q, parts)
	switch {
	case errors.Is(err, history.ErrSlow):
		a.Warning = "the graph is left out: " + err.Error()
	case err != nil:
		return err
	default:
		a.Graph = &graph
	}
	return nil
}

// serveRanking answers GET history.
func serveRanking(rt *runtime.Runtime, r *http.Request, _ string) (any, error) {
	query, err := parseHistoryQuery(r.URL.RawQuery, time.Now(), "by", "from", "to", "limit", "after")
	if err == nil && query.by == "" {
		err = errors.New("what is asked for? write history/203.0.113.5 for an address, or history?by=address, ?by=network or ?by=rule")
	}
	if err != nil {
		return nil, adminError(http.StatusBadRequest, err)
	}
	reader, err := rt.OpenHistory(r.Context())
	if err != nil {
		return nil, historyError(err)
	}
	ranking := history.Ranking{Period: query.period, Networks: query.by == adminapi.ByNetwork, Limit: query.limit, After: query.after}
	if query.by == adminapi.ByRule {
		return asked(reader.Rules(r.Context(), ranking))
	}
	return asked(reader.Worst(r.Context(), ranking))
}

// asked is what a reader answered, or its error with a status.
func asked[T any](answer T, err error) (any, error) {
	if err != nil {
		return nil, historyError(err)
	}
	return answer, nil
}

// historyError gives an error of a reader its status.
func historyError(err error) error {
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, runtime.ErrNoHistory):
		status = http.StatusNotFound
	case errors.Is(err, history.ErrQuery):
		status = http.StatusBadRequest
	case errors.Is(err, history.ErrUnavailable), errors.Is(err, history.ErrSchema):
		status = http.StatusServiceUnavailable
	case errors.Is(err, history.ErrSlow):
		status = http.StatusGatewayTimeout
	}
	return adminError(status, postgres.WithCure(err))
}

// historyQuery is the query of a URL.
type historyQuery struct {
	period  history.Period
	by      string
	after   string
	limit   int
	parts   int
	changes bool
	history bool
}

// parseHistoryQuery reads a query, of which only the given words are known.
func parseHistoryQuery(raw string, now time.Time, known ...string) (q historyQuery, err error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, fmt.Errorf("reading the query: %w", err)
	}
	q.parts = adminapi.DefaultParts
	for _, word := range slices.Sorted(maps.Keys(values)) {
		given := values[word]
		switch {
		case !slices.Contains(known, word):
			return q, fmt.Errorf("unknown word %q in the query: there are %s", word, strings.Join(known, ", "))
		case len(given) > 1:
			return q, fmt.Errorf("%s is there twice: write it once", word)
		}
		if err := q.set(word, given[0], now); err != nil {
			return q, err
		}
	}
	return q, adminapi.CheckPeriod(q.period, now, "from", "to")
}

func (q *historyQuery) set(word, value string, now time.Time) (err error) {
	switch word {
	case "from":
		q.period.From, err = adminapi.ParsePast(word, value, now, false)
	case "to":
		q.period.To, err = adminapi.ParsePast(word, value, now, true)
	case "limit":
		q.limit, err = parseCount(word, value, 1, history.MaxLimit)
	case "parts":
		q.parts, err = parseCount(word, value, 0, history.MaxParts)
	case "after":
		if q.after = value; value == "" {
			err = errors.New("after is empty: write what was next in the answer before, or leave it out")
		}
	case "changes":
		if q.changes = true; value != "" {
			err = errors.New("changes takes no value: write ?changes, or leave it out")
		}
	case "history":
		if q.history = true; value != "" {
			err = errors.New("history takes no value: write ?history, or leave it out")
		}
	case "by":
		if q.by = value; value != adminapi.ByAddress && value != adminapi.ByNetwork && value != adminapi.ByRule {
			err = fmt.Errorf("by %q is not known: write %s, %s or %s", value, adminapi.ByAddress, adminapi.ByNetwork, adminapi.ByRule)
		}
	}
	return err
}

func parseCount(word, value string, least, most int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%s %q is not a number from %d to %d", word, value, least, most)
	}
	return n, nil
}
