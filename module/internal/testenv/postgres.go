package testenv

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// postgresDSN is the variable with the DSN of a running server to use.
const postgresDSN = "IPREP_TEST_PG_DSN"

// PostgreSQLServer is a PostgreSQL with an empty database. It needs no password.
type PostgreSQLServer struct {
	DSN  string // of the database, as a superuser; a URL
	Addr string // host:port

	tb      testing.TB
	bin     string
	dir     string // empty for a server from IPREP_TEST_PG_DSN
	args    []string
	process *process   // nil before the first start
	alive   *os.File   // a pipe that is closed when the last process of the server has ended
	owner   *ownership // nil if the server runs as the user of the tests
}

// ownership is the owner of files and processes.
type ownership struct{ uid, gid int }

// PostgreSQL starts a server. args are arguments of postgres, such as "-c", "max_connections=10",
// and take precedence. Commits survive a crash of the server, but not of the machine.
//
// With IPREP_TEST_PG_DSN, a URL, a running server is used instead. The database is a new one there,
// and is dropped at the end. A test that stops or pauses the server, or has args, is then skipped.
func PostgreSQL(tb testing.TB, args ...string) *PostgreSQLServer {
	tb.Helper()
	s := &PostgreSQLServer{tb: tb, bin: postgresFolder(tb)}
	if given := os.Getenv(postgresDSN); given != "" {
		s.use(given, args)
		return s
	}
	s.initialize()
	tb.Cleanup(s.Stop) // before the folder is removed
	err := errPortTaken
	for i := 0; i < attempts && errors.Is(err, errPortTaken); i++ {
		port := freePort(tb)
		s.Addr = loopback(port)
		s.DSN = "postgres://postgres@" + s.Addr + "/postgres?sslmode=disable"
		s.args = slices.Concat([]string{
			"-D", s.data(), "-p", strconv.Itoa(port),
			"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
			"-c", "fsync=off",
		}, args)
		err = s.run()
	}
	if err != nil {
		tb.Fatalf("postgres at %s: %v; its log:\n%s", s.Addr, err, s.Log())
	}
	return s
}

// use creates a database on a running server.
func (s *PostgreSQLServer) use(given string, args []string) {
	s.tb.Helper()
	if len(args) > 0 {
		s.tb.Skipf("the server of %s cannot be given %q", postgresDSN, args)
	}
	address, err := url.Parse(given)
	if err != nil || address.Host == "" {
		// it may hold a password
		s.tb.Fatalf("%s is not a URL such as postgres://user@host:port/database", postgresDSN)
	}
	s.DSN, s.Addr = given, address.Host
	s.DSN = s.Database()
}

// initialize creates the server's files. Root cannot run postgres, so they then
// belong to another user.
func (s *PostgreSQLServer) initialize() {
	s.tb.Helper()
	// Not tb.TempDir, which another user cannot read.
	dir, err := os.MkdirTemp("", "postgres")
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() { _ = os.RemoveAll(dir) }) // the server has ended before
	s.dir = dir
	if os.Geteuid() == 0 {
		s.owner = nobody(s.tb)
		if err := os.Chown(dir, s.owner.uid, s.owner.gid); err != nil {
			s.tb.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	//nolint:gosec // it was looked for
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "initdb"), "--no-sync", "--no-instructions", "-A", "trust",
		"-E", "UTF8", "--locale=C", "-U", "postgres", "-D", s.data())
	cmd.Dir, cmd.SysProcAttr = dir, s.attributes()
	if out, err := cmd.CombinedOutput(); err != nil {
		s.tb.Fatalf("%s: %v: can every user look into %s?\n%s", cmd, err, filepath.Dir(dir), out)
	}
}

// nobody returns a user other than root.
func nobody(tb testing.TB) *ownership {
	tb.Helper()
	found, err := user.Lookup("postgres")
	if err != nil {
		found, err = user.Lookup("nobody")
	}
	if err != nil {
		tb.Fatalf("the server does not run as root, and there is no other user: %v", err)
	}
	uid, err := strconv.Atoi(found.Uid)
	gid, wrong := strconv.Atoi(found.Gid)
	if err := errors.Join(err, wrong); err != nil {
		tb.Fatal(err)
	}
	return &ownership{uid, gid}
}

