package postgres

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
)

// daysIn returns the days for which a table has partitions.
func daysIn(tb testing.TB, dsn, parent string) (days []string) {
	tb.Helper()
	list := ask[string](tb, dsn, `SELECT coalesce(string_agg(inhrelid::regclass::text, ' '), '') FROM pg_inherits
		WHERE inhparent = ('ip_reputation.' || $1)::regclass`, parent)
	for name := range strings.FieldsSeq(list) {
		days = append(days, strings.TrimPrefix(name, "ip_reputation."+parent+"_"))
	}
	slices.Sort(days)
	return days
}

// at sets the clock, and how long history is kept.
func at(now time.Time, retention time.Duration) func(*DB) {
	return func(db *DB) {
		db.now = func() time.Time { return now }
		db.options.Retention = retention
	}
}

func TestPartitions(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	var log logtest.Log
	today := dayOf(time.Now()).AddDate(0, 0, -10) // long enough ago that the database's clock does not keep what is dropped
	now := today.Add(day - time.Second)
	days := func(offsets ...int) string {
		var names []string
		for _, i := range offsets {
			names = append(names, today.AddDate(0, 0, i).Format("20060102"))
		}
		return strings.Join(names, " ")
	}
	db := open(t, dsn, at(now, 3*day), into(&log))
	awaitUp(t, db)
	for _, parent := range parents {
		if got := strings.Join(daysIn(t, dsn, parent), " "); got != days(-1, 0, 1, 2) {
			t.Errorf("%s: %s", parent, got)
		}
	}
	write(t, db, batchOf(1, now, 3))

	// late, but still kept: that day ended less than three days ago
	late := batchOf(2, now.AddDate(0, 0, -3), 3)
	if got := write(t, db, late); got != (history.Stored{Entries: entriesOf(late)}) {
		t.Errorf("late: %+v", got)
	}
	tooLate := batchOf(3, now.AddDate(0, 0, -4), 3)
	if got := write(t, db, tooLate); got != (history.Stored{Expired: entriesOf(tooLate)}) {
		t.Errorf("too late: %+v", got)
	}
	// a clock that is a little fast, and one that is wrong
	fast := batchOf(4, now.AddDate(0, 0, 4), 1)
	if got := write(t, db, fast); got != (history.Stored{Entries: entriesOf(fast)}) {
		t.Errorf("fast: %+v", got)
	}
	wrong := batchOf(5, now.AddDate(0, 1, 0), 1)
	if got := write(t, db, wrong); got != (history.Stored{Expired: entriesOf(wrong)}) {
		t.Errorf("wrong: %+v", got)
	}
	mixed := batchOf(6, now, 2)
	mixed.Decisions[0].Minute = now.AddDate(-1, 0, 0)
	if got := write(t, db, mixed); got != (history.Stored{Entries: entriesOf(mixed) - 1, Expired: 1}) {
		t.Errorf("mixed: %+v", got)
	}
	for _, table := range parents {
		if got := strings.Join(daysIn(t, dsn, table), " "); got != days(-3, -1, 0, 1, 2, 4) {
			t.Errorf("%s: %s", table, got)
		}
	}

	// two days later, in another instance
	before := ask[int64](t, dsn, storedEntries)
	do(t, dsn, "CREATE TABLE ip_reputation.decisions_of_mine PARTITION OF ip_reputation.decisions FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')")
	do(t, dsn, "INSERT INTO ip_reputation.batches VALUES ('00000000-0000-0000-0000-000000000001', now() - interval '4 days 23 hours'), ('00000000-0000-0000-0000-000000000002', now() - interval '5 days 1 hour')")
	later := open(t, dsn, at(now.AddDate(0, 0, 2), 3*day), into(&log))
	awaitUp(t, later)
	await(t, later, "kept up", func(Status) bool { return !slices.Contains(daysIn(t, dsn, "verdicts"), days(-3)) })
	if got := strings.Join(daysIn(t, dsn, "decisions"), " "); got != days(-1, 0, 1, 2, 3, 4)+" of_mine" {
		t.Errorf("%s", got)
	}
	if got := ask[int64](t, dsn, storedEntries); got != before-entriesOf(late) {
		t.Errorf("%d entries are left of %d", got, before)
	}
	await(t, later, "rid of old batches", func(Status) bool {
		return ask[bool](t, dsn, "SELECT count(*) = 1 FROM ip_reputation.batches WHERE id IN ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002')")
	})
	if !strings.Contains(log.String(), "a day of the history was dropped") || !strings.Contains(log.String(), "partition=decisions_"+days(-3)) {
		t.Errorf("%s", &log)
	}

	// the first still believes that there is a partition
	again := batchOf(7, now.AddDate(0, 0, -3), 1)
	if got := write(t, db, again); got.Entries != entriesOf(again) {
		t.Errorf("%+v", got)
	}
}

