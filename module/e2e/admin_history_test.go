package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
)

// aReader answers with what it is given, and keeps what it was asked.
type aReader struct {
	timeline history.Timeline
	graph    history.Graph
	changes  history.Changes
	worst    history.Worst
	rules    history.Rules
	err      error // of everything
	graphErr error

	decisions []history.Decision // of a request

	mu    sync.Mutex
	asked []any
}

// graphed is what a graph was asked for.
type graphed struct {
	Question history.Query
	Parts    int
}

func (r *aReader) note(question any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, question)
}

func (r *aReader) Timeline(_ context.Context, q history.Query) (history.Timeline, error) {
	r.note(q)
	t := r.timeline
	t.Prefix = q.Prefix
	return t, r.err
}

func (r *aReader) Graph(_ context.Context, q history.Query, parts int) (history.Graph, error) {
	r.note(graphed{q, parts})
	return r.graph, errors.Join(r.err, r.graphErr)
}

func (r *aReader) Changes(_ context.Context, q history.Query) (history.Changes, error) {
	r.note(q)
	c := r.changes
	c.Prefix = q.Prefix
	return c, r.err
}

func (r *aReader) Worst(_ context.Context, q history.Ranking) (history.Worst, error) {
	r.note(q)
	return r.worst, r.err
}

func (r *aReader) Requests(_ context.Context, id string, p history.Period) (history.Requests, error) {
	r.note(id)
	return history.Requests{Period: p, Decisions: r.decisions}, r.err
}

func (r *aReader) Rules(_ context.Context, q history.Ranking) (history.Rules, error) {
	r.note(q)
	return r.rules, r.err
}

// questions returns what was asked since it was called last.
func (r *aReader) questions() []any {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := r.asked
	r.asked = nil
	return asked
}

func at(clock string) time.Time {
	t, err := time.Parse(time.DateTime, "2026-11-"+clock)
	if err != nil {
		panic(err)
	}
	return t
}

// remembered is a Caddy whose history is what the reader says.
func remembered(t *testing.T) (*running, *aReader) {
	t.Helper()
	period := history.Period{From: at("19 12:00:00"), To: at("26 12:00:00")}
	seen := &history.Seen{
		First: at("23 23:00:04"), Last: at("26 11:59:59"), Requests: 1234,
		Actions: map[string]int64{"block": 34, "pass": 1000, "limit": 200},
	}
	r := &aReader{timeline: history.Timeline{Period: period, Seen: seen, Entries: []history.Entry{}}, graph: history.Graph{Period: period}}
	c := startCaddy(t, newConfig(t))
	runtime.Serving().OpenHistory = func(context.Context) (history.Reader, error) { return r, nil }
	return c, r
}

func TestAdminHistoryAsks(t *testing.T) {
	r, reader := remembered(t)
	address, network := netip.MustParsePrefix("203.0.113.7/32"), netip.MustParsePrefix("203.0.113.0/24")
	understood := reader.timeline.Period
	understood.From = reader.timeline.Seen.First // before that there is nothing to draw
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	for _, tc := range []struct {
		path string
		want []any
	}{
		{"history/203.0.113.7", []any{history.Query{Prefix: address}, graphed{history.Query{Prefix: address, Period: understood}, 60}}},
		{"history/::ffff:203.0.113.7?parts=0", []any{history.Query{Prefix: address}}},
		{"history/203.0.113.0/24?parts=7", []any{history.Query{Prefix: network}, graphed{history.Query{Prefix: network, Period: understood}, 7}}},
		{"history/203.0.113.0%2F24?after=abc&limit=5", []any{history.Query{Prefix: network, Limit: 5, After: "abc"}}},
		{"history/2001:db8:1:2::5?parts=0", []any{history.Query{Prefix: netip.MustParsePrefix("2001:db8:1:2::/64")}}},
		{"history/2001:db8::/48?parts=0", []any{history.Query{Prefix: netip.MustParsePrefix("2001:db8::/48")}}},
		{"history/203.0.113.7?changes&from=2026-11-24&to=2026-11-24", []any{
			history.Query{Prefix: address, Period: history.Period{From: at("24 00:00:00"), To: at("25 00:00:00")}},
		}},
		{"history/203.0.113.7?changes&from=2026-11-24T16:00:00%2B01:00&to=2026-11-24T15:00:01Z", []any{
			history.Query{Prefix: address, Period: history.Period{From: at("24 15:00:00"), To: at("24 15:00:01")}},
		}},
		{"history/203.0.113.7?changes&from=7d&to=24h", []any{
			history.Query{Prefix: address, Period: history.Period{From: ago(7 * 24 * time.Hour), To: ago(24 * time.Hour)}},
		}},
		{"history?by=address", []any{history.Ranking{}}},
		{"history?by=network&limit=1000&after=abc", []any{history.Ranking{Networks: true, Limit: 1000, After: "abc"}}},
		{"history?by=rule&from=2026-11-24", []any{history.Ranking{Period: history.Period{From: at("24 00:00:00")}}}},
	} {
		got := r.ask(t, http.MethodGet, tc.path, "")
		if got.status != http.StatusOK || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: status %d, %s", tc.path, got.status, got.body)
		}
		// a minute is more than a busy machine takes, and less than any mistake
		if diff := cmp.Diff(tc.want, reader.questions(), cmpopts.EquateApproxTime(time.Minute), cmp.Comparer(samePrefix)); diff != "" {
			t.Errorf("%s (-want +asked):\n%s", tc.path, diff)
		}
	}
}

func samePrefix(a, b netip.Prefix) bool { return a == b }

