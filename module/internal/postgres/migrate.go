package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// Migrations are applied in the order of their numbers, each in a transaction. A released migration
// never changes. A migration that removes or renames something that older versions use raises
// ip_reputation.compatible.

//go:embed migrations/*.sql
var migrationFiles embed.FS

const (
	schema   = "ip_reputation"
	versions = schema + ".goose_db_version"

	// Advisory locks. Their numbers are arbitrary, so that no other program is likely to use them.
	migrationLock = 0x69707265_70000001
	partitionLock = 0x69707265_70000002

	// lockRetry is the pause between two attempts to take the lock of migrations. A session that
	// waits for it inside the database would block the migration that holds it: CREATE INDEX
	// CONCURRENTLY waits for all transactions.
	lockRetry = 100 * time.Millisecond
	lockLimit = time.Minute
)

// migrationNames are the names of migrations by version. newest is the latest version that this program knows.
var migrationNames, newestVersion = readMigrationNames()

func readMigrationNames() (names map[int64]string, newest int64) {
	names = make(map[int64]string)
	entries, err := fs.ReadDir(migrationFiles, "migrations")
	if err != nil {
		panic(err) // the folder is embedded
	}
	for _, e := range entries {
		version, err := goose.NumericComponent(e.Name())
		if err != nil {
			panic(err)
		}
		_, name, _ := strings.Cut(strings.TrimSuffix(e.Name(), path.Ext(e.Name())), "_")
		names[version] = name
		newest = max(newest, version)
	}
	return names, newest
}

// tables is the version of the tables in a database.
type tables struct {
	found   int64 // the version; 0: no tables
	oldest  int64 // the minimum version that a program must know to use them
	standby bool
}

// unusable returns why the tables cannot be used; nil if they can.
func (t tables) unusable() *failure {
	switch {
	case t.oldest > newestVersion:
		return &failure{
			kind: outdated,
			text: fmt.Sprintf("its tables are of version %d and need a plugin that knows version %d; "+
				"this one knows version %d",
				t.found, t.oldest, newestVersion),
			cure: "update the plugin here",
		}
	case t.found == 0:
		return &failure{kind: outdated, text: "there are no tables yet"}
	case t.found < newestVersion:
		return &failure{
			kind: outdated,
			text: fmt.Sprintf("its tables are of version %d; this plugin needs version %d", t.found, newestVersion),
		}
	case t.standby:
		return &failure{kind: readOnly, text: "it is a standby, or takes no writes"}
	}
	return nil
}

// rowQuerier is a connection, a transaction or a pool.
type rowQuerier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// readTables reads the version of the tables.
func readTables(ctx context.Context, q rowQuerier) (t tables, err error) {
	var there bool
	err = q.QueryRow(ctx, `SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool,
		to_regclass('ip_reputation.goose_db_version') IS NOT NULL AND to_regclass('ip_reputation.compatible') IS NOT NULL`).
		Scan(&t.standby, &there)
	if err != nil || !there {
		return t, err
	}
	err = q.QueryRow(ctx, `SELECT coalesce((SELECT max(version_id) FROM ip_reputation.goose_db_version WHERE is_applied), 0),
		coalesce((SELECT max(oldest) FROM ip_reputation.compatible), 0)`).Scan(&t.found, &t.oldest)
	return t, err
}

// migrate brings the tables up to date, unless another instance already has.
func (db *DB) migrate(pool *pool) error {
	ctx, cancel := db.withLimit(db.ctx, migrateLimit)
	defer cancel()
	applied, err := runMigrations(ctx, pool.Config().ConnConfig, (*migrator).up)
	for _, version := range applied {
		db.log.Info("a migration of the history's database was applied",
			slog.String("migration", fmt.Sprintf("%d %s", version, migrationNames[version])))
	}
	return err
}

// Migration is one step from no tables to the current ones.
type Migration struct {
	Version int64
	Name    string    // empty: this program does not know it
	Applied time.Time // zero: not applied
}

// Migrate changes the tables of the database of a DSN, and returns all migrations with their new
// state, in order. The command is up, to apply missing migrations; down, to undo the last one and
// delete the data of its tables; or status. Migrate waits up to a minute for a session lock. Its
// errors contain no secret, and Cure returns their cures. Before down, stop instances that may
// migrate: they would apply the migration again at once.
func Migrate(ctx context.Context, dsn, command string) ([]Migration, error) {
	var act func(*migrator, context.Context) ([]int64, error)
	switch command {
	case "up":
		act = (*migrator).up
	case "down":
		act = (*migrator).down
	case "status":
	default:
		return nil, fmt.Errorf("there is no migration %q: write up, down or status", command)
	}
	config, err := configure(dsn, new(net.Dialer).DialContext)
	if err != nil {
		return nil, &failure{kind: invalidDSN, text: err.Error()}
	}
	conn := config.ConnConfig
	if act != nil {
		_, err = runMigrations(ctx, conn, act)
	}
	var list []Migration
	if err == nil {
		list, err = listMigrations(ctx, conn)
	}
	if err != nil {
		return nil, classify(err).redact(conn.Password, conn.User, conn.Database, serverOf(conn))
	}
	return list, nil
}