// TestAClockThatIsAhead holds that a machine whose clock is wrong drops nothing that others keep.
func TestAClockThatIsAhead(t *testing.T) {
	t.Parallel()
	dsn, now := database(t), time.Now()
	db := open(t, dsn)
	awaitUp(t, db)
	write(t, db, batchOf(1, now, 3))
	before := ask[int64](t, dsn, storedEntries)
	ahead := open(t, dsn, at(now.AddDate(1, 0, 0), 30*day))
	awaitUp(t, ahead)
	if f := dropNow(ahead); f != nil {
		t.Fatal(f)
	}
	if got := ask[int64](t, dsn, storedEntries); got != before || before == 0 {
		t.Errorf("%d of %d entries are left", got, before)
	}
}

// TestDropDoesNotWait keeps a question open that needs the partition that is to be dropped.
func TestDropDoesNotWait(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	now := time.Now()
	db := open(t, dsn)
	awaitUp(t, db)
	write(t, db, batchOf(1, now.Add(-40*day), 1))

	ctx := context.Background()
	conn := connect(t, dsn)
	defer conn.Close(ctx)
	question, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := question.Exec(ctx, "SELECT count(*) FROM ip_reputation.decisions"); err != nil {
		t.Fatal(err)
	}
	var log logtest.Log
	short := open(t, dsn, at(now, 30*day), into(&log))
	s := await(t, short, "kept from dropping", func(s Status) bool { return s.Upkeep != "" })
	if !s.Up || !strings.Contains(s.Upkeep, "55P03") || !strings.Contains(log.String(), "could not be looked after") {
		t.Errorf("%+v: %s", s, &log)
	}
	write(t, short, batchOf(2, now, 1))
	if err := question.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if f := dropNow(short); f != nil {
		t.Error(f)
	}
	if got := len(daysIn(t, dsn, "decisions")); got != daysBehind+1+daysAhead {
		t.Errorf("%d partitions", got)
	}
}

// dropNow makes the upkeep due, and does it.
func dropNow(db *DB) *failure {
	db.days.mu.Lock()
	db.days.next = time.Time{}
	db.days.mu.Unlock()
	pool, _ := db.usable()
	db.maintainPartitions(pool)
	db.health.mu.Lock()
	defer db.health.mu.Unlock()
	return db.health.upkeep
}

