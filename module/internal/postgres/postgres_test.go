package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// patience of tests is for a loaded machine.
const testPatience = 60 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(childDir) != "" {
		child()
		return
	}
	code := m.Run()
	shared.end()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// shared is the server of all tests that do not stop it, started by the first of them.
var shared packageTB

// packageTB is what a server takes for its test, and lasts as long as all tests.
type packageTB struct {
	testing.TB
	once     sync.Once
	server   *testenv.PostgreSQLServer
	skip     string
	fatal    string
	cleanups []func()
}

func (p *packageTB) Helper()                   {}
func (p *packageTB) Cleanup(f func())          { p.cleanups = append(p.cleanups, f) }
func (p *packageTB) Error(a ...any)            { fmt.Fprintln(os.Stderr, a...) }
func (p *packageTB) Fatal(a ...any)            { p.fatal = fmt.Sprint(a...); runtime.Goexit() }
func (p *packageTB) Errorf(f string, a ...any) { fmt.Fprintf(os.Stderr, f+"\n", a...) }
func (p *packageTB) Fatalf(f string, a ...any) { p.fatal = fmt.Sprintf(f, a...); runtime.Goexit() }
func (p *packageTB) Skipf(f string, a ...any)  { p.skip = fmt.Sprintf(f, a...); runtime.Goexit() }

func (p *packageTB) end() {
	for i := len(p.cleanups) - 1; i >= 0; i-- {
		p.cleanups[i]()
	}
}

// database returns the DSN of an empty database on the shared server.
func database(tb testing.TB) string {
	tb.Helper()
	shared.once.Do(func() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			shared.server = testenv.PostgreSQL(&shared, "-c", "max_connections=200")
		}()
		<-done
	})
	switch {
	case shared.skip != "":
		tb.Skip(shared.skip)
	case shared.fatal != "":
		tb.Fatal(shared.fatal)
	}
	return shared.server.DatabaseFor(tb)
}

// fixed returns a DSN that does not change.
func fixed(dsn string) func() (string, bool) { return func() (string, bool) { return dsn, true } }

// open returns a database that is looked after until the test ends. Its tables are made unless set says otherwise.
func open(tb testing.TB, dsn string, set ...func(*DB)) *DB {
	tb.Helper()
	db, err := Open(Options{DSN: fixed(dsn), Migrate: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	for _, s := range set {
		s(db)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	db.Start()
	return db
}

func into(log *logtest.Log) func(*DB) { return func(db *DB) { db.log = log.Logger() } }

func asIs(db *DB) { db.options.Migrate = false }

// await waits for what the database is like.
func await(tb testing.TB, db *DB, what string, is func(Status) bool) Status {
	tb.Helper()
	for end := time.Now().Add(testPatience); ; time.Sleep(5 * time.Millisecond) {
		s := db.Status()
		if is(s) {
			return s
		}
		if time.Now().After(end) {
			tb.Fatalf("it is not %s in the end: %+v", what, s)
		}
	}
}

func awaitUp(tb testing.TB, db *DB) Status {
	tb.Helper()
	return await(tb, db, "up", func(s Status) bool { return s.Up })
}

func awaitResult(tb testing.TB, db *DB, result string) Status {
	tb.Helper()
	return await(tb, db, result, func(s Status) bool { return !s.Up && s.Result == result })
}

// ask returns what a statement finds, one value.
func ask[T any](tb testing.TB, dsn, statement string, args ...any) (value T) {
	tb.Helper()
	conn := connect(tb, dsn)
	defer conn.Close(context.Background())
	if err := conn.QueryRow(context.Background(), statement, args...).Scan(&value); err != nil {
		tb.Fatalf("%s: %v", statement, err)
	}
	return value
}

// do executes statements.
func do(tb testing.TB, dsn, statements string) {
	tb.Helper()
	conn := connect(tb, dsn)
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), statements); err != nil {
		tb.Fatalf("%s: %v", statements, err)
	}
}

func connect(tb testing.TB, dsn string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		tb.Fatal(err)
	}
	return conn
}