// TestAdminHistoryAnswers proves that the answer is the reader's, with a graph where it belongs.
func TestAdminHistoryAnswers(t *testing.T) {
	r, reader := remembered(t)
	reader.timeline.Next = "abc"
	reader.graph.Parts = []history.Part{{From: at("19 12:00:00"), Score: new(uint8(85)), Actions: map[string]int64{"block": 1}}}
	const seen = `"prefix":"203.0.113.7/32","period":{"from":"2026-11-19T12:00:00Z","to":"2026-11-26T12:00:00Z"},` +
		`"seen":{"first":"2026-11-23T23:00:04Z","last":"2026-11-26T11:59:59Z","requests":1234,"actions":{"block":34,"limit":200,"pass":1000}},` +
		`"entries":[],"next":"abc"`
	const graph = `"graph":{"period":{"from":"2026-11-19T12:00:00Z","to":"2026-11-26T12:00:00Z"},` +
		`"parts":[{"from":"2026-11-19T12:00:00Z","score":85,"actions":{"block":1}}]}`
	want := func(path, body string) {
		t.Helper()
		if got := strings.TrimSpace(r.ask(t, http.MethodGet, path, "").body); got != body {
			t.Errorf("%s:\n got %s\nwant %s", path, got, body)
		}
	}
	want("history/203.0.113.7", "{"+seen+","+graph+"}")
	want("history/203.0.113.7?after=abc", "{"+seen+"}")
	reader.graphErr = fmt.Errorf("of 7 days: %w", history.ErrSlow)
	want("history/203.0.113.7", "{"+seen+`,"warning":"the graph is left out: of 7 days: the question takes the database too long: ask for a shorter time"}`)
	reader.timeline.Seen, reader.timeline.Next = nil, ""
	want("history/203.0.113.7", `{"prefix":"203.0.113.7/32","period":{"from":"2026-11-19T12:00:00Z","to":"2026-11-26T12:00:00Z"},"seen":null,"entries":[]}`)
}

func TestAdminHistoryErrors(t *testing.T) {
	r, reader := remembered(t)
	ahead := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	for _, tc := range []struct{ path, says string }{
		{"history/example.com", `"example.com" is not an IP address`},
		{"history/203.0.113.7/24", `write 203.0.113.7 for the address, or 203.0.113.0/24 for the range`},
		{"history/203.0.113.7?since=7d", `unknown word "since" in the query: there are from, to, limit, after, changes, parts`},
		{"history/203.0.113.7?changes&parts=3", `unknown word "parts" in the query: there are from, to, limit, after, changes`},
		{"history/203.0.113.7?by=rule", `unknown word "by"`},
		{"history/203.0.113.7?changes=1", `changes takes no value`},
		{"history/203.0.113.7?limit=0", `limit "0" is not a number from 1 to 1000`},
		{"history/203.0.113.7?limit=1001", `limit "1001" is not a number from 1 to 1000`},
		{"history/203.0.113.7?parts=many", `parts "many" is not a number from 0 to 1000`},
		{"history/203.0.113.7?after=", `after is empty`},
		{"history/203.0.113.7?from=7d&from=8d", `from is there twice`},
		{"history/203.0.113.7?from=yesterday", `from "yesterday" is no time: write a day such as 2026-11-24`},
		{"history/203.0.113.7?to=-7d", `to "-7d" is no time`},
		{"history/203.0.113.7?from=2026-02-30", `from "2026-02-30" is no time`},
		{"history/203.0.113.7?from=" + ahead, "lies ahead"},
		{"history/203.0.113.7?from=24h&to=7d", "is not before to"},
		{"history/203.0.113.7?%zz", "reading the query"},
		{"history", "write history/203.0.113.5 for an address, or history?by=address"},
		{"history/", "write history/203.0.113.5 for an address"},
		{"history?by=host", `by "host" is not known: write address, network or rule`},
		{"history?by=rule&parts=3", `unknown word "parts" in the query: there are by, from, to, limit, after`},
	} {
		got := r.ask(t, http.MethodGet, tc.path, "")
		if said := into[struct{ Error string }](t, got); got.status != http.StatusBadRequest || !strings.Contains(said.Error, tc.says) {
			t.Errorf("%s: status %d, %q, want %q", tc.path, got.status, said.Error, tc.says)
		}
	}
	if asked := reader.questions(); asked != nil {
		t.Errorf("after nothing but mistakes, the database was asked %v", asked)
	}
	for _, tc := range []struct {
		err    error
		status int
	}{
		{fmt.Errorf("connecting to 127.0.0.1:5432: %w", history.ErrUnavailable), http.StatusServiceUnavailable},
		{fmt.Errorf("of version 9: %w", history.ErrSchema), http.StatusServiceUnavailable},
		{fmt.Errorf("of 7 days: %w", history.ErrSlow), http.StatusGatewayTimeout},
		{fmt.Errorf("after is not from here: %w", history.ErrQuery), http.StatusBadRequest},
		{errors.New("something else"), http.StatusInternalServerError},
	} {
		reader.err = tc.err
		for _, path := range []string{"history/203.0.113.7", "history/203.0.113.7?changes", "history?by=address", "history?by=rule"} {
			got := r.ask(t, http.MethodGet, path, "")
			if said := into[struct{ Error string }](t, got); got.status != tc.status || said.Error != tc.err.Error() {
				t.Errorf("%s with %v: status %d, %q", path, tc.err, got.status, said.Error)
			}
		}
	}
}

// TestNoHistory proves that who keeps none is told how to.
func TestNoHistory(t *testing.T) {
	r := startCaddy(t, newConfig(t))
	got := r.ask(t, http.MethodGet, "history/203.0.113.7", "")
	if got.status != http.StatusNotFound || !strings.Contains(got.body, "no history is kept: add `history {env.DATABASE_URL}`") {
		t.Errorf("status %d, %s", got.status, got.body)
	}
}