func (s *PostgreSQLServer) attributes() *syscall.SysProcAttr {
	attributes := killWithParent()
	if s.owner != nil {
		if attributes == nil {
			attributes = new(syscall.SysProcAttr)
		}
		attributes.Credential = &syscall.Credential{Uid: uint32(s.owner.uid), Gid: uint32(s.owner.gid)}
	}
	return attributes
}

// Start restarts a stopped server at the same address with the committed data, and
// waits until it answers.
func (s *PostgreSQLServer) Start() {
	s.tb.Helper()
	s.mustOwn()
	if !s.process.ended() {
		s.tb.Fatalf("postgres at %s runs already", s.Addr)
	}
	if err := s.run(); err != nil {
		s.tb.Fatalf("postgres at %s, started again: %v; its log:\n%s", s.Addr, err, s.Log())
	}
}

// Stop kills all processes of the server, like a crash, and waits for their end. It does nothing if
// the server has ended.
func (s *PostgreSQLServer) Stop() {
	s.tb.Helper()
	s.mustOwn()
	if s.process == nil || s.alive == nil {
		return
	}
	_ = s.signal(syscall.SIGSTOP) // it may have ended already
	_ = s.signal(syscall.SIGKILL)
	<-s.process.done
	// Processes that were not killed end by themselves without the first one.
	if err := s.alive.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		s.tb.Error(err)
	}
	if _, err := s.alive.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		s.tb.Errorf("postgres at %s: a process of it lives on", s.Addr)
	}
	_ = s.alive.Close()
	s.alive = nil
	s.removeSharedMemory()
}

// removeSharedMemory removes the shared memory of a killed server, since systems have little of it.
func (s *PostgreSQLServer) removeSharedMemory() {
	text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 2 { // a key and a number
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			_ = exec.CommandContext(ctx, "ipcrm", "-m", fields[1]).Run() //nolint:gosec // it may be gone
			return
		}
	}
}

// Pause suspends the server: the system still accepts connections, but nothing answers.
func (s *PostgreSQLServer) Pause() {
	s.tb.Helper()
	s.mustSignal(syscall.SIGSTOP)
}

// Resume continues a paused server.
func (s *PostgreSQLServer) Resume() {
	s.tb.Helper()
	s.mustSignal(syscall.SIGCONT)
}

func (s *PostgreSQLServer) mustSignal(signal syscall.Signal) {
	s.tb.Helper()
	s.mustOwn()
	if err := s.signal(signal); err != nil {
		s.tb.Fatalf("postgres at %s: %v: %v", s.Addr, signal, err)
	}
}

// signal sends a signal to all processes of the server: first to the one that starts the others.
func (s *PostgreSQLServer) signal(signal syscall.Signal) error {
	first := s.process.cmd.Process
	others := children(first.Pid) // before they get another parent
	if err := first.Signal(signal); err != nil {
		return err
	}
	if signal == syscall.SIGSTOP {
		others = children(first.Pid) // it cannot start new ones now
	}
	for _, pid := range others {
		_ = syscall.Kill(pid, signal) // it may have ended
	}
	return nil
}

// mustOwn skips the test if it did not start the server, and so must not stop or pause it.
func (s *PostgreSQLServer) mustOwn() {
	s.tb.Helper()
	if s.dir == "" {
		s.tb.Skipf("the server of %s is not ours to stop", postgresDSN)
	}
}

// SQL runs statements with psql in the server's database, as the user of DSN. It returns the
// trimmed output: one line for each row, with | between columns. An error fails the test.
func (s *PostgreSQLServer) SQL(statements string) string {
	s.tb.Helper()
	return s.SQLIn(s.DSN, statements)
}

// SQLIn is SQL in the database of another DSN.
func (s *PostgreSQLServer) SQLIn(dsn, statements string) string {
	s.tb.Helper()
	out, err := s.psql(dsn, statements)
	if err != nil {
		s.tb.Fatalf("%s: %v\n%s", statements, err, out)
	}
	return out
}

func (s *PostgreSQLServer) psql(dsn, statements string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute) // benchmarks fill tables
	defer cancel()
	//nolint:gosec // the arguments come from tests
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "psql"),
		"-XqAt", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-c", statements)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		out = append(out, exit.Stderr...)
	}
	return strings.TrimSpace(string(out)), err
}

