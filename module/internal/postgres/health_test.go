package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// as returns a DSN with another user, and a password unless it is empty.
func as(tb testing.TB, dsn, user, password string) string {
	tb.Helper()
	address, err := url.Parse(dsn)
	if err != nil {
		tb.Fatal(err)
	}
	address.User = url.User(user)
	if password != "" {
		address.User = url.UserPassword(user, password)
	}
	return address.String()
}

// through returns a DSN that leads over another address.
func through(tb testing.TB, dsn, addr string) string {
	tb.Helper()
	address, err := url.Parse(dsn)
	if err != nil {
		tb.Fatal(err)
	}
	address.Host = addr
	return address.String()
}

// asking returns a server that wants passwords of everybody but postgres.
func asking(tb testing.TB) *testenv.PostgreSQLServer {
	tb.Helper()
	s := testenv.PostgreSQL(tb, "-c", "password_encryption=scram-sha-256")
	s.SQL(`CREATE ROLE writer LOGIN PASSWORD 'password-of-first'`)
	s.SQL("GRANT CREATE ON DATABASE postgres TO writer")
	s.SQL(fmt.Sprintf(`COPY (VALUES ('host all postgres 127.0.0.1/32 trust'), ('host all all 127.0.0.1/32 scram-sha-256')) TO '%s'`, s.SQL("SHOW hba_file")))
	s.SQL("SELECT pg_reload_conf()")
	return s
}

