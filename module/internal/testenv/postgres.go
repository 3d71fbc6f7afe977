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

// postgresDSN is the variable that names a server which runs already.
const postgresDSN = "IPREP_TEST_PG_DSN"

// PostgreSQLServer is a PostgreSQL with an empty database. It needs no password.
type PostgreSQLServer struct {
	DSN  string // of the database, as a user who may do anything; a URL
	Addr string // host:port

	tb      testing.TB
	bin     string
	dir     string // empty: the server is not ours
	args    []string
	process *process   // nil: never started; may have ended
	alive   *os.File   // ends when the last process of the server does
	owner   *ownership // nil: the server runs as who runs the tests
}

// ownership is the owner of files and processes.
type ownership struct{ uid, gid int }

// PostgreSQL starts a server on its own. args are postgres's, such as "-c", "max_connections=10", and take precedence. Its
// commits outlive its crash, but not the machine's.
//
// IPREP_TEST_PG_DSN, a URL, names a server to use instead. The database is a new one on that, dropped in the end, and a test
// that wants to stop or pause the server, or has args, is skipped.
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
			"-D", s.data(), "-p", strconv.Itoa(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
			"-c", "fsync=off",
		}, args)
		err = s.run()
	}
	if err != nil {
		tb.Fatalf("postgres at %s: %v; its log:\n%s", s.Addr, err, s.Log())
	}
	return s
}

// use creates a database on a server that runs already.
func (s *PostgreSQLServer) use(given string, args []string) {
	s.tb.Helper()
	if len(args) > 0 {
		s.tb.Skipf("the server of %s cannot be given %q", postgresDSN, args)
	}
	address, err := url.Parse(given)
	if err != nil || address.Host == "" {
		s.tb.Fatalf("%s is not a URL such as postgres://user@host:port/database", postgresDSN) // it may hold a password
	}
	s.DSN, s.Addr = given, address.Host
	s.DSN = s.Database()
}

// initialize makes the server's files, in a folder of the user that it runs as: it refuses to run as root.
func (s *PostgreSQLServer) initialize() {
	s.tb.Helper()
	// Not tb.TempDir, which another user cannot read.
	dir, err := os.MkdirTemp("", "postgres")
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() { _ = os.RemoveAll(dir) }) // the server is gone by then
	s.dir = dir
	if os.Geteuid() == 0 {
		s.owner = nobody(s.tb)
		if err := os.Chown(dir, s.owner.uid, s.owner.gid); err != nil {
			s.tb.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "initdb"), "--no-sync", "--no-instructions", "-A", "trust", //nolint:gosec // it was looked for
		"-E", "UTF8", "--locale=C", "-U", "postgres", "-D", s.data())
	cmd.Dir, cmd.SysProcAttr = dir, s.attributes()
	if out, err := cmd.CombinedOutput(); err != nil {
		s.tb.Fatalf("%s: %v: can every user look into %s?\n%s", cmd, err, filepath.Dir(dir), out)
	}
}

// nobody returns a user who is not root.
func nobody(tb testing.TB) *ownership {
	tb.Helper()
	found, err := user.Lookup("postgres")
	if err != nil {
		found, err = user.Lookup("nobody")
	}
	if err != nil {
		tb.Fatalf("postgres does not run as root, and there is no other user: %v", err)
	}
	uid, err := strconv.Atoi(found.Uid)
	gid, wrong := strconv.Atoi(found.Gid)
	if err := errors.Join(err, wrong); err != nil {
		tb.Fatal(err)
	}
	return &ownership{uid, gid}
}

func (s *PostgreSQLServer) attributes() *syscall.SysProcAttr {
	attributes := dieWithUs()
	if s.owner != nil {
		if attributes == nil {
			attributes = new(syscall.SysProcAttr)
		}
		attributes.Credential = &syscall.Credential{Uid: uint32(s.owner.uid), Gid: uint32(s.owner.gid)}
	}
	return attributes
}

// Start starts a server again that was stopped, at the same address and with what was committed, and waits until it answers.
func (s *PostgreSQLServer) Start() {
	s.tb.Helper()
	s.ours()
	if !s.process.ended() {
		s.tb.Fatalf("postgres at %s runs already", s.Addr)
	}
	if err := s.run(); err != nil {
		s.tb.Fatalf("postgres at %s, started again: %v; its log:\n%s", s.Addr, err, s.Log())
	}
}

// Stop kills all processes of the server, as a crash would, and waits for their end. A server that has ended stays so.
func (s *PostgreSQLServer) Stop() {
	s.tb.Helper()
	s.ours()
	if s.process == nil || s.alive == nil {
		return
	}
	_ = s.signal(syscall.SIGSTOP) // it may have ended by itself
	_ = s.signal(syscall.SIGKILL)
	<-s.process.over
	// Those that were overlooked end by themselves, without it.
	if err := s.alive.SetReadDeadline(time.Now().Add(patience)); err != nil {
		s.tb.Error(err)
	}
	if _, err := s.alive.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		s.tb.Errorf("postgres at %s: a process of it lives on", s.Addr)
	}
	_ = s.alive.Close()
	s.alive = nil
	s.forget()
}

