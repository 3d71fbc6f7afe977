package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// readNow is when tests ask.
var readNow = time.Date(2026, 11, 26, 12, 0, 30, 0, time.UTC)

// library is a database to ask.
type library struct {
	*DB
	tb    testing.TB
	pool  *pgxpool.Pool // for the tests
	clock *atomic.Int64 // nanoseconds after readNow: the database looks at it in the background, too
}

// newLibrary returns one with tables but no rows, which has been told that it is readNow.
func newLibrary(tb testing.TB) *library {
	tb.Helper()
	dsn := database(tb)
	clock := new(atomic.Int64)
	db := open(tb, dsn, func(db *DB) {
		db.now = func() time.Time { return readNow.Add(time.Duration(clock.Load())) }
	})
	awaitUp(tb, db)
	return &library{db, tb, poolOf(tb, dsn), clock}
}

func poolOf(tb testing.TB, dsn string) *pgxpool.Pool {
	tb.Helper()
	pool, err := pgxpool.New(context.Background(), dsn)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

func (l *library) exec(statements string) {
	l.tb.Helper()
	if _, err := l.pool.Exec(context.Background(), statements); err != nil {
		l.tb.Fatalf("%.200s: %v", statements, err)
	}
}

// add stores rows, in this order.
func (l *library) add(decisions []history.Decision, changes []history.Change) {
	l.tb.Helper()
	b := &history.Batch{Decisions: decisions, Changes: changes}
	_, _ = rand.Read(b.ID[:])
	stored, err := l.Write(context.Background(), b)
	if err != nil || stored.Expired > 0 {
		l.tb.Fatalf("stored %+v, %v", stored, err)
	}
}

// readQuestions are all questions, about a prefix where they are about one.
func readQuestions(r history.Reader, p netip.Prefix) map[string]func(context.Context) error {
	q := history.Query{Prefix: p}
	return map[string]func(context.Context) error{
		"timeline": func(ctx context.Context) error { _, err := r.Timeline(ctx, q); return err },
		"graph":    func(ctx context.Context) error { _, err := r.Graph(ctx, q, 10); return err },
		"changes":  func(ctx context.Context) error { _, err := r.Changes(ctx, q); return err },
		"worst":    func(ctx context.Context) error { _, err := r.Worst(ctx, history.Ranking{}); return err },
		"networks": func(ctx context.Context) error { _, err := r.Worst(ctx, history.Ranking{Networks: true}); return err },
		"requests": func(ctx context.Context) error { _, err := r.Requests(ctx, "an-id", history.Period{}); return err },
		"rules":    func(ctx context.Context) error { _, err := r.Rules(ctx, history.Ranking{}); return err },
	}
}

var someNetwork = netip.MustParsePrefix("203.0.113.0/24")

func TestReadNothing(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	q := history.Query{Prefix: someNetwork}
	timeline, err := l.Timeline(t.Context(), q)
	if err != nil || timeline.Entries == nil || len(timeline.Entries) > 0 || timeline.Seen != nil || timeline.Next != "" {
		t.Errorf("timeline: %+v, %v", timeline, err)
	}
	changes, err := l.Changes(t.Context(), q)
	if err != nil || changes.Changes == nil || len(changes.Changes) > 0 || changes.Next != "" {
		t.Errorf("changes: %+v, %v", changes, err)
	}
	graph, err := l.Graph(t.Context(), q, 24)
	if err != nil || len(graph.Parts) != 24 || !graph.Parts[1].From.Equal(readNow.Add(-23*time.Hour)) {
		t.Errorf("graph: %+v, %v", graph, err)
	}
	worst, err := l.Worst(t.Context(), history.Ranking{})
	if err != nil || worst.Worst == nil || len(worst.Worst) > 0 || !worst.Period.From.Equal(readNow.Add(-24*time.Hour)) {
		t.Errorf("worst: %+v, %v", worst, err)
	}
	rules, err := l.Rules(t.Context(), history.Ranking{})
	if err != nil || rules.Rules == nil || len(rules.Rules) > 0 || !rules.Period.To.Equal(readNow) {
		t.Errorf("rules: %+v, %v", rules, err)
	}
}

func TestReadFailures(t *testing.T) {
	t.Parallel()
	away := []history.Reader{
		open(t, database(t), asIs), // no tables
		open(t, "postgres://postgres:password-of-nobody@127.0.0.1:1/postgres?sslmode=disable"),
	}
	awaitResult(t, away[0].(*DB), kinds[outdated].word)
	awaitResult(t, away[1].(*DB), kinds[unreachable].word)
	other := newLibrary(t)
	other.exec("ALTER TABLE ip_reputation.decisions RENAME host TO site; ALTER TABLE ip_reputation.verdicts RENAME score TO points")
	locked := newLibrary(t)
	locked.budget = 100 * time.Millisecond
	holder, err := locked.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holder.Exec(t.Context(), "LOCK ip_reputation.decisions, ip_reputation.verdicts"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback(context.Background()) }()
	full := newLibrary(t)
	for range maxReaders {
		full.slots <- struct{}{}
	}
	full.budget = 100*time.Millisecond - readGrace

	for name, c := range map[string]struct {
		history.Reader
		want error
		not  string // a question that does not fail so
	}{
		"no tables":         {away[0], history.ErrSchema, ""},
		"no server":         {away[1], history.ErrUnavailable, ""},
		"other columns":     {other, history.ErrSchema, "worst networks"},
		"a lock":            {locked, history.ErrSlow, ""},
		"busy with readers": {full, history.ErrUnavailable, ""},
	} {
		for question, ask := range readQuestions(c, someNetwork) {
			if err := ask(t.Context()); !errors.Is(err, c.want) && !strings.Contains(c.not, question) {
				t.Errorf("%s, %s: got %v, want %v", name, question, err, c.want)
			} else if err != nil && strings.Contains(err.Error(), "password-of") {
				t.Errorf("%s, %s: a secret: %v", name, question, err)
			}
		}
	}
}

func TestReadAway(t *testing.T) {
	t.Parallel()
	server := testenv.PostgreSQL(t)
	db := open(t, server.DSN)
	awaitUp(t, db)
	server.Stop()
	for name, ask := range readQuestions(db, someNetwork) {
		if err := ask(t.Context()); !errors.Is(err, history.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	server.Start()
	awaitUp(t, db)
	for name, ask := range readQuestions(db, someNetwork) {
		if err := ask(t.Context()); err != nil {
			t.Errorf("%s, when it is back: %v", name, err)
		}
	}
	server.Pause()
	db.budget = 100*time.Millisecond - readGrace
	for name, ask := range readQuestions(db, someNetwork) {
		if err := ask(t.Context()); !errors.Is(err, history.ErrUnavailable) {
			t.Errorf("%s, of one that says nothing: %v", name, err)
		}
	}
	server.Resume()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, ask := range readQuestions(db, someNetwork) {
		if err := ask(gone); !errors.Is(err, context.Canceled) || errors.Is(err, history.ErrUnavailable) {
			t.Errorf("%s, when nobody waits: %v", name, err)
		}
	}
}

func TestReadErrors(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]error{
		"57014": history.ErrSlow, "42P01": history.ErrSchema, "42703": history.ErrSchema, "3F000": history.ErrSchema,
		"57P01": history.ErrUnavailable, "53300": history.ErrUnavailable, "28P01": history.ErrUnavailable,
	} {
		if err := readError(&pgconn.PgError{Code: code}); !errors.Is(err, want) {
			t.Errorf("%s: %v", code, err)
		}
	}
	if err := readError(context.DeadlineExceeded); !errors.Is(err, history.ErrUnavailable) {
		t.Error(err)
	}
	if err := readError(pgx.ScanArgError{Err: errors.New("no such type")}); !errors.Is(err, history.ErrSchema) {
		t.Error(err)
	}
}

func TestReadMistakes(t *testing.T) {
	t.Parallel()
	// A question that makes no sense asks nobody.
	r := newReader(nil, func() time.Time { return readNow })
	host := netip.MustParsePrefix("203.0.113.7/32")
	next := cursor{Of: kindTimeline, Prefix: host, From: 0, To: readNow.UnixMicro()}.String()
	hour := history.Period{From: readNow.Add(-time.Hour), To: readNow}
	for name, q := range map[string]history.Query{
		"no prefix":         {},
		"a limit below 0":   {Prefix: host, Limit: -1},
		"a limit above":     {Prefix: host, Limit: history.MaxLimit + 1},
		"no time":           {Prefix: host, Period: history.Period{From: readNow, To: readNow}},
		"a time backwards":  {Prefix: host, Period: history.Period{From: hour.To, To: hour.From}},
		"a time to come":    {Prefix: host, Period: history.Period{From: readNow.Add(time.Hour)}},
		"a year too far":    {Prefix: host, Period: history.Period{To: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)}},
		"a year before all": {Prefix: host, Period: history.Period{From: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}},
		"another's next":    {Prefix: someNetwork, After: next},
		"no next":           {Prefix: host, After: "the next page, please"},
		"half a next":       {Prefix: host, After: next[:len(next)-3]},
		"a long next":       {Prefix: host, After: "1" + strings.Repeat("A", 1<<20)},
	} {
		_, err := r.Timeline(t.Context(), q)
		if _, other := r.Changes(t.Context(), q); !errors.Is(err, history.ErrQuery) || !errors.Is(other, history.ErrQuery) {
			t.Errorf("%s: %v, %v", name, err, other)
		}
		if len(err.Error()) > 300 || strings.Contains(err.Error(), "please") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, q := range map[string]history.Ranking{
		"a limit below 0":  {Limit: -1},
		"a time backwards": {Period: history.Period{From: hour.To, To: hour.From}},
		"another's next":   {After: next},
	} {
		_, err := r.Worst(t.Context(), q)
		if _, other := r.Rules(t.Context(), q); !errors.Is(err, history.ErrQuery) || !errors.Is(other, history.ErrQuery) {
			t.Errorf("%s: %v, %v", name, err, other)
		}
	}
	if _, err := r.Worst(t.Context(), history.Ranking{Networks: true, After: cursor{Of: kindWorst}.String()}); !errors.Is(err, history.ErrQuery) {
		t.Error("addresses go on as networks:", err)
	}
	for _, parts := range []int{-1, 0, history.MaxParts + 1} {
		if _, err := r.Graph(t.Context(), history.Query{Prefix: host, Period: hour}, parts); !errors.Is(err, history.ErrQuery) {
			t.Error(parts, "parts:", err)
		}
	}
}