func TestAPasswordThatChanges(t *testing.T) {
	t.Parallel()
	s := asking(t)
	var dsn atomic.Value
	dsn.Store(as(t, s.DSN, "writer", "password-of-nobody"))
	var log logtest.Log
	db := open(t, s.DSN, into(&log), func(db *DB) {
		db.options.DSN = func() (string, bool) { return dsn.Load().(string), true }
	})
	status := awaitResult(t, db, "denied")
	if !strings.Contains(status.Error, "28P01") || !strings.Contains(status.Cure, "password") {
		t.Errorf("%+v", status)
	}
	dsn.Store(as(t, s.DSN, "writer", "password-of-first"))
	awaitUp(t, db)
	write(t, db, batchOf(1, time.Now(), 1))

	// the server's changes first, and ends all connections, as some do
	s.SQL(`ALTER ROLE writer PASSWORD 'password-of-second'`)
	s.SQL("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'writer'")
	for {
		if _, err := db.Write(context.Background(), batchOf(2, time.Now(), 1)); errors.Is(err, history.ErrUnavailable) && strings.Contains(err.Error(), "28P01") {
			break
		} else if err == nil {
			t.Fatal("it can log in with an old password")
		}
	}
	dsn.Store(as(t, s.DSN, "writer", "password-of-second"))
	awaitUp(t, db)
	write(t, db, batchOf(2, time.Now(), 1))

	// ours changes first: what there is goes on
	s.SQL(`ALTER ROLE writer PASSWORD 'password-of-third'`)
	dsn.Store(as(t, s.DSN, "writer", "password-of-third"))
	db.health.requestCheck()
	write(t, db, batchOf(3, time.Now(), 1))
	if got := ask[int64](t, s.DSN, "SELECT count(*) FROM ip_reputation.batches"); got != 3 {
		t.Errorf("%d batches", got)
	}
	if strings.Contains(log.String(), "password-of") {
		t.Errorf("%s", &log)
	}
	if got := strings.Count(log.String(), "result=denied"); got != 1 {
		t.Errorf("it is said %d times that the login is refused", got)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	admin := database(t)
	// Roles belong to the whole server.
	base, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	name := base.Path[1:]
	stranger, guest, lonely := "stranger_"+name, "guest_"+name, "lonely_"+name
	do(t, admin, fmt.Sprintf("CREATE ROLE %s LOGIN; CREATE ROLE %s LOGIN; CREATE ROLE %s LOGIN CONNECTION LIMIT 0", stranger, guest, lonely))
	t.Cleanup(func() {
		do(t, admin, fmt.Sprintf("DROP OWNED BY %[1]s, %[2]s, %[3]s; DROP ROLE %[1]s, %[2]s, %[3]s", stranger, guest, lonely))
	})

	absent := *base
	absent.Path = "/nobody_has_made_it"
	refused := *base
	refused.Host = "127.0.0.1:9" // discard
	for _, tc := range []struct{ dsn, result, text, cure string }{
		{as(t, admin, stranger, ""), "forbidden", "42501", "GRANT CREATE ON DATABASE"},
		{as(t, admin, lonely, ""), "busy", "53300", "max_connections"},
		{absent.String(), "no_database", "3D000", "CREATE DATABASE"},
		{refused.String(), "unreachable", "refused", "server runs"},
		{"host=127.0.0.1 port=eins", "dsn", "port", "DSN"},
		{"", "dsn", "empty", "DSN"},
	} {
		db := open(t, tc.dsn)
		s := awaitResult(t, db, tc.result)
		if !strings.Contains(s.Error, tc.text) || !strings.Contains(s.Cure, tc.cure) {
			t.Errorf("%s: %+v", tc.dsn, s)
		}
		if _, err := db.Write(context.Background(), batchOf(1, time.Now(), 1)); err == nil || Cure(err) != s.Cure {
			t.Errorf("%s: %v", tc.dsn, err)
		}
		if _, err := Migrate(context.Background(), tc.dsn, "up"); err == nil || Cure(err) != s.Cure || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: migrate: %v", tc.dsn, err)
		}
	}

	db := open(t, as(t, admin, stranger, ""))
	awaitResult(t, db, "forbidden")
	do(t, admin, fmt.Sprintf("GRANT CREATE ON DATABASE %s TO %s", name, stranger))
	awaitUp(t, db)
	write(t, db, batchOf(1, time.Now(), 1))

	other := open(t, as(t, admin, guest, ""))
	awaitResult(t, other, "forbidden")
	do(t, admin, fmt.Sprintf("GRANT USAGE ON SCHEMA ip_reputation TO %[1]s; GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA ip_reputation TO %[1]s", guest))
	s := await(t, other, "kept from making partitions", func(s Status) bool { return s.Upkeep != "" })
	if !s.Up || !strings.Contains(s.Upkeep, "42501") {
		t.Errorf("%+v", s)
	}
	if _, err := other.Write(context.Background(), batchOf(2, time.Now(), 1)); err != nil && !strings.Contains(err.Error(), "42501") {
		t.Errorf("%v", err)
	}
	do(t, admin, fmt.Sprintf("GRANT %s TO %s", stranger, guest)) // the cure
	if f := dropNowIn(other); f != nil {
		t.Errorf("with the cure: %v", f)
	}
}

