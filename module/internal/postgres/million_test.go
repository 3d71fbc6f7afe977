package postgres

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history/recorder"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The environment of a process that records: its folder, its database, and the number of its first request.
const (
	childDir   = "IPREP_TEST_RECORDER_DIR"
	childDSN   = "IPREP_TEST_RECORDER_DSN"
	childFirst = "IPREP_TEST_RECORDER_FIRST"
)

const (
	million  = 1_000_000
	clients  = 20_000
	regulars = 500 // those of the clients that come often
	burst    = 50_000
)

// numbered is the request of a number.
func numbered(n int) history.Event {
	return history.Event{
		At: time.Now(), Address: clientOf(n), Host: "app.example.com", Rule: "block score 85", Action: reputation.Action(n / clients % 4), Enforce: true,
		RequestID: strconv.Itoa(n), Config: "0123456789ab", Verdict: reputation.Verdict{Scored: true, Score: uint8(n / clients % 4)},
	}
}

// clientOf returns the client of the request of a number. All clients come five times at first. Then a few come often, as most
// do: their requests are counted in few rows, and rows are what takes the time.
func clientOf(n int) netip.Addr {
	if n < 5*clients {
		n %= clients
	} else {
		n %= regulars
	}
	return netip.AddrFrom4([4]byte{203, byte(n), byte(n >> 8), 7}) // each has a network, so that each has its rows
}

// record hands requests to a Recorder, no faster than it takes them, and returns when they are on disk.
func record(r *recorder.Recorder, first, last int) {
	for n := first; n < last; n++ {
		if n%1000 == 0 {
			for r.Status().Queued > 8000 {
				time.Sleep(time.Millisecond)
			}
		}
		r.Record(numbered(n))
	}
	for r.Status().Unsaved > 0 {
		time.Sleep(time.Millisecond)
	}
}

// child records until it is killed, and says what it has begun and what is on disk.
func child() {
	first, err := strconv.Atoi(os.Getenv(childFirst))
	if err != nil {
		panic(err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	db, err := Open(Options{DSN: func() (string, bool) { return os.Getenv(childDSN), true }, Migrate: true, Logger: log})
	if err != nil {
		panic(err)
	}
	db.Start()
	r := recorder.Open(recorder.Options{Dir: os.Getenv(childDir), Logger: log})
	r.Use(recorder.Settings{Store: db, Rows: 1 << 20})
	r.Start()
	for n := first; n < million; n += burst {
		fmt.Println("begun", n+burst)
		record(r, n, n+burst)
		fmt.Println("safe", n+burst)
	}
	for left := 1; left > 0; { // what those left that were killed is found after some seconds
		time.Sleep(10 * time.Millisecond)
		files, err := os.ReadDir(os.Getenv(childDir))
		if err != nil {
			panic(err)
		}
		left = 0
		for _, f := range files {
			if !strings.HasSuffix(f.Name(), ".tmp") { // which is in a journal as well, and removed after a minute
				left++
			}
		}
	}
	fmt.Println("stored 0")
	select {}
}

// shift is requests that came one after the other: from first on, those before safe are on disk, those before begun may be.
type shift struct{ first, safe, begun int }

// follow runs a process that records from a number on, and kills it when until says so.
func follow(t *testing.T, dir, dsn string, first int, until func(word string, n int) bool) shift {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childDSN+"="+dsn, childFirst+"="+strconv.Itoa(first))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := shift{first, first, first}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var word string
		var n int
		if _, err := fmt.Sscan(lines.Text(), &word, &n); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		switch word {
		case "safe":
			s.safe = n
		case "begun":
			s.begun = n
		}
		if until(word, n) {
			break
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return s
}

// amid waits until a burst is under way.
func amid() bool {
	time.Sleep(time.Duration(10+rand.IntN(50)) * time.Millisecond)
	return true
}

// TestAMillion proves what becomes of a million requests when the process that records them is killed three times, and the
// database twice: those that were on disk are in the database, none is there twice, and at most those of a burst that was
// under way at a kill are missing.
func TestAMillion(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some time")
	}
	t.Parallel()
	server, dir := testenv.PostgreSQL(t), t.TempDir()
	var shifts []shift
	next := 0
	run := func(until func(word string, n int) bool) {
		s := follow(t, dir, server.DSN, next, until)
		shifts = append(shifts, s)
		next = s.begun
	}
	run(func(word string, n int) bool { return word == "begun" && n > 200_000 && amid() })
	server.Stop()
	run(func(word string, n int) bool { return word == "safe" && n > 400_000 })
	server.Start()
	run(func(word string, n int) bool {
		if word == "safe" && n/burst%4 == 0 {
			server.Stop()
			server.Start()
		}
		return word == "begun" && n > 700_000 && amid()
	})
	run(func(word string, _ int) bool { return word == "stored" })

	least, most := map[netip.Addr]int64{}, map[netip.Addr]int64{}
	for _, s := range shifts {
		for n := s.first; n < s.begun; n++ {
			most[clientOf(n)]++
			if n < s.safe {
				least[clientOf(n)]++
			}
		}
	}
	conn, err := pgx.Connect(t.Context(), server.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), "SELECT address, sum(count)::bigint FROM ip_reputation.decisions GROUP BY 1")
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	var addr netip.Addr
	var n int64
	seen := 0
	if _, err := pgx.ForEachRow(rows, []any{&addr, &n}, func() error {
		if n < least[addr] || n > most[addr] {
			t.Errorf("%s has %d requests, want %d to %d", addr, n, least[addr], most[addr])
		}
		total += n
		seen++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if seen != clients {
		t.Errorf("%d of %d clients are in the database", seen, clients)
	}
	t.Logf("%d of %d requests are stored; the kills were at %v", total, next, shifts)
}

// TestAFullDisk proves that while the database is dead and the spool is full, the oldest are dropped, and that all of them are
// either stored or said to be lost.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	server := testenv.PostgreSQL(t)
	var log logtest.Log
	logger := slog.New(slog.NewTextHandler(&log, nil))
	db := open(t, server.DSN, func(db *DB) {})
	awaitUp(t, db)
	r := recorder.Open(recorder.Options{Dir: t.TempDir(), Logger: logger})
	r.Use(recorder.Settings{Store: db, Limit: 1 << 20, Rows: 1 << 20})
	r.Start()
	t.Cleanup(func() { _ = r.Close() })
	server.Stop()
	const requests = 200_000
	record(r, 0, requests)
	server.Start()
	for end := time.Now().Add(testPatience); r.Status().Waiting > 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		r.Sync(t.Context())
	}
	counts := r.Counts()
	stored, err := strconv.ParseInt(server.SQL("SELECT sum(count) FROM ip_reputation.decisions"), 10, 64)
	if err != nil || stored != counts.Written || counts.Dropped[recorder.DropSpool] == 0 || stored+counts.Dropped[recorder.DropSpool] != requests {
		t.Errorf("of %d requests %d are stored, and the counts are %+v: %v", requests, stored, counts, err)
	}
	if !strings.Contains(log.String(), "the spool of the history is full: the oldest entries are dropped") {
		t.Errorf("the log does not say so: %s", &log)
	}
	t.Logf("%d stored, %d dropped", stored, counts.Dropped[recorder.DropSpool])
}