// batchOf returns a batch with a number, decisions, a change and incidents at a time.
func batchOf(number uint64, at time.Time, decisions int) *history.Batch {
	b := &history.Batch{}
	for i := range 8 {
		b.ID[15-i] = byte(number >> (8 * i))
	}
	b.ID[0] = 1
	score := uint8(85)
	for i := range decisions {
		b.Decisions = append(b.Decisions, history.Decision{
			Minute:  at.UTC().Truncate(time.Minute),
			Address: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 32),
			Host:    "app.example.com", Rule: "block score 85", Action: "block", Mode: "enforce",
			Count: 1 + int64(i%3), First: at, Last: at, RequestID: fmt.Sprintf("%d-%d", number, i),
			Score: &score, Status: "fresh", Config: "c0ffee",
		})
	}
	b.Changes = []history.Change{{
		At: at, Subject: netip.MustParsePrefix("2001:db8:1::/64"), Score: 85, Status: "fresh", Coverage: 0.75,
		Categories: []string{"scanner"}, Country: "NL", ASN: 4200000000,
		Evidence:  []history.Evidence{{Source: "abuseipdb", Points: 28.8, Categories: []string{"scanner"}, Age: 3600}},
		RequestID: fmt.Sprint(number), Config: "c0ffee",
	}}
	b.Incidents = incidentsOf(fmt.Sprint(number), at)
	return b
}

func entriesOf(b *history.Batch) (n int64) {
	for _, d := range b.Decisions {
		n += d.Count
	}
	for _, i := range b.Incidents {
		n += i.Count
	}
	return n + int64(len(b.Changes))
}

func write(tb testing.TB, db *DB, b *history.Batch) history.Stored {
	tb.Helper()
	stored, err := db.Write(context.Background(), b)
	if err != nil {
		tb.Fatalf("%v\n%+v", err, db.Status())
	}
	return stored
}

// storedEntries counts what the database has, in entries.
const storedEntries = `SELECT (coalesce((SELECT sum(count) FROM ip_reputation.decisions), 0) + (SELECT count(*) FROM ip_reputation.verdicts)
	+ coalesce((SELECT sum(count) FROM ip_reputation.incidents), 0))::bigint`

func TestOpen(t *testing.T) {
	t.Parallel()
	if _, err := Open(Options{}); err == nil {
		t.Error("it needs no DSN")
	}
	if _, err := Open(Options{DSN: fixed(""), Retention: -day}); err == nil || !strings.Contains(err.Error(), "-24h") {
		t.Errorf("a negative retention: %v", err)
	}
	db, err := Open(Options{DSN: func() (string, bool) { panic("it is called") }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Write(context.Background(), batchOf(1, time.Now(), 1)); err == nil {
		t.Error("it writes before it has started")
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("a second time: %v", err)
	}
	db.Start() // does nothing
}

func TestItWaitsForADSN(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	var mu sync.Mutex
	var known bool
	var told []string
	var log logtest.Log
	db := open(t, dsn, into(&log), func(db *DB) {
		db.options.DSN = func() (string, bool) {
			mu.Lock()
			defer mu.Unlock()
			return dsn, known
		}
		db.options.Notify = func(up bool, why string) { told = append(told, fmt.Sprint(up, why)) } // under the lock of health
	})
	s := await(t, db, "waiting", func(s Status) bool { return strings.HasSuffix(s.Error, "it is not known yet where it is") })
	if s.Server != "" || s.Cure == "" {
		t.Errorf("%+v", s)
	}
	mu.Lock()
	known = true
	mu.Unlock()
	s = awaitUp(t, db)
	if !strings.HasPrefix(s.Server, "127.0.0.1:") || s.SchemaFound != newestVersion || s.Error != "" {
		t.Errorf("%+v", s)
	}
	db.health.mu.Lock()
	defer db.health.mu.Unlock()
	if last := told[len(told)-1]; last != "true" || !strings.HasPrefix(told[0], "false") {
		t.Errorf("told %q", told)
	}
	if strings.Contains(log.String(), "WARN") || strings.Contains(log.String(), "ERROR") {
		t.Errorf("it complains about waiting: %s", &log)
	}
}
