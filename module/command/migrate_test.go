package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/postgres"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret/aws" // plugged in
)

// aDatabase is a fake of PostgreSQL. The first of its known migrations are applied.
type aDatabase struct {
	known   []string
	applied int
	err     error
	asked   []string // DSNs and commands
}

func (d *aDatabase) migrate(_ context.Context, dsn, command string) ([]postgres.Migration, error) {
	d.asked = append(d.asked, dsn+" "+command)
	switch {
	case d.err != nil:
		return nil, d.err
	case command == "up":
		d.applied = len(d.known)
	case command == "down":
		if d.applied == 0 {
			return nil, errors.New("there are no tables to undo")
		}
		d.applied--
	}
	var all []postgres.Migration
	for i, name := range d.known {
		m := postgres.Migration{Version: int64(i + 1), Name: name}
		if i < d.applied {
			m.Applied = time.Date(2026, 11, 26, 12, 0, i, 0, time.UTC)
		}
		all = append(all, m)
	}
	return all, nil
}

// run runs a command against the fake.
func (d *aDatabase) run(args ...string) (stdout, stderr string, err error) {
	return (&console{migrateTables: d.migrate}).run(args...)
}

const (
	passwordOfDB = "password-of-the-database"
	dsnOfDB      = "postgres://caddy:" + passwordOfDB + "@db.example.org/reputation"
)

func migrated(t *testing.T) *aDatabase {
	t.Helper()
	d := &aDatabase{known: []string{"history", "indexes"}}
	t.Setenv("DATABASE_URL", dsnOfDB)
	return d
}

func TestMigrateCommand(t *testing.T) {
	d := migrated(t)
	for _, step := range []struct{ args, want string }{
		{"migrate status", `
VERSION  NAME     APPLIED
1        history  not yet
2        indexes  not yet

2 migrations to apply: caddy ip-reputation migrate up`},
		{"migrate up", `
applied: 1 history
applied: 2 indexes
the tables are those of 2 indexes`},
		{"migrate up", `nothing to do: the tables are those of 2 indexes`},
		{"migrate status", `
VERSION  NAME     APPLIED
1        history  2026-11-26 12:00:00 UTC
2        indexes  2026-11-26 12:00:01 UTC`},
		{"migrate status --json", `[{"version":1,"name":"history","applied":"2026-11-26T12:00:00Z"},{"version":2,"name":"indexes","applied":"2026-11-26T12:00:01Z"}]`},
		{"migrate down --yes", `
undone: 2 indexes
the tables are those of 1 history`},
		{"migrate up --json", `[{"version":2,"name":"indexes","applied":"2026-11-26T12:00:01Z"}]`},
		{"migrate down --yes --json", `[{"version":2,"name":"indexes"}]`},
		{"migrate down --yes", `
undone: 1 history
the database has no tables of the history`},
	} {
		out, problems, err := d.run(strings.Fields(step.args)...)
		if err != nil || problems != "" {
			t.Fatalf("%s: %v\n%s", step.args, err, problems)
		}
		if diff := cmp.Diff(strings.TrimSpace(step.want), trimLines(out)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.args, diff)
		}
	}
	d.known, d.applied = []string{"history", ""}, 2
	if out, _, err := d.run("migrate", "status"); err != nil || !strings.Contains(out, "2        (of a newer version)  2026-11-26") {
		t.Errorf("of tables of a newer version: %v\n%s", err, out)
	}
	for _, asked := range d.asked {
		if !strings.HasPrefix(asked, dsnOfDB+" ") {
			t.Errorf("asked %q", asked)
		}
	}
}

