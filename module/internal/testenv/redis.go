package testenv

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// maxSocketPath is what fits into a socket's address on every system.
const maxSocketPath = 100

// RedisServer is a redis-server that keeps nothing on disk.
type RedisServer struct {
	Addr string // host:port, or the path of its unix socket

	tb      testing.TB
	dir     string
	args    []string
	cli     []string    // how redis-cli finds it
	secure  *tls.Config // nil: it speaks clear text
	process *process    // nil: never started; may have ended
}

// Redis starts a server on its own. args are redis-server's, such as "--maxmemory", "2mb", and take precedence.
func Redis(tb testing.TB, args ...string) *RedisServer {
	tb.Helper()
	return newRedis(tb, func(_ *RedisServer, port int) []string {
		return append([]string{"--port", strconv.Itoa(port)}, args...)
	})
}

// RedisUnix starts a server that listens on a unix socket only.
func RedisUnix(tb testing.TB) *RedisServer {
	tb.Helper()
	// Not tb.TempDir, whose path holds the test's name: it can be too long.
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) }) // the server is gone by then
	path := filepath.Join(dir, "socket")
	if len(path) >= maxSocketPath {
		tb.Fatalf("%s is too long for a unix socket: set TMPDIR", path)
	}
	return newRedis(tb, func(s *RedisServer, _ int) []string {
		s.Addr, s.cli = path, []string{"-s", path}
		return []string{"--port", "0", "--unixsocket", path, "--unixsocketperm", "700"}
	})
}

// newRedis starts a server with the arguments that args gives for a port, which may also fill in what it knows better.
func newRedis(tb testing.TB, args func(s *RedisServer, port int) []string) *RedisServer {
	tb.Helper()
	common := []string{"--bind", "127.0.0.1", "--save", "", "--appendonly", "no"}
	return newServer(tb, func(s *RedisServer, port int) []string { return slices.Concat(common, args(s, port)) })
}

// newServer starts redis-server with just the arguments that args gives for a port, on another one if that is taken.
func newServer(tb testing.TB, args func(s *RedisServer, port int) []string) *RedisServer {
	tb.Helper()
	s := &RedisServer{tb: tb, dir: tb.TempDir()}
	tb.Cleanup(s.Stop) // before the folder is removed
	err := errPortTaken
	for i := 0; i < attempts && errors.Is(err, errPortTaken); i++ {
		port := freePort(tb)
		s.Addr, s.cli = loopback(port), []string{"-h", "127.0.0.1", "-p", strconv.Itoa(port)}
		s.args = args(s, port)
		err = s.run()
	}
	if err != nil {
		tb.Fatalf("redis-server at %s: %v; its log:\n%s", s.Addr, err, s.Log())
	}
	return s
}

// Start starts a server again that was stopped, at the same address and empty, and waits until it answers.
func (s *RedisServer) Start() {
	s.tb.Helper()
	if !s.process.ended() {
		s.tb.Fatalf("redis-server at %s runs already", s.Addr)
	}
	if err := s.run(); err != nil {
		s.tb.Fatalf("redis-server at %s, started again: %v; its log:\n%s", s.Addr, err, s.Log())
	}
}

// Stop kills the server, as a crash would, and waits for its end. A server that has ended stays so.
func (s *RedisServer) Stop() {
	if s.process != nil {
		s.process.kill()
	}
}

// Pause halts the server: the system accepts connections for it, and nothing is answered.
func (s *RedisServer) Pause() {
	s.tb.Helper()
	s.signal(syscall.SIGSTOP)
}

// Resume lets a paused server go on.
func (s *RedisServer) Resume() {
	s.tb.Helper()
	s.signal(syscall.SIGCONT)
}

func (s *RedisServer) signal(signal syscall.Signal) {
	s.tb.Helper()
	if err := s.process.cmd.Process.Signal(signal); err != nil {
		s.tb.Fatalf("redis-server at %s: %v: %v", s.Addr, signal, err)
	}
}

// CLI runs redis-cli, as the default user unless args begin with options that say otherwise, and returns what it prints
// without the space around it. An error that Redis answers fails the test.
func (s *RedisServer) CLI(args ...string) string {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	all := slices.Concat([]string{"-e", "--no-auth-warning"}, s.cli, args)
	out, err := exec.CommandContext(ctx, redisCLI(s.tb), all...).Output() //nolint:gosec // the tests say what is asked
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			out = append(out, exit.Stderr...)
		}
		s.tb.Fatalf("redis-cli %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// ACL makes a user, or replaces one, who may do what rules allow and nothing else, such as "~iprep:*", "+get". A server
// that is stopped forgets its users.
func (s *RedisServer) ACL(name, password string, rules ...string) {
	s.tb.Helper()
	s.CLI(append([]string{"ACL", "SETUSER", name, "reset", "on", ">" + password}, rules...)...)
}

// Log returns what the server has printed since it was first started.
func (s *RedisServer) Log() string { return readLog(s.logPath()) }

func (s *RedisServer) logPath() string { return filepath.Join(s.dir, "log") }

var (
	errPortTaken = errors.New("another has its port")
	errEnded     = errors.New("it ended instead of starting")
	errNotReady  = fmt.Errorf("it was not ready after %v", patience)
)

// run starts the server and returns when it answers. When it fails, the server does not run.
func (s *RedisServer) run() (err error) {
	s.tb.Helper()
	before := len(s.Log())
	s.process, err = startProcess(s.dir, s.logPath(), redisServer(s.tb), s.args...)
	if err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(pace) {
		if s.process.ended() {
			if strings.Contains(s.Log()[before:], "ddress already in use") {
				return errPortTaken
			}
			return errEnded
		}
		if s.ready() {
			return nil
		}
	}
	s.process.kill()
	return errNotReady
}

// ready tells whether it is this server that answers, and not one that was given the same port.
func (s *RedisServer) ready() bool {
	answer, err := s.ask("INFO", "server")
	if refused := replyError(""); errors.As(err, &refused) {
		return strings.HasPrefix(string(refused), "NOAUTH") // it wants a password, which only its test knows
	}
	return err == nil && field(answer[0], "process_id") == strconv.Itoa(s.process.cmd.Process.Pid)
}

// ask is for what redis-cli is too slow for: to look again and again.
func (s *RedisServer) ask(command ...string) ([]string, error) {
	return ask(s.Addr, s.secure, command...)
}

func (s *RedisServer) port() string {
	_, port, _ := net.SplitHostPort(s.Addr) // "" for a unix socket
	return port
}

// field returns the value of a line "name:value" in what INFO and the like answer, "" if there is none.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
