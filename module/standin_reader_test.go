package module

import (
	"context"
	"testing"
)

// Migration is for tests outside of the package.
type Migration = migration

// MigrateBy lets the command migrate with something else than PostgreSQL.
func MigrateBy(tb testing.TB, f func(ctx context.Context, dsn, command string) ([]Migration, error)) {
	tb.Helper()
	before := migrate
	migrate = f
	tb.Cleanup(func() { migrate = before })
}
