package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/postgres"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// migration is a change of the tables of the history.
type migration struct {
	Version int64     `json:"version"`
	Name    string    `json:"name"`
	Applied time.Time `json:"applied,omitzero"` // missing while it is not
}

func (m migration) String() string { return fmt.Sprintf("%d %s", m.Version, m.called()) }

func (m migration) called() string { return cmp.Or(m.Name, "(of a newer version)") }

// The commands of migrate.
const (
	migrateUp     = "up"
	migrateDown   = "down"
	migrateStatus = "status"
)

// changeTables applies all migrations, undoes the last, or does neither, and returns all that there are.
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
Changes the tables of the history in PostgreSQL: up makes them, or brings them to
what this version needs; status shows which changes are made; down undoes the
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
	cmd.Flags().StringVar(&database, "database", defaultDatabase, "The URL of the database, as a placeholder: {env.NAME} or {file./path}")
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

// migrate does what the command says and shows what has changed, or with status all that there is.
func (c *console) migrate(cmd *cobra.Command, dsn, command string, yes bool) error {
	before, err := c.changeTables(cmd.Context(), dsn, migrateStatus)
	if err != nil {
		return err
	}
	if command == migrateStatus {
		return c.print(cmd, before, func(p *page) { p.migrations(before) })
	}
	if last := lastApplied(before); command == migrateDown && last != nil && !yes {
		return fmt.Errorf("migrate down undoes %s: it drops the tables that this made, with all that is in them; add --yes if you mean it", last)
	}
	after, err := c.changeTables(cmd.Context(), dsn, command)
	if err != nil {
		return err
	}
	changed := changedMigrations(before, after)
	return c.print(cmd, changed, func(p *page) { p.migrated(changed, after) })
}

// lastApplied is what down undoes; nil when there is nothing.
func lastApplied(all []migration) *migration {
	for i := len(all) - 1; i >= 0; i-- {
		if !all[i].Applied.IsZero() {
			return &all[i]
		}
	}
	return nil
}

// changedMigrations are those that were applied or undone, as they are now.
func changedMigrations(before, after []migration) []migration {
	applied := map[int64]bool{}
	for _, m := range before {
		applied[m.Version] = !m.Applied.IsZero()
	}
	return slices.DeleteFunc(slices.Clone(after), func(m migration) bool { return applied[m.Version] == !m.Applied.IsZero() })
}