// Database creates another, empty database on the server and returns its DSN. It is
// dropped at the end of the test.
func (s *PostgreSQLServer) Database() string {
	s.tb.Helper()
	return s.DatabaseFor(s.tb)
}

// DatabaseFor is Database for a test that shares the server of another.
func (s *PostgreSQLServer) DatabaseFor(tb testing.TB) string {
	tb.Helper()
	name := "iprep_test_" + strings.ToLower(rand.Text())
	if out, err := s.psql(s.DSN, "CREATE DATABASE "+name); err != nil {
		tb.Fatalf("making a database: %v\n%s", err, out)
	}
	home := s.DSN
	tb.Cleanup(func() {
		if s.dir == "" { // otherwise the server's files are removed
			_, _ = s.psql(home, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
		}
	})
	address, err := url.Parse(s.DSN)
	if err != nil {
		tb.Fatalf("%s is not a URL", postgresDSN)
	}
	address.Path = "/" + name
	return address.String()
}

// Log returns the server's output since its first start.
func (s *PostgreSQLServer) Log() string {
	if s.dir == "" {
		return ""
	}
	return readLog(s.logPath())
}

func (s *PostgreSQLServer) logPath() string { return filepath.Join(s.dir, "log") }

func (s *PostgreSQLServer) data() string { return filepath.Join(s.dir, "data") }

// run starts the server and returns when it answers. After an error, the server does not run.
func (s *PostgreSQLServer) run() error {
	s.tb.Helper()
	before := len(s.Log())
	alive, end, err := os.Pipe()
	if err != nil {
		return err
	}
	//nolint:gosec // the arguments come from tests
	cmd := exec.CommandContext(context.Background(), filepath.Join(s.bin, "postgres"), s.args...)
	cmd.Dir, cmd.SysProcAttr = s.dir, s.attributes()
	cmd.ExtraFiles = []*os.File{end} // each process of the server inherits it
	s.process, err = launch(cmd, s.logPath())
	_ = end.Close() // the server has its own handle
	if err != nil {
		_ = alive.Close()
		return err
	}
	s.alive = alive
	for end := time.Now().Add(timeout); time.Now().Before(end); time.Sleep(pollInterval) {
		switch printed := s.Log()[before:]; {
		case !s.process.ended() && strings.Contains(printed, "ready to accept connections"):
			return nil
		case !s.process.ended():
			continue
		case strings.Contains(printed, "ddress already in use"):
			err = errPortTaken
		default:
			err = errEnded
		}
		s.Stop()
		return err
	}
	s.Stop()
	return errNotReady
}

// postgresFolder returns the folder of PostgreSQL's programs. Without one, the test
// ends: see missing.
func postgresFolder(tb testing.TB) string {
	tb.Helper()
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil && hasPostgreSQL(filepath.Dir(path)) {
			return filepath.Dir(path)
		}
	}
	var found []string
	for _, pattern := range postgresPlaces {
		dirs, _ := filepath.Glob(pattern) // the patterns are well-formed
		found = append(found, slices.DeleteFunc(dirs, func(dir string) bool { return !hasPostgreSQL(dir) })...)
	}
	if len(found) > 0 {
		return slices.MaxFunc(found, func(a, b string) int { return postgresVersion(a) - postgresVersion(b) })
	}
	missing(tb, "postgres", "apt-get install postgresql, or brew install postgresql@16")
	return ""
}

// postgresPlaces are the usual folders of PostgreSQL's programs that are not on the PATH.
var postgresPlaces = []string{
	"/usr/lib/postgresql/*/bin",                       // Debian
	"/usr/pgsql-*/bin",                                // its authors' packages for Red Hat
	"/opt/homebrew/opt/postgresql@*/bin",              // macOS
	"/usr/local/opt/postgresql@*/bin",                 // macOS on Intel
	"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin", // Homebrew elsewhere
	"/usr/local/pgsql/bin",                            // built from source
}

func hasPostgreSQL(dir string) bool {
	for _, name := range []string{"postgres", "initdb", "psql"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// postgresVersion returns the major version that is part of a folder's name, 0 if there is none.
func postgresVersion(dir string) int {
	digits := strings.TrimFunc(filepath.Base(filepath.Dir(dir)),
		func(r rune) bool { return r < '0' || r > '9' })
	var version int
	_, _ = fmt.Sscanf(digits, "%d", &version) // 9.6 counts as 9
	return version
}
