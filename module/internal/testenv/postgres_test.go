package testenv

import (
	"net/url"

	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	start := time.Now()
	s := PostgreSQL(t, "-c", "max_connections=13")
	took(t, start)
	check(t, "max_connections", s.SQL("SHOW max_connections"), "13")
	check(t, "its port", "127.0.0.1:"+s.SQL("SHOW port"), s.Addr)
	check(t, "encoding", s.SQL("SHOW server_encoding"), "UTF8")
	check(t, "rows", s.SQL("VALUES (1, 'a'), (2, 'b')"), "1|a\n2|b")
	other := s.Database()
	if out, err := s.psql(other, "CREATE TABLE here (x int)"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	check(t, "the table of another database", s.SQL("SELECT to_regclass('here')"), "")
	said := fatal(t, func(tb testing.TB) {
		asked := *s
		asked.tb = tb
		asked.SQL("SELECT 1/0")
	})
	if !strings.Contains(said, "division by zero") {
		t.Errorf("%q", said)
	}
}

func TestPostgreSQLStopsAndStarts(t *testing.T) {
	t.Parallel()
	s := PostgreSQL(t)
	s.SQL("CREATE TABLE kept (x int)")
	s.SQL("INSERT INTO kept VALUES (1)")
	for i := range 3 {
		// a server process that is busy, and would outlive its parent for a while
		busy := exec.Command(s.bin+"/psql", "-XqAt", "-d", s.DSN, "-c", "INSERT INTO kept SELECT sum(x) FROM generate_series(1, 1000000000) x")
		if err := busy.Start(); err != nil {
			t.Fatal(err)
		}
		await(t, nil, func() string {
			if s.SQL("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%generate_series%'") == "2" {
				return ""
			}
			return "it is not busy"
		})
		first := s.process.cmd.Process.Pid
		if found := children(first); len(found) < 4 {
			t.Errorf("it has the processes %v", found)
		}
		s.Stop()
		s.Stop() // a second time changes nothing
		if err := busy.Wait(); err == nil {
			t.Error("a killed server has finished")
		}
		if _, err := dial(t.Context(), s.Addr, nil); err == nil {
			t.Error("a killed server accepts a connection")
		}
		start := time.Now()
		s.Start()
		t.Logf("round %d: again after %v", i, time.Since(start).Round(time.Millisecond))
		check(t, "what was committed", s.SQL("SELECT * FROM kept"), "1")
	}
}

func TestPostgreSQLPauses(t *testing.T) {
	t.Parallel()
	s := PostgreSQL(t)
	s.Pause()
	waits := exec.Command(s.bin+"/psql", "-XqAt", "-d", s.DSN, "-c", "SELECT 1")
	if err := waits.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- waits.Wait() }()
	select {
	case err := <-over:
		t.Errorf("a paused server answers: %v", err)
	case <-time.After(soon):
	}
	s.Resume()
	if err := <-over; err != nil {
		t.Error(err)
	}
	s.Pause() // the end comes to those who sleep as well
}

func TestAPostgreSQLThatDoesNotStart(t *testing.T) {
	t.Parallel()
	said := fatal(t, func(tb testing.TB) { PostgreSQL(tb, "-c", "nonsense=1") })
	if !strings.Contains(said, errEnded.Error()) || !strings.Contains(said, `"nonsense"`) {
		t.Errorf("it fails with %q", said)
	}
}

func TestAGivenPostgreSQL(t *testing.T) {
	s := PostgreSQL(t)
	t.Setenv(postgresDSN, s.DSN)
	given := PostgreSQL(t)
	if given.DSN == s.DSN || given.Addr != s.Addr {
		t.Errorf("%s at %s", given.DSN, given.Addr)
	}
	address, err := url.Parse(given.DSN)
	if err != nil {
		t.Fatal(err)
	}
	check(t, "the database", given.SQL("SELECT current_database()"), address.Path[1:])
	for name, act := range map[string]func(*PostgreSQLServer){
		"Stop": (*PostgreSQLServer).Stop, "Start": (*PostgreSQLServer).Start,
		"Pause": (*PostgreSQLServer).Pause, "Resume": (*PostgreSQLServer).Resume,
	} {
		f := tell(t, func(tb testing.TB) {
			asked := *given
			asked.tb = tb
			act(&asked)
		})
		if !strings.Contains(f.skip, "not ours") {
			t.Errorf("%s: %+v", name, f)
		}
	}
	t.Setenv(postgresDSN, "host=127.0.0.1 password=password-of-the-test")
	said := fatal(t, func(tb testing.TB) { PostgreSQL(tb) })
	if !strings.Contains(said, postgresDSN) || strings.Contains(said, "password-of") {
		t.Errorf("%q", said)
	}
}

func TestNoPostgreSQL(t *testing.T) {
	places := postgresPlaces
	postgresPlaces = nil
	t.Cleanup(func() { postgresPlaces = places })
	t.Setenv("PATH", t.TempDir())
	const want = "there is no postgres: apt-get install postgresql, or brew install postgresql@16"
	t.Setenv(requireServices, "")
	if f := tell(t, func(tb testing.TB) { PostgreSQL(tb) }); f.skip != want || f.fatal != "" {
		t.Errorf("%+v", f)
	}
	t.Setenv(requireServices, "1")
	if f := tell(t, func(tb testing.TB) { PostgreSQL(tb) }); f.fatal != want || f.skip != "" {
		t.Errorf("%+v", f)
	}
}

func TestPostgreSQLVersions(t *testing.T) {
	for dir, want := range map[string]int{
		"/usr/lib/postgresql/15/bin": 15, "/usr/lib/postgresql/9.6/bin": 9, "/usr/pgsql-17/bin": 17,
		"/opt/homebrew/opt/postgresql@16/bin": 16, "/usr/local/pgsql/bin": 0,
	} {
		if got := postgresVersion(dir); got != want {
			t.Errorf("%s: %d, want %d", dir, got, want)
		}
	}
}