// TestMigratePostgreSQL runs the commands against a real server.
func TestMigratePostgreSQL(t *testing.T) {
	server := testenv.PostgreSQL(t)
	t.Setenv("DATABASE_URL", server.DSN)
	c := &console{migrateTables: postgres.Migrate}
	do := func(args string) string {
		t.Helper()
		out, problems, err := c.run(append([]string{"migrate"}, strings.Fields(args)...)...)
		if err != nil || problems != "" {
			t.Fatalf("migrate %s: %v\n%s", args, err, problems)
		}
		return timeless(out)
	}
	if status := do("status"); !strings.Contains(status, "1        history    not yet\n") || !strings.Contains(status, "to apply: caddy ip-reputation migrate up") {
		t.Errorf("the status of an empty database:\n%s", status)
	}
	if up := do("up"); !strings.HasPrefix(up, "applied: 1 history\n") {
		t.Errorf("up says:\n%s", up)
	}
	if up := do("up"); !strings.HasPrefix(up, "nothing to do: the tables are those of ") {
		t.Errorf("up again says:\n%s", up)
	}
	if status := do("status"); !strings.Contains(status, "1        history    TIME") || strings.Contains(status, "not yet") {
		t.Errorf("the status of a database that is up to date:\n%s", status)
	}
	undone := ""
	for i := 0; !strings.Contains(undone, "the database has no tables of the history") && i < 100; i++ {
		undone = do("down --yes")
	}
	if !strings.Contains(undone, "undone: 1 history\n") {
		t.Errorf("down, to the end, says:\n%s", undone)
	}
	if up := do("up"); !strings.HasPrefix(up, "applied: 1 history\n") {
		t.Errorf("up after down says:\n%s", up)
	}
	server.Stop()
	t.Setenv("DATABASE_URL", strings.Replace(server.DSN, "postgres@", "postgres:"+passwordOfDB+"@", 1))
	_, problems, err := c.run("migrate", "status")
	if err == nil || !strings.Contains(err.Error(), "the database of the history cannot be used") || !strings.Contains(err.Error(), "see that the server runs") {
		t.Errorf("of a server that is down: %v", err)
	}
	wantSecrecy(t, map[string]string{"stderr": problems, "the error": fmt.Sprint(err)})
}

// TestMigrateDownAsks proves that nothing is dropped without a yes.
func TestMigrateDownAsks(t *testing.T) {
	d := migrated(t)
	d.applied = 2
	_, _, err := d.run("migrate", "down")
	const want = "migrate down undoes 2 indexes: it drops the tables that this made, with all that is in them; add --yes if you mean it"
	if err == nil || err.Error() != want || d.applied != 2 {
		t.Errorf("%d are applied, the error is %v", d.applied, err)
	}
	d.applied = 0
	if _, _, err := d.run("migrate", "down"); err == nil || err.Error() != "there are no tables to undo" {
		t.Errorf("with nothing to undo: %v", err)
	}
}

func TestMigrateMistakes(t *testing.T) {
	d := migrated(t)
	t.Setenv("EMPTY_DSN", "")
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	none := write("none.json", `{"apps":{"ip_reputation":{}}}`)
	empty := write("empty.json", `{"apps":{"ip_reputation":{"history":{"database":{"value":"{env.EMPTY_DSN}"}}}}}`)
	other := write("other.json", `{"apps":{"ip_reputation":{"history":{"database":{"store":{"store":"nowhere"}}}}}}`)
	const literal = "--database holds a password, which all users of this machine see in the list of processes: write --database '{env.NAME}'"
	for _, tc := range []struct{ args, says string }{
		{"migrate", "migrate takes exactly one of up, status and down, such as: caddy ip-reputation migrate status"},
		{"migrate up down", "migrate takes exactly one of up, status and down"},
		{"migrate sideways", `migrate "sideways" is not known: write up, status or down`},
		{"migrate up --yes", "--yes is for migrate down: leave it out with up"},
		{"migrate up --address localhost:2019", "migrate asks the database, not Caddy: leave out --address"},
		{"migrate up --database " + dsnOfDB, literal},
		{"migrate up --database host=db|password=" + passwordOfDB, literal},
		{"migrate up --database host=db|password|=|'" + passwordOfDB + "|x'", literal},
		{"migrate up --database postgres://db/x?user=caddy&password=" + passwordOfDB, literal},
		{"migrate up --database postgres://caddy:" + passwordOfDB + "@{env.DATABASE_HOST}/x", literal},
		{"migrate up --database=", "--database is empty: write --database '{env.NAME}'"},
		{"migrate up --database {env:DATABASE_URL}", "--database looks like a placeholder, and is none"},
		{"migrate up --database {env.EMPTY_DSN}", "the database {env.EMPTY_DSN} is empty: check that this user can read the file, or that the variable is set here"},
		{"migrate up --database {file./nowhere}", "the database {file./nowhere} is empty"},
		{"migrate up --database {env.DATABASE_URL} --config " + none, "--database and --config both name a database: leave out one"},
		{"migrate up --adapter caddyfile", "--adapter is for --config: leave it out, or add that"},
		{"migrate up --config " + none, "keeps no history: add `history {env.DATABASE_URL}` to its global ip_reputation options"},
		{"migrate up --config " + empty, "the database {env.EMPTY_DSN} is empty"},
		{"migrate up --config " + other, "loading the store of the database's URL"},
		{"migrate up --config /nowhere/Caddyfile", "reading the configuration"},
	} {
		t.Run(strings.ReplaceAll(tc.args, passwordOfDB, "…"), func(t *testing.T) {
			args := strings.Fields(tc.args)
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "|", " ")
			}
			out, problems, err := d.run(args...)
			if err == nil || !strings.Contains(err.Error(), tc.says) || out != "" {
				t.Fatalf("printed %q, the error is %v, want %q", out, err, tc.says)
			}
			wantSecrecy(t, map[string]string{"stderr": problems, "the error": err.Error()})
		})
	}
	if d.asked != nil {
		t.Errorf("after nothing but mistakes, the database was asked %d times", len(d.asked))
	}
}