// forget removes the shared memory that a killed server leaves behind, since systems have little of it.
func (s *PostgreSQLServer) forget() {
	text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 2 { // a key and a number
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			_ = exec.CommandContext(ctx, "ipcrm", "-m", fields[1]).Run() //nolint:gosec // it may be gone
			return
		}
	}
}

// Pause halts the server: the system accepts connections for it, and nothing is answered.
func (s *PostgreSQLServer) Pause() {
	s.tb.Helper()
	s.mustSignal(syscall.SIGSTOP)
}

// Resume lets a paused server go on.
func (s *PostgreSQLServer) Resume() {
	s.tb.Helper()
	s.mustSignal(syscall.SIGCONT)
}

func (s *PostgreSQLServer) mustSignal(signal syscall.Signal) {
	s.tb.Helper()
	s.ours()
	if err := s.signal(signal); err != nil {
		s.tb.Fatalf("postgres at %s: %v: %v", s.Addr, signal, err)
	}
}

// signal sends a signal to all processes of the server: first to the one that starts the others.
func (s *PostgreSQLServer) signal(signal syscall.Signal) error {
	first := s.process.cmd.Process
	others := children(first.Pid) // while they are its children
	if err := first.Signal(signal); err != nil {
		return err
	}
	if signal == syscall.SIGSTOP {
		others = children(first.Pid) // there are no new ones from now on
	}
	for _, pid := range others {
		_ = syscall.Kill(pid, signal) // may have ended meanwhile
	}
	return nil
}

// ours skips a test that would stop or pause a server that the test did not start.
func (s *PostgreSQLServer) ours() {
	s.tb.Helper()
	if s.dir == "" {
		s.tb.Skipf("the server of %s is not ours to stop", postgresDSN)
	}
}

// SQL lets psql run statements in the server's database, as the user of DSN, and returns what it prints without the space
// around it: a line for each row, with | between columns. An error fails the test.
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
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute) // tests of speed fill tables
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-c", statements) //nolint:gosec // the tests say what is asked
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		out = append(out, exit.Stderr...)
	}
	return strings.TrimSpace(string(out)), err
}

// Database makes another, empty database on the server, which is dropped when the test ends, and returns its DSN.
func (s *PostgreSQLServer) Database() string {
	s.tb.Helper()
	return s.DatabaseFor(s.tb)
}

// DatabaseFor is Database for a test that does not own the server.
func (s *PostgreSQLServer) DatabaseFor(tb testing.TB) string {
	tb.Helper()
	name := "iprep_test_" + strings.ToLower(rand.Text())
	if out, err := s.psql(s.DSN, "CREATE DATABASE "+name); err != nil {
		tb.Fatalf("making a database: %v\n%s", err, out)
	}
	home := s.DSN
	tb.Cleanup(func() {
		if s.dir == "" { // else it goes with the server
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

// Log returns what the server has printed since it was first started.
func (s *PostgreSQLServer) Log() string {
	if s.dir == "" {
		return ""
	}
	return readLog(s.logPath())
}

func (s *PostgreSQLServer) logPath() string { return filepath.Join(s.dir, "log") }

func (s *PostgreSQLServer) data() string { return filepath.Join(s.dir, "data") }

// run starts the server and returns when it answers. When it fails, the server does not run.
func (s *PostgreSQLServer) run() error {
	s.tb.Helper()
	before := len(s.Log())
	alive, end, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(context.Background(), filepath.Join(s.bin, "postgres"), s.args...) //nolint:gosec // the tests say what is run
	cmd.Dir, cmd.SysProcAttr = s.dir, s.attributes()
	cmd.ExtraFiles = []*os.File{end} // each process of the server holds it
	s.process, err = launch(cmd, s.logPath())
	_ = end.Close() // the server's is another handle
	if err != nil {
		_ = alive.Close()
		return err
	}
	s.alive = alive
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(pace) {
		switch said := s.Log()[before:]; {
		case !s.process.ended() && strings.Contains(said, "ready to accept connections"):
			return nil
		case !s.process.ended():
			continue
		case strings.Contains(said, "ddress already in use"):
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

// postgresFolder returns the folder of PostgreSQL's programs, and ends the test when there is none.
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

// postgresPlaces are folders that PostgreSQL can be in without being on the PATH.
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
	digits := strings.TrimFunc(filepath.Base(filepath.Dir(dir)), func(r rune) bool { return r < '0' || r > '9' })
	var version int
	_, _ = fmt.Sscanf(digits, "%d", &version) // 9.6 is as good as 9
	return version
}
