package postgres

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
)

// TestTenAtOnce starts ten instances on an empty database.
func TestTenAtOnce(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	var log logtest.Log
	var instances []*DB
	for range 10 {
		instances = append(instances, open(t, dsn, into(&log)))
	}
	for i, db := range instances {
		if s := awaitUp(t, db); s.SchemaFound != newestVersion || s.SchemaKnown != newestVersion || s.Upkeep != "" {
			t.Errorf("%+v", s)
		}
		write(t, db, batchOf(uint64(i), time.Now(), 1))
	}
	if got := ask[int64](t, dsn, "SELECT count(*) FROM ip_reputation.goose_db_version WHERE version_id > 0"); got != newestVersion {
		t.Errorf("%d migrations were applied, want %d", got, newestVersion)
	}
	if got := strings.Count(log.String(), "a migration of the history's database was applied"); int64(got) != newestVersion {
		t.Errorf("%d migrations were said to be applied:\n%s", got, &log)
	}
	if strings.Contains(log.String(), "level=WARN") || strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("it complains:\n%s", &log)
	}
	if got := ask[int64](t, dsn, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'ip_reputation.decisions'::regclass"); got != daysBehind+1+daysAhead {
		t.Errorf("%d partitions", got)
	}
}

func migrate(tb testing.TB, dsn, command string) []Migration {
	tb.Helper()
	list, err := Migrate(context.Background(), dsn, command)
	if err != nil {
		tb.Fatalf("%s: %v", command, err)
	}
	return list
}

func applied(list []Migration) (n int64) {
	for _, m := range list {
		if !m.Applied.IsZero() {
			n++
		}
	}
	return n
}

func TestMigrateUpAndDown(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	list := migrate(t, dsn, "status")
	if applied(list) != 0 || int64(len(list)) != newestVersion || list[0].Name != "history" || list[0].Version != 1 {
		t.Errorf("status of an empty database: %+v", list)
	}
	if ask[bool](t, dsn, "SELECT to_regnamespace('ip_reputation') IS NOT NULL") {
		t.Error("to look has made something")
	}
	db := open(t, dsn, asIs)
	s := awaitResult(t, db, "schema")
	if !strings.Contains(s.Error, "no tables yet") || !strings.Contains(s.Cure, "migrate up") || s.SchemaFound != 0 {
		t.Errorf("without tables: %+v", s)
	}
	if _, err := db.Write(context.Background(), batchOf(1, time.Now(), 1)); !errors.Is(err, history.ErrSchema) {
		t.Errorf("without tables: %v", err)
	}

	before := time.Now().Add(-time.Minute)
	for range 2 { // a second time changes nothing
		list = migrate(t, dsn, "up")
		if applied(list) != newestVersion || list[0].Applied.Before(before) || list[0].Applied.After(time.Now().Add(time.Minute)) {
			t.Errorf("up: %+v", list)
		}
	}
	if got := ask[int64](t, dsn, "SELECT count(*) FROM ip_reputation.goose_db_version WHERE version_id > 0"); got != newestVersion {
		t.Errorf("%d migrations were applied", got)
	}
	awaitUp(t, db)
	write(t, db, batchOf(1, time.Now(), 100))

	for v := newestVersion; v > 0; v-- {
		if list = migrate(t, dsn, "down"); applied(list) != v-1 {
			t.Errorf("down from %d: %+v", v, list)
		}
	}
	if got := ask[int64](t, dsn, "SELECT count(*) FROM pg_class WHERE relnamespace = 'ip_reputation'::regnamespace AND relkind IN ('r', 'p') AND relname <> 'goose_db_version'"); got != 0 {
		t.Errorf("%d tables are left", got)
	}
	if _, err := Migrate(context.Background(), dsn, "down"); !errors.Is(err, history.ErrSchema) {
		t.Errorf("down from nothing: %v", err)
	}
	if _, err := db.Write(context.Background(), batchOf(2, time.Now(), 1)); !errors.Is(err, history.ErrSchema) {
		t.Errorf("after down: %v", err)
	}
	awaitResult(t, db, "schema")

	migrate(t, dsn, "up")
	awaitUp(t, db)
	write(t, db, batchOf(2, time.Now(), 3))
	if got := ask[int64](t, dsn, storedEntries); got != entriesOf(batchOf(2, time.Now(), 3)) {
		t.Errorf("%d entries after up again", got)
	}
}