func (p *page) migrations(all []migration) {
	missing := 0
	p.row("VERSION", "NAME", "APPLIED")
	for _, m := range all {
		applied := "not yet"
		if !m.Applied.IsZero() {
			applied = adminapi.FormatTime(m.Applied)
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

// database is the URL of the database: of the placeholder, or of the configuration.
func (c *console) database(cmd *cobra.Command, text string) (string, error) {
	const cure = "write --database '{env.NAME}' or --database '{file./path/to/url}', or name the configuration with --config"
	named := cmd.Flags().Changed("database")
	switch {
	case named && c.config != "":
		return "", errors.New("--database and --config both name a database: leave out one")
	case c.config != "":
		return c.configuredDatabase(cmd.Context())
	case c.adapter != "":
		return "", errors.New("--adapter is for --config: leave it out, or add that")
	case strings.TrimSpace(text) == "":
		return "", errors.New("--database is empty: " + cure)
	case holdsPassword(text):
		return "", errors.New("--database holds a password, which all users of this machine see in the list of processes: " + cure)
	case secret.LooksLikePlaceholder(text):
		return "", errors.New("--database looks like a placeholder, and is none: " + cure)
	}
	return resolveDatabase(text)
}

// resolveDatabase resolves the placeholders of a DSN in this process, which is not the one that serves.
func resolveDatabase(text string) (string, error) {
	dsn, err := secret.Resolve(text, caddy.NewReplacer())
	if err != nil {
		return "", fmt.Errorf("the database %s is empty: check that this user can read the file, or that the variable is set here, "+
			"since a shell has not those of a service", secret.Placeholders(text))
	}
	return dsn, nil
}

// configuredDatabase is the URL of the database in the file that --config names.
func (c *console) configuredDatabase(ctx context.Context) (string, error) {
	text, _, _, err := caddycmd.LoadConfig(c.config, c.adapter)
	if err != nil {
		return "", fmt.Errorf("reading the configuration: %w", err)
	}
	var config struct {
		Apps struct {
			App struct {
				History struct {
					Database *databaseURL `json:"database"`
				} `json:"history"`
			} `json:"ip_reputation"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return "", fmt.Errorf("reading the configuration %s: %w", c.config, err)
	}
	database := config.Apps.App.History.Database
	if database == nil {
		return "", fmt.Errorf("the configuration %s keeps no history: add `history {env.DATABASE_URL}` to its global ip_reputation options, "+
			"or name a database with --database", c.config)
	}
	return database.fetch(ctx)
}

// databaseURL is the URL of the database as the configuration has it: a placeholder, or the store that holds it.
type databaseURL struct {
	Value    string          `json:"value"`
	StoreRaw json.RawMessage `json:"store" caddy:"namespace=ip_reputation.secrets inline_key=store"`
}

// storeTimeout is how long a store of secrets may take to answer a command.
const storeTimeout = 30 * time.Second

// fetch returns the URL, of which no app keeps the value here.
func (s *databaseURL) fetch(ctx context.Context) (string, error) {
	if s.StoreRaw == nil {
		return resolveDatabase(s.Value)
	}
	ctx, stop := context.WithTimeout(ctx, storeTimeout)
	defer stop()
	modules, cancel := caddy.NewContext(caddy.Context{Context: ctx})
	defer cancel()
	loaded, err := modules.LoadModule(s, "StoreRaw")
	if err != nil {
		return "", fmt.Errorf("loading the store of the database's URL: %w", err)
	}
	store, ok := loaded.(reputation.SecretStore)
	if !ok {
		return "", fmt.Errorf("module %T is not a store of secrets: it lacks the Fetch method", loaded)
	}
	fetched, err := store.Fetch(ctx)
	if err != nil {
		return "", fmt.Errorf("asking the store for the database's URL: %w", err)
	}
	return strings.TrimSpace(fetched.Value), nil
}

// passwordWord is a password in a DSN of words, such as `host=db password=x`.
var passwordWord = regexp.MustCompile(`(?i)password\s*=\s*('(?:[^'\\]|\\.)*'|[^\s&]+)`)

// passwordsOf are the passwords in a DSN, as it has them and decoded.
func passwordsOf(dsn string) (passwords []string) {
	for _, found := range passwordWord.FindAllStringSubmatch(dsn, -1) {
		decoded, _ := url.QueryUnescape(found[1])
		passwords = append(passwords, found[1], strings.Trim(found[1], "'"), decoded)
	}
	if _, rest, isURL := strings.Cut(dsn, "://"); isURL {
		if at := strings.LastIndex(rest, "@"); at >= 0 {
			_, password, _ := strings.Cut(rest[:at], ":")
			decoded, _ := url.PathUnescape(password)
			passwords = append(passwords, password, decoded)
		}
	}
	return slices.DeleteFunc(passwords, func(p string) bool { return p == "" })
}

// holdsPassword reports whether a password stands in a DSN, and not only a placeholder for one.
func holdsPassword(text string) bool {
	return len(passwordsOf(secret.WithoutPlaceholders(text))) > 0
}

// withoutSecret keeps the DSN and its password out of an error, wherever that comes from.
func withoutSecret(dsn string, err error) error {
	if err == nil {
		return nil
	}
	text := strings.ReplaceAll(err.Error(), dsn, "…")
	for _, password := range passwordsOf(dsn) {
		text = strings.ReplaceAll(text, password, "…")
	}
	return errors.New(clean(text))
}