func dropNowIn(db *DB) *failure {
	for end := time.Now().Add(testPatience); !db.Up() && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	return dropNow(db)
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	migrate(t, dsn, "up")
	do(t, dsn, fmt.Sprintf("ALTER DATABASE %s SET default_transaction_read_only = on", ask[string](t, dsn, "SELECT current_database()")))
	db := open(t, dsn)
	s := awaitResult(t, db, "read_only")
	if !strings.Contains(s.Cure, "target_session_attrs=read-write") {
		t.Errorf("%+v", s)
	}
	if _, err := db.Write(context.Background(), batchOf(1, time.Now(), 1)); !errors.Is(err, history.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if _, err := db.usable(); err != nil {
		t.Errorf("it cannot be read: %v", err)
	}
}

// TestDemotedPrimary turns the primary into a server that takes no writes, and leads new connections to another, as an
// address that moves does. Nobody ends the old connections.
func TestDemotedPrimary(t *testing.T) {
	t.Parallel()
	for name, notice := range map[string]func(*DB, history.Store) error{
		"by a write": func(_ *DB, db history.Store) error {
			_, err := db.Write(context.Background(), batchOf(2, time.Now(), 1))
			return err
		},
		"by a check": func(db *DB, _ history.Store) error {
			if f := db.check(); f != nil {
				return f
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			old, promoted := testenv.PostgreSQL(t), testenv.PostgreSQL(t)
			migrate(t, promoted.DSN, "up")
			link := testenv.Proxy(t, old.Addr)
			db := open(t, through(t, old.DSN, link.Addr))
			awaitUp(t, db)
			write(t, db, batchOf(1, time.Now(), 1))

			old.SQL("ALTER SYSTEM SET default_transaction_read_only = on")
			link.Lead(promoted.Addr)
			old.SQL("SELECT pg_reload_conf()")
			var readOnly error
			for end := time.Now().Add(testPatience); readOnly == nil; time.Sleep(time.Millisecond) {
				if readOnly = notice(db, db); time.Now().After(end) {
					t.Fatal("the old primary takes writes")
				}
			}
			if !strings.Contains(Cure(readOnly), "target_session_attrs=read-write") {
				t.Errorf("%v", readOnly)
			}
			if _, err := db.Write(context.Background(), batchOf(3, time.Now(), 1)); err != nil {
				t.Errorf("the next write does not reach the new primary: %v", err)
			}
			db.health.requestCheck() // a failed check of its own would have made the next one soon
			awaitUp(t, db)
			if got := ask[int](t, promoted.DSN, "SELECT count(*) FROM ip_reputation.batches"); got == 0 {
				t.Error("nothing is in the new primary")
			}
		})
	}
}

// TestNotPostgreSQL calls a mail server: what it says reads as the announcement of 800 MB.
func TestNotPostgreSQL(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = conn.Write([]byte("220 mail.example.org ESMTP\r\n"))
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			}()
		}
	}()
	before := allocated()
	db := open(t, "postgres://writer@"+listener.Addr().String()+"/postgres?sslmode=disable&connect_timeout=2")
	s := awaitResult(t, db, "unreachable")
	if !strings.Contains(s.Error, "may not be PostgreSQL") || !strings.Contains(s.Cure, "port") {
		t.Errorf("%+v", s)
	}
	if grown := allocated() - before; grown > 64<<20 {
		t.Errorf("it takes %d MiB", grown>>20)
	}
}