func TestMigrateNonsense(t *testing.T) {
	t.Parallel()
	if _, err := Migrate(context.Background(), "host=127.0.0.1", "sideways"); err == nil || !strings.Contains(err.Error(), `"sideways"`) {
		t.Errorf("%v", err)
	}
	if _, err := Migrate(context.Background(), "nonsense", "up"); err == nil || Cure(err) == "" {
		t.Errorf("%v", err)
	}
}

// TestMigrateWaits holds the lock of migrations for a while.
func TestMigrateWaits(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	holder := connect(t, dsn)
	defer holder.Close(context.Background())
	if _, err := holder.Exec(context.Background(), "SELECT pg_advisory_lock($1)", int64(migrationLock)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if _, err := Migrate(ctx, dsn, "up"); !errors.Is(err, history.ErrUnavailable) {
		t.Errorf("while another migrates: %v", err)
	}
	db := open(t, dsn)
	var group sync.WaitGroup
	group.Go(func() { migrate(t, dsn, "up") })
	if _, err := holder.Exec(context.Background(), "SELECT pg_advisory_unlock($1)", int64(migrationLock)); err != nil {
		t.Fatal(err)
	}
	group.Wait()
	awaitUp(t, db)
}

// TestNewerTables is about a program that is older than the tables.
func TestNewerTables(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	migrate(t, dsn, "up")
	do(t, dsn, `INSERT INTO ip_reputation.goose_db_version (version_id, is_applied) VALUES (901, true), (902, true);
		ALTER TABLE ip_reputation.decisions ADD COLUMN more text, ADD COLUMN most bigint NOT NULL DEFAULT 7;
		ALTER TABLE ip_reputation.verdicts ADD COLUMN more jsonb`)
	db := open(t, dsn)
	if s := awaitUp(t, db); s.SchemaFound != 902 {
		t.Errorf("%+v", s)
	}
	b := batchOf(1, time.Now(), 10)
	write(t, db, b)
	if got := ask[int64](t, dsn, storedEntries); got != entriesOf(b) {
		t.Errorf("%d entries, want %d", got, entriesOf(b))
	}
	list := migrate(t, dsn, "status")
	if last := list[len(list)-1]; last.Version != 902 || last.Name != "" || last.Applied.IsZero() {
		t.Errorf("%+v", list)
	}
	if _, err := Migrate(context.Background(), dsn, "down"); !errors.Is(err, history.ErrSchema) || !strings.Contains(Cure(err), "the plugin that has applied it") {
		t.Errorf("down: %v", err)
	}

	do(t, dsn, "UPDATE ip_reputation.compatible SET oldest = 902")
	other := open(t, dsn)
	s := awaitResult(t, other, "schema")
	if !strings.Contains(s.Error, "version 902") || s.Cure != "update the plugin here" {
		t.Errorf("%+v", s)
	}
	if _, err := other.Write(context.Background(), b); !errors.Is(err, history.ErrSchema) {
		t.Errorf("%v", err)
	}
	do(t, dsn, "UPDATE ip_reputation.compatible SET oldest = 1")
	awaitUp(t, other)
}

// TestOlderTables is about a program that is newer than the tables and may not change them.
func TestOlderTables(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		tables tables
		want   string
	}{
		{tables{found: newestVersion, oldest: 1}, ""},
		{tables{found: newestVersion + 1, oldest: newestVersion}, ""},
		{tables{found: newestVersion - 1, oldest: 1}, "schema"},
		{tables{found: newestVersion + 1, oldest: newestVersion + 1}, "schema"},
		{tables{found: newestVersion, oldest: 1, standby: true}, "read_only"},
		{tables{standby: true}, "schema"},
	} {
		got := ""
		if f := tc.tables.unusable(); f != nil {
			got = kinds[f.kind].word
		}
		if got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.tables, got, tc.want)
		}
	}
}