// runMigrations connects, calls act under the lock of migrations, and returns the versions that
// were applied or undone.
func runMigrations(
	ctx context.Context, conn *pgx.ConnConfig, act func(*migrator, context.Context) ([]int64, error),
) ([]int64, error) {
	connections := stdlib.OpenDB(*conn)
	defer connections.Close()
	migrations, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, connections, migrations,
		goose.WithTableName(versions), goose.WithSessionLocker(locker{}),
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return nil, err
	}
	return act(&migrator{conn, provider}, ctx)
}

// migrator applies migrations one by one. Only then does the library take the lock before anything
// else.
type migrator struct {
	conn     *pgx.ConnConfig
	provider *goose.Provider
}

func (m *migrator) up(ctx context.Context) (applied []int64, err error) {
	for _, source := range m.provider.ListSources() {
		switch _, err := m.provider.ApplyVersion(ctx, source.Version, true); {
		case errors.Is(err, goose.ErrAlreadyApplied):
			continue
		case err != nil:
			return applied, err
		}
		applied = append(applied, source.Version)
	}
	return applied, nil
}

func (m *migrator) down(ctx context.Context) ([]int64, error) {
	list, err := listMigrations(ctx, m.conn)
	if err != nil {
		return nil, err
	}
	for i := len(list) - 1; i >= 0; i-- {
		switch last := list[i]; {
		case last.Applied.IsZero():
			continue
		case last.Name == "":
			return nil, &failure{
				kind: outdated,
				text: fmt.Sprintf("its tables are of version %d; this plugin knows version %d", last.Version, newestVersion),
				cure: "undo that with the plugin that has applied it",
			}
		default:
			_, err := m.provider.ApplyVersion(ctx, last.Version, false)
			return []int64{last.Version}, err
		}
	}
	return nil, &failure{kind: outdated, text: "there are no tables to undo", cure: "nothing is to be done"}
}

// listMigrations returns all migrations in order.
func listMigrations(ctx context.Context, config *pgx.ConnConfig) ([]Migration, error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // an error does not matter
	applied := make(map[int64]time.Time)
	there, err := readTables(ctx, conn)
	if err != nil || there.found == 0 {
		return mergeMigrations(applied), err
	}
	rows, err := conn.Query(ctx, `SELECT version_id, max(tstamp) AT TIME ZONE 'UTC' FROM ip_reputation.goose_db_version
		WHERE is_applied AND version_id > 0 GROUP BY version_id`)
	if err != nil {
		return nil, err
	}
	var version int64
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&version, &at}, func() error {
		applied[version] = at.UTC()
		return nil
	})
	return mergeMigrations(applied), err
}

// mergeMigrations joins the migrations that this program knows with those that are applied.
func mergeMigrations(applied map[int64]time.Time) []Migration {
	list := make([]Migration, 0, len(migrationNames))
	for version, name := range migrationNames {
		list = append(list, Migration{version, name, applied[version]})
	}
	for version, at := range applied {
		if _, known := migrationNames[version]; !known {
			list = append(list, Migration{version, "", at})
		}
	}
	slices.SortFunc(list, func(a, b Migration) int { return cmp.Compare(a.Version, b.Version) })
	return list
}

// locker takes the lock of migrations. Under the lock, it creates the schema, which the library
// needs for its own table.
type locker struct{}

var _ lock.SessionLocker = locker{}

// SessionLock waits for the lock, up to lockLimit.
func (locker) SessionLock(ctx context.Context, conn *sql.Conn) error {
	limit := time.After(lockLimit)
	for {
		var locked bool
		if err := conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", migrationLock).Scan(&locked); err != nil {
			return err
		}
		if locked {
			return makeSchema(ctx, conn)
		}
		select {
		case <-time.After(lockRetry/2 + rand.N(lockRetry)):
			continue
		case <-ctx.Done():
		case <-limit:
		}
		return &failure{
			kind: timeout, text: "somebody else holds the lock of migrations all the time",
			cure: "wait until another instance has finished. " +
				"Should none be migrating, a pooler that shares sessions may have kept the lock: " +
				"SELECT pid FROM pg_locks WHERE locktype = 'advisory' says who, and migrate with the DSN of the server itself",
		}
	}
}

// makeSchema creates the schema if it does not exist. CREATE SCHEMA IF NOT EXISTS would need the
// privilege even if it exists.
func makeSchema(ctx context.Context, conn *sql.Conn) error {
	var there bool
	err := conn.QueryRowContext(ctx, "SELECT to_regnamespace('ip_reputation') IS NOT NULL").Scan(&there)
	if err == nil && !there {
		_, err = conn.ExecContext(ctx, "CREATE SCHEMA ip_reputation")
	}
	return err
}

// SessionUnlock releases the lock. If that fails, the end of the connection releases it.
func (locker) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, checkLimit) // the library's context has no limit
	defer cancel()
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", migrationLock)
	return err
}