// allocated returns how many bytes were allocated since the start.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// TestSilence is about a network that swallows everything, and a server that says nothing.
func TestSilence(t *testing.T) {
	t.Parallel()
	s := testenv.PostgreSQL(t)
	link := testenv.Proxy(t, s.Addr)
	short := func(db *DB) { db.writeLimit = 300 * time.Millisecond }
	db := open(t, through(t, s.DSN, link.Addr), short)
	awaitUp(t, db)
	write(t, db, batchOf(1, time.Now(), 10))
	for i, fault := range []struct {
		name        string
		begin, over func()
	}{
		{"black hole", link.BlackHole, link.Heal},
		{"pause", s.Pause, s.Resume},
		{"drip", func() { link.Drip(20) }, link.Heal},
	} {
		b := batchOf(uint64(i+2), time.Now(), 1000)
		fault.begin()
		if _, err := db.Write(context.Background(), b); !errors.Is(err, history.ErrUnavailable) {
			t.Errorf("%s: %v", fault.name, err)
		}
		fault.over()
		for end := time.Now().Add(testPatience); ; {
			_, err := db.Write(context.Background(), b)
			if err == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %v", fault.name, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	awaitUp(t, db)
	link.BlackHole()
	if _, err := db.Write(context.Background(), batchOf(9, time.Now(), 1)); !errors.Is(err, history.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if err := db.Close(); err != nil { // it must not wait for connections that say nothing
		t.Error(err)
	}
	if got, want := ask[int64](t, s.DSN, storedEntries), entriesOf(batchOf(1, time.Now(), 10))+3*entriesOf(batchOf(1, time.Now(), 1000)); got != want {
		t.Errorf("%d entries, want %d", got, want)
	}
}

// TestEachOnce kills the server, and cuts the network in the moment of an answer, while batches are written. Each entry is
// there once in the end.
func TestEachOnce(t *testing.T) {
	t.Parallel()
	s := testenv.PostgreSQL(t)
	link := testenv.Proxy(t, s.Addr)
	const writers, each, size = 2, 60, 1000
	var group sync.WaitGroup
	var finished, failures atomic.Int64
	for w := range writers {
		db := open(t, through(t, s.DSN, link.Addr))
		group.Go(func() {
			for i := range each {
				// Every third is written by both, as when two programs find the same spool.
				number := uint64(w*each + i)
				if i%3 == 0 {
					number = uint64(1000 + i)
				}
				b := batchOf(number, time.Now(), size)
				for {
					stored, err := db.Write(context.Background(), b)
					if err == nil {
						if stored.Entries != entriesOf(b) {
							t.Errorf("%+v", stored)
						}
						break
					}
					failures.Add(1)
					if !db.Up() {
						time.Sleep(20 * time.Millisecond)
					}
				}
				finished.Add(1)
			}
		})
	}
	progress := func(n int64) {
		for end := time.Now().Add(testPatience); finished.Load() < n; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("only %d batches are written", finished.Load())
				return
			}
		}
	}
	const rounds = 10
	for i := range int64(rounds) {
		progress((i + 1) * writers * each / (rounds + 2))
		if i%2 == 0 {
			s.Stop()
			s.Start()
		} else {
			link.Reset()
			before := failures.Load()
			for end := time.Now().Add(testPatience); failures.Load() == before && time.Now().Before(end); time.Sleep(time.Millisecond) {
			}
			link.Heal()
		}
	}
	group.Wait()
	batches := int64(writers*each - each/3)
	if got, want := ask[int64](t, s.DSN, storedEntries), batches*entriesOf(batchOf(1, time.Now(), size)); got != want {
		t.Errorf("%d entries, want %d", got, want)
	}
	if got := ask[int64](t, s.DSN, "SELECT count(*) FROM ip_reputation.batches"); got != batches {
		t.Errorf("%d batches, want %d", got, batches)
	}
	if got := ask[int64](t, s.DSN, "SELECT count(*) FROM (SELECT FROM ip_reputation.decisions GROUP BY request_id HAVING count(*) > 1) twice"); got != 0 {
		t.Errorf("%d rows are there twice", got)
	}
	t.Logf("%d batches, %d attempts failed", batches, failures.Load())
}

func TestBegin(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	db := open(t, dsn, asIs)
	awaitResult(t, db, "schema")
	ctx := context.Background()
	if _, err := db.begin(ctx, pgx.TxOptions{}); !errors.Is(err, history.ErrSchema) {
		t.Errorf("without tables: %v", err)
	}
	migrate(t, dsn, "up")
	awaitUp(t, db)
	tx, err := db.begin(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := tx.QueryRow(ctx, "SELECT count(*) FROM ip_reputation.decisions").Scan(&n); err != nil {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := db.begin(ended, pgx.TxOptions{}); !errors.Is(err, context.Canceled) || !db.Up() {
		t.Errorf("a question that was given up: %v", err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if _, err := db.begin(ctx, pgx.TxOptions{}); !errors.Is(err, history.ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
}

// TestCloseCutsOff closes while somebody has a transaction open, and waits in it.
func TestCloseCutsOff(t *testing.T) {
	t.Parallel()
	db := open(t, database(t))
	awaitUp(t, db)
	ctx := context.Background()
	tx, err := db.begin(ctx, pgx.TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan error)
	go func() {
		_, err := tx.Exec(ctx, "SELECT pg_sleep(600)")
		_ = tx.Rollback(ctx)
		asked <- err
	}()
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if err := <-asked; err == nil {
		t.Error("it has slept to the end")
	}
}