// TestMigrateFindsTheDatabase proves that a placeholder, a configuration and a store each lead to the same database.
func TestMigrateFindsTheDatabase(t *testing.T) {
	d := migrated(t)
	store := awsStore(t, dsnOfDB)
	dir := t.TempDir()
	file := filepath.Join(dir, "url")
	if err := os.WriteFile(file, []byte(dsnOfDB+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DATABASE_PASSWORD", passwordOfDB)
	config := func(name string, database object) string {
		path := filepath.Join(dir, name+".json")
		text, err := json.Marshal(object{"apps": object{"ip_reputation": object{"history": object{"database": database}}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, args := range [][]string{
		{},
		{"--database", "{file." + file + "}"},
		{"--database", strings.Replace(dsnOfDB, passwordOfDB, "{env.DATABASE_PASSWORD}", 1)},
		{"--config", config("placeholder", object{"value": "{env.DATABASE_URL}"})},
		{"--config", config("store", object{"store": store})},
	} {
		d.asked = nil
		if _, _, err := d.run(append([]string{"migrate", "status"}, args...)...); err != nil {
			t.Errorf("%q: %v", args, err)
		}
		if diff := cmp.Diff([]string{dsnOfDB + " status"}, d.asked); diff != "" {
			t.Errorf("%q (-want +asked):\n%s", args, diff)
		}
	}
	const without = "postgres://caddy@db.example.org/reputation"
	d.asked = nil
	if _, _, err := d.run("migrate", "status", "--database", without); err != nil || d.asked[0] != without+" status" {
		t.Errorf("without a password in it: %v, asked %q", err, d.asked)
	}
}

// TestMigrateKeepsSecrets proves that not even an error that quotes the DSN shows its password.
func TestMigrateKeepsSecrets(t *testing.T) {
	d := migrated(t)
	const (
		hard    = "password-of-§ 50%/@"
		escaped = "password-of-%C2%A7%2050%25%2F%40"
		asURL   = "postgres://caddy:" + escaped + "@db/x"
		asWords = "host=db user=caddy password='" + hard + "' dbname=x"
		asQuery = "postgres://db/x?user=caddy&password=" + escaped
	)
	for _, tc := range []struct{ dsn, quoted string }{
		{dsnOfDB, dsnOfDB}, {dsnOfDB, passwordOfDB}, {dsnOfDB, "caddy:" + passwordOfDB},
		{asURL, asURL}, {asURL, escaped}, {asURL, hard},
		{asWords, asWords}, {asWords, "password='" + hard + "'"}, {asWords, hard},
		{asQuery, asQuery}, {asQuery, escaped}, {asQuery, hard},
	} {
		t.Setenv("DATABASE_URL", tc.dsn)
		d.err = fmt.Errorf("cannot parse `%s`:\x1b[2J failed", tc.quoted)
		out, problems, err := d.run("migrate", "up")
		if err == nil || out != "" || strings.ContainsRune(problems, '\x1b') || !strings.Contains(err.Error(), "failed") {
			t.Fatalf("printed %q, the error is %v", out, err)
		}
		wantSecrecy(t, map[string]string{"stderr": problems, "the error": err.Error()})
	}
}