// TestPartitionsLockNobodyOut makes and fills a partition while somebody reads, and somebody writes, the others.
func TestPartitionsLockNobodyOut(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	db := open(t, dsn)
	awaitUp(t, db)
	now := time.Now()
	write(t, db, batchOf(1, now, 1))
	ctx := context.Background()
	conn := connect(t, dsn)
	defer conn.Close(ctx)
	other, err := conn.BeginTx(ctx, pgx.TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(ctx, "UPDATE ip_reputation.decisions SET count = count; SELECT * FROM ip_reputation.verdicts"); err != nil {
		t.Fatal(err)
	}
	write(t, db, batchOf(2, now.Add(-20*day), 1)) // would take makeWait, and fail, if it had to wait
	if err := other.Commit(ctx); err != nil {
		t.Error(err)
	}
}

func TestPartitionNames(t *testing.T) {
	t.Parallel()
	d := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	if got := partition("decisions", d); got != "decisions_20261126" {
		t.Error(got)
	}
	for name, want := range map[string]bool{
		"decisions_20261126": true, "decisions_20261301": false, "decisions_2026112": false, "decisions_20261126_old": false,
		"verdicts_20261126": false, "decisions": false, "decisions_": false,
	} {
		if got, ok := dayOfPartition("decisions", name); ok != want || ok && !got.Equal(d) {
			t.Errorf("%s: %s, %t", name, got, ok)
		}
	}
	if got := dayOf(time.Date(2026, 11, 26, 1, 0, 0, 0, time.FixedZone("", 7200))); !got.Equal(d.AddDate(0, 0, -1)) {
		t.Errorf("a day is not in UTC: %s", got)
	}
}

// TestMaxSize fills three days, and lets an instance drop all but what may stay.
func TestMaxSize(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	now := time.Now()
	db := open(t, dsn)
	awaitUp(t, db)
	for i := range 3 {
		write(t, db, batchOf(uint64(i), now.AddDate(0, 0, -i), 3000))
	}
	withRows := func() (days []string) {
		for _, d := range daysIn(t, dsn, "decisions") {
			if ask[bool](t, dsn, "SELECT EXISTS (SELECT FROM ip_reputation.decisions_"+d+")") {
				days = append(days, d)
			}
		}
		return days
	}
	last := func(n int) (days []string) {
		for i := n - 1; i >= 0; i-- {
			days = append(days, dayOf(now).AddDate(0, 0, -i).Format("20060102"))
		}
		return days
	}
	size := ask[int64](t, dsn, `SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
		WHERE relnamespace = 'ip_reputation'::regnamespace AND relkind = 'r' AND relname ~ '^(decisions|verdicts|batches)'`)
	var log logtest.Log
	for _, step := range []struct {
		maximum int64
		stay    int
		upkeep  string
	}{
		{size + 1<<20, 3, ""},
		{size - 1<<10, 2, ""},
		{1, 1, "max_size"},
	} {
		log.Take()
		small := open(t, dsn, into(&log), func(db *DB) { db.options.MaxSize = step.maximum })
		awaitUp(t, small)
		for range 2 { // the second time, nothing is left to drop
			f := dropNow(small)
			if got := small.Status().Upkeep; (f != nil) != (step.upkeep != "") || !strings.Contains(got, step.upkeep) {
				t.Errorf("%d bytes: %v, %q", step.maximum, f, got)
			}
			if got := withRows(); !slices.Equal(got, last(step.stay)) {
				t.Errorf("%d bytes: %q are left, want %q", step.maximum, got, last(step.stay))
			}
		}
		if got, want := strings.Count(log.String(), "a day of the history was dropped before its time"), min(1, 3-step.stay); got != want {
			t.Errorf("%d bytes: %d days are logged: %s", step.maximum, got, &log)
		}
		if err := small.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := daysIn(t, dsn, "verdicts"); len(got) < daysBehind+1+daysAhead {
		t.Errorf("%q", got)
	}
}

// TestMaxSizeByTheEarlierClock holds that an instance whose clock is fast takes today for today.
func TestMaxSizeByTheEarlierClock(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	db := open(t, dsn)
	awaitUp(t, db)
	write(t, db, batchOf(1, time.Now(), 100))
	fast := open(t, dsn, at(time.Now().AddDate(0, 0, 3), 30*day), func(db *DB) { db.options.MaxSize = 1 })
	awaitUp(t, fast)
	if f := dropNow(fast); f == nil || f.kind != full {
		t.Errorf("%v", f)
	}
	if got := ask[int64](t, dsn, storedEntries); got == 0 {
		t.Error("today was dropped")
	}
}
