package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/postgres"
)

// migration is a change of the tables of the history.
type migration struct {
	Version int64     `json:"version"`
	Name    string    `json:"name"`
	Applied time.Time `json:"applied,omitzero"` // missing while it is not applied
}

func (m migration) String() string { return fmt.Sprintf("%d %s", m.Version, m.called()) }

func (m migration) called() string { return cmp.Or(m.Name, "(of a newer version)") }

// The commands of migrate.
const (
	migrateUp     = "up"
	migrateDown   = "down"
	migrateStatus = "status"
)

// changeTables runs a command of migrate and returns all migrations as they are then.
func (c *console) changeTables(ctx context.Context, dsn, command string) (all []migration, err error) {
	list, err := c.migrateTables(ctx, dsn, command)
	if err != nil {
		return nil, postgres.WithCure(err)
	}
	for _, m := range list {
		all = append(all, migration(m))
	}
	return all, nil
}

const defaultDatabase = "{env.DATABASE_URL}"

func (c *console) migrateCommand() *cobra.Command {
	var database string
	var yes bool
	cmd := &cobra.Command{
		Use:   "migrate <up|status|down> [--database <placeholder> | --config <path>] [--yes] [--json]",
		Short: "Makes, shows or drops the tables of the history",
		Long: `
Changes the tables of the history in PostgreSQL: up makes them, or brings them
to what this version needs; status shows which changes are made; down undoes the
last one, which drops tables with all that is in them, and needs --yes. Caddy
need not run. By itself it does the same as up when it starts, unless its
configuration says otherwise.

The database is named by a placeholder, which keeps its password out of the list
of processes, or is that of the configuration given with --config.
`,
		Example: `  $ caddy ip-reputation migrate status
  $ caddy ip-reputation migrate up --database '{file./run/secrets/database_url}'
  $ caddy ip-reputation migrate up --config /etc/caddy/Caddyfile
  $ caddy ip-reputation migrate down --yes`,
		Args: exactly("of up, status and down", "caddy ip-reputation migrate status"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkMigrate(cmd, args[0], yes); err != nil {
				return err
			}
			dsn, err := c.database(cmd, database)
			if err != nil {
				return err
			}
			return withoutSecret(dsn, c.migrate(cmd, dsn, args[0], yes))
		},
	}
	cmd.Flags().StringVar(&database, "database", defaultDatabase,
		"The URL of the database, as a placeholder: {env.NAME} or {file./path}")
	cmd.Flags().BoolVar(&yes, "yes", false, "Drop what down drops")
	return cmd
}

func checkMigrate(cmd *cobra.Command, command string, yes bool) error {
	switch {
	case !slices.Contains([]string{migrateUp, migrateStatus, migrateDown}, command):
		return fmt.Errorf("migrate %q is not known: write %s, %s or %s", command, migrateUp, migrateStatus, migrateDown)
	case yes && command != migrateDown:
		return fmt.Errorf("--yes is for migrate down: leave it out with %s", command)
	case cmd.Flags().Changed("address"):
		return errors.New("migrate asks the database, not Caddy: leave out --address")
	}
	return nil
}

// migrate runs the command and shows the migrations that it changed, or all of them for status.
func (c *console) migrate(cmd *cobra.Command, dsn, command string, yes bool) error {
	before, err := c.changeTables(cmd.Context(), dsn, migrateStatus)
	if err != nil {
		return err
	}
	if command == migrateStatus {
		return c.print(cmd, before, func(p *page) { p.migrations(before) })
	}
	if last := lastApplied(before); command == migrateDown && last != nil && !yes {
		return fmt.Errorf("migrate down undoes %s: it drops the tables that this made, with all that is in them; "+
			"add --yes if you mean it", last)
	}
	after, err := c.changeTables(cmd.Context(), dsn, command)
	if err != nil {
		return err
	}
	changed := changedMigrations(before, after)
	return c.print(cmd, changed, func(p *page) { p.migrated(changed, after) })
}

// lastApplied returns the migration that down undoes, or nil.
func lastApplied(all []migration) *migration {
	for i := len(all) - 1; i >= 0; i-- {
		if !all[i].Applied.IsZero() {
			return &all[i]
		}
	}
	return nil
}

// changedMigrations returns the migrations that were applied or undone, as they are afterwards.
func changedMigrations(before, after []migration) []migration {
	applied := map[int64]bool{}
	for _, m := range before {
		applied[m.Version] = !m.Applied.IsZero()
	}
	return slices.DeleteFunc(slices.Clone(after), func(m migration) bool {
		return applied[m.Version] == !m.Applied.IsZero()
	})
}

func (p *page) migrations(all []migration) {
	missing := 0
	p.row("VERSION", "NAME", "APPLIED")
	for _, m := range all {
		applied := "not yet"
		if !m.Applied.IsZero() {
			applied = health.FormatTime(m.Applied)
		} else {
			missing++
		}
		p.row(strconv.FormatInt(m.Version, 10), m.called(), applied)
	}
	if missing > 0 {
		p.gap()
		p.row(plural(int64(missing), "migration") + " to apply: caddy ip-reputation migrate up")
	}
}

func (p *page) migrated(changed, all []migration) {
	for _, m := range changed {
		done := "applied"
		if m.Applied.IsZero() {
			done = "undone"
		}
		p.row(done + ": " + m.String())
	}
	last := lastApplied(all)
	switch {
	case last == nil:
		p.row("the database has no tables of the history")
	case len(changed) == 0:
		p.row("nothing to do: the tables are those of " + last.String())
	default:
		p.row("the tables are those of " + last.String())
	}
}
