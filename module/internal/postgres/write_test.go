package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
)

// read returns everything that is stored, in the order of its request IDs.
func read(tb testing.TB, dsn string) (b history.Batch) {
	tb.Helper()
	ctx := context.Background()
	conn := connect(tb, dsn)
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT minute, address, host, rule, action, mode, count, first_at, last_at, request_id, score, status, config
		FROM ip_reputation.decisions ORDER BY request_id, id`)
	if err != nil {
		tb.Fatal(err)
	}
	b.Decisions, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (d history.Decision, err error) {
		err = row.Scan(&d.Minute, &d.Address, &d.Host, &d.Rule, &d.Action, &d.Mode, &d.Count, &d.First, &d.Last, &d.RequestID, &d.Score, &d.Status, &d.Config)
		d.Minute, d.First, d.Last = d.Minute.UTC(), d.First.UTC(), d.Last.UTC()
		return d, err
	})
	if err != nil {
		tb.Fatal(err)
	}
	rows, err = conn.Query(ctx, `SELECT at, subject, score, status, coverage::float8, categories, country, asn, evidence, request_id, config
		FROM ip_reputation.verdicts ORDER BY request_id, id`)
	if err != nil {
		tb.Fatal(err)
	}
	b.Changes, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c history.Change, err error) {
		err = row.Scan(&c.At, &c.Subject, &c.Score, &c.Status, &c.Coverage, &c.Categories, &c.Country, &c.ASN, &c.Evidence, &c.RequestID, &c.Config)
		c.At = c.At.UTC()
		return c, err
	})
	if err != nil {
		tb.Fatal(err)
	}
	b.Incidents = readIncidents(tb, dsn)
	return b
}

var prefixesEqual = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

func TestWrite(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	db := open(t, dsn)
	awaitUp(t, db)
	now := time.Now().UTC().Truncate(time.Microsecond)
	b := batchOf(1, now, 5)
	for i, prefix := range []string{"192.0.2.1/32", "203.0.113.0/24", "2001:db8::1/128", "2001:db8:1::/48", "100::abcd:0:0:0/128"} {
		b.Decisions[i].Address = netip.MustParsePrefix(prefix)
	}
	b.Decisions[4].Score = nil
	b.Decisions[3].Rule, b.Decisions[3].Count = "", math.MaxInt64/2
	if got := write(t, db, b); got != (history.Stored{Entries: entriesOf(b)}) {
		t.Errorf("stored %+v", got)
	}
	want := history.Batch{Decisions: b.Decisions, Changes: b.Changes, Incidents: b.Incidents}
	if diff := cmp.Diff(want, read(t, dsn), prefixesEqual); diff != "" {
		t.Error(diff)
	}
	if got := write(t, db, b); got != (history.Stored{Entries: entriesOf(b)}) {
		t.Errorf("the same again: %+v", got)
	}
	if diff := cmp.Diff(want, read(t, dsn), prefixesEqual); diff != "" {
		t.Error("the same again:", diff)
	}
	if s := db.Status(); s.LastWrite.Before(now) {
		t.Errorf("the last write was at %s", s.LastWrite)
	}
	if got := ask[string](t, dsn, "SELECT host(address) FROM ip_reputation.decisions WHERE address = '192.0.2.1'"); got != "192.0.2.1" {
		t.Errorf("an address is %s", got)
	}
	if got := write(t, db, &history.Batch{ID: history.ID{9}}); got != (history.Stored{}) {
		t.Errorf("an empty batch: %+v", got)
	}
}

// TestWriteAnything writes what visitors, clocks and providers can come up with: nothing may stop the queue.
func TestWriteAnything(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	db := open(t, dsn)
	awaitUp(t, db)
	var number uint64
	var total int64
	rapid.Check(t, func(t *rapid.T) {
		number++
		b := batchOf(number, time.Now(), rapid.IntRange(0, 3).Draw(t, "decisions"))
		anyText := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"\x00", "a\x00b", "\xff\xfe", "\xc3\x28", "\ufeff", "", "\U0010ffff", `\u0000`, "'; --"}),
			rapid.Custom(func(t *rapid.T) string { return string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")) }))
		anyFloat := rapid.SampledFrom([]float64{0, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.SmallestNonzeroFloat64, 28.8})
		anyTime := rapid.SampledFrom([]time.Time{{}, time.Unix(0, 0), time.Now(), time.Now().Add(-40 * day), time.Now().Add(3 * day), time.Unix(1<<55, 0), time.Unix(-1<<55, 0)})
		anyPrefix := rapid.SampledFrom([]netip.Prefix{{}, netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("::ffff:192.0.2.1/128"), netip.MustParsePrefix("192.0.2.77/24")})
		for i := range b.Decisions {
			d := &b.Decisions[i]
			d.Minute, d.Address, d.Count = anyTime.Draw(t, "minute"), anyPrefix.Draw(t, "address"), rapid.Int64Range(1, 1000).Draw(t, "count")
			d.First, d.Last = anyTime.Draw(t, "first"), anyTime.Draw(t, "last")
			d.Host, d.Rule, d.RequestID, d.Status = anyText.Draw(t, "host"), anyText.Draw(t, "rule"), anyText.Draw(t, "id"), anyText.Draw(t, "status")
		}
		c := &b.Changes[0]
		c.At, c.Subject, c.Coverage, c.ASN = anyTime.Draw(t, "at"), anyPrefix.Draw(t, "subject"), anyFloat.Draw(t, "coverage"), rapid.Uint32().Draw(t, "asn")
		c.Country, c.Config, c.Categories = anyText.Draw(t, "country"), anyText.Draw(t, "config"), rapid.SliceOfN(anyText, 0, 3).Draw(t, "categories")
		c.Evidence = []history.Evidence{{Source: anyText.Draw(t, "source"), Points: anyFloat.Draw(t, "points"), Categories: c.Categories}}
		for n := range b.Incidents {
			i := &b.Incidents[n]
			i.Minute, i.Address, i.First, i.Last = anyTime.Draw(t, "minute"), anyPrefix.Draw(t, "address"), anyTime.Draw(t, "first"), anyTime.Draw(t, "last")
			i.Host, i.Name, i.Kind, i.Result = anyText.Draw(t, "host"), anyText.Draw(t, "name"), anyText.Draw(t, "kind"), anyText.Draw(t, "result")
			i.Points, i.Categories = anyFloat.Draw(t, "points"), rapid.SliceOfN(anyText, 0, 3).Draw(t, "categories")
		}
		stored, err := db.Write(context.Background(), b)
		if err != nil {
			t.Fatalf("%v: %+v", err, b)
		}
		if stored.Entries+stored.Expired != entriesOf(b) {
			t.Fatalf("%+v of %d", stored, entriesOf(b))
		}
		total += stored.Entries
	})
	if got := ask[int64](t, dsn, storedEntries); got != total {
		t.Errorf("%d entries are stored, want %d", got, total)
	}
	if bad := ask[int64](t, dsn, `SELECT count(*) FROM ip_reputation.verdicts WHERE jsonb_typeof(evidence) <> 'array'`); bad != 0 {
		t.Errorf("evidence of %d is no list", bad)
	}
	if text := ask[string](t, dsn, `SELECT evidence::text FROM ip_reputation.verdicts LIMIT 1`); !json.Valid([]byte(text)) {
		t.Errorf("%s", text)
	}
}

// TestWriteTheSameTwiceAtOnce lets several programs write the same batches at the same time.
func TestWriteTheSameTwiceAtOnce(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	var group sync.WaitGroup
	const batches, programs = 30, 3
	var total int64
	for i := range batches {
		total += entriesOf(batchOf(uint64(i), time.Now(), 200))
	}
	for range programs {
		db := open(t, dsn)
		awaitUp(t, db)
		group.Go(func() {
			for i := range batches {
				b := batchOf(uint64(i), time.Now(), 200)
				if stored, err := db.Write(context.Background(), b); err != nil || stored.Entries != entriesOf(b) {
					t.Errorf("batch %d: %+v, %v", i, stored, err)
				}
			}
		})
	}
	group.Wait()
	if got := ask[int64](t, dsn, storedEntries); got != total {
		t.Errorf("%d entries are stored, want %d", got, total)
	}
}

// TestWriteRefused leaves out the rows that the database refuses, and no others.
func TestWriteRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ change, host, code string }{
		"a value that is too long": {"ALTER host TYPE varchar(18)", "a-longer-host.example.com", "22001"},
		"a constraint": {
			"ADD CONSTRAINT picky CHECK (host <> 'longer.example.com') NOT VALID", "longer.example.com", "23514",
		},
		"a value that the library cannot encode": {"ALTER host TYPE inet USING NULL", "longer.example.com", "57014"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := database(t)
			var log logtest.Log
			db := open(t, dsn, into(&log))
			awaitUp(t, db)
			do(t, dsn, "ALTER TABLE ip_reputation.decisions "+tc.change)
			b := batchOf(1, time.Now(), 1000)
			var refused int64
			for i := range b.Decisions {
				if b.Decisions[i].Host = "198.51.100.7"; i == 500 || i == 700 || i == 701 {
					b.Decisions[i].Host = tc.host
					refused += b.Decisions[i].Count
				}
			}
			want := history.Stored{Entries: entriesOf(b) - refused, Rejected: refused}
			for range 2 { // the second time, nothing is stored
				if got := write(t, db, b); got != want {
					t.Errorf("%+v, want %+v", got, want)
				}
			}
			if got := ask[int64](t, dsn, storedEntries); got != want.Entries {
				t.Errorf("%d entries are stored, want %d", got, want.Entries)
			}
			if got := log.String(); strings.Count(got, "can never take") != 1 || !strings.Contains(got, tc.code) || strings.Contains(got, "longer") {
				t.Error(got)
			}
			if !db.Up() {
				t.Errorf("it is away: %+v", db.Status())
			}
		})
	}
}

// TestWriteAllRefused holds that a database that refuses all rows costs neither time nor the verdicts.
func TestWriteAllRefused(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	db := open(t, dsn)
	awaitUp(t, db)
	do(t, dsn, "ALTER TABLE ip_reputation.decisions ALTER host TYPE varchar(1)")
	b := batchOf(1, time.Now(), 5000)
	got := write(t, db, b)
	if all := entriesOf(b); got.Rejected == 0 || got.Entries+got.Rejected != all {
		t.Errorf("%+v of %d", got, all)
	}
	if stored := ask[int64](t, dsn, storedEntries); stored != got.Entries {
		t.Errorf("%d entries are stored, not %d", stored, got.Entries)
	}
}

// TestWriteHalves writes a batch to a database that never ends storing more than 150 rows. Two programs write the same, as when
// both find the spool of a third.
func TestWriteHalves(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	slow := func(db *DB) { db.writeLimit = 400 * time.Millisecond }
	first, second := open(t, dsn, slow), open(t, dsn, slow)
	awaitUp(t, first)
	awaitUp(t, second)
	do(t, dsn, `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF (SELECT count(*) FROM added) > 150 THEN PERFORM pg_sleep(600); END IF; RETURN NULL;
		END $$;
		CREATE TRIGGER slow AFTER INSERT ON ip_reputation.decisions
			REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION slow()`)
	var group sync.WaitGroup
	b := batchOf(1, time.Now(), 400)
	for _, db := range []*DB{first, second} {
		group.Go(func() {
			for end := time.Now().Add(testPatience); ; {
				stored, err := db.Write(context.Background(), b)
				if err == nil {
					if stored != (history.Stored{Entries: entriesOf(b)}) {
						t.Errorf("%+v", stored)
					}
					return
				}
				if !errors.Is(err, history.ErrUnavailable) || time.Now().After(end) {
					t.Errorf("%v", err)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	group.Wait()
	if got := ask[int64](t, dsn, storedEntries); got != entriesOf(b) {
		t.Errorf("%d entries are stored, want %d", got, entriesOf(b))
	}
	if got := ask[int64](t, dsn, "SELECT count(*) FROM ip_reputation.batches"); got < 5 {
		t.Errorf("%d parts: it was not halved", got)
	}
}
