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

// maxSocketPath is the length of a socket's path that every system supports.
const maxSocketPath = 100

// RedisServer is a redis-server without persistence.
type RedisServer struct {
	Addr string // host:port, or the path of its unix socket

	tb      testing.TB
	dir     string
	args    []string
	cli     []string    // arguments of redis-cli
	secure  *tls.Config // nil without TLS
	process *process    // nil before the first start
}

// Redis starts a server. args are arguments of redis-server, such as "--maxmemory",
// "2mb", and take precedence.
func Redis(tb testing.TB, args ...string) *RedisServer {
	tb.Helper()
	return newRedis(tb, func(_ *RedisServer, port int) []string {
		return append([]string{"--port", strconv.Itoa(port)}, args...)
	})
}

// RedisUnix starts a server that listens on a unix socket only.
func RedisUnix(tb testing.TB) *RedisServer {
	tb.Helper()
	// The path of tb.TempDir contains the test's name, so it can be too long.
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) }) // the server has ended before
	path := filepath.Join(dir, "socket")
	if len(path) >= maxSocketPath {
		tb.Fatalf("%s is too long for a unix socket: set TMPDIR", path)
	}
	return newRedis(tb, func(s *RedisServer, _ int) []string {
		s.Addr, s.cli = path, []string{"-s", path}
		return []string{"--port", "0", "--unixsocket", path, "--unixsocketperm", "700"}
	})
}

// newRedis starts a server. args returns its arguments for a port, and may change other fields.
func newRedis(tb testing.TB, args func(s *RedisServer, port int) []string) *RedisServer {
	tb.Helper()
	common := []string{"--bind", "127.0.0.1", "--save", "", "--appendonly", "no"}
	return newServer(tb,
		func(s *RedisServer, port int) []string { return slices.Concat(common, args(s, port)) })
}

// newServer is newRedis without common arguments. If the port is taken, it tries another one.
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

// Start restarts a stopped server, empty and at the same address, and waits until it answers.
func (s *RedisServer) Start() {
	s.tb.Helper()
	if !s.process.ended() {
		s.tb.Fatalf("redis-server at %s runs already", s.Addr)
	}
	if err := s.run(); err != nil {
		s.tb.Fatalf("redis-server at %s, started again: %v; its log:\n%s", s.Addr, err, s.Log())
	}
}

// Stop kills the server, like a crash, and waits for its end. It does nothing if
// the server has ended.
func (s *RedisServer) Stop() {
	if s.process != nil {
		s.process.kill()
	}
}

// Pause suspends the server: the system still accepts connections, but nothing answers.
func (s *RedisServer) Pause() {
	s.tb.Helper()
	s.signal(syscall.SIGSTOP)
}

// Resume continues a paused server.
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

// CLI runs redis-cli and returns its trimmed output. The user is the default one, unless args begin
// with other options. An error of Redis fails the test.
func (s *RedisServer) CLI(args ...string) string {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	all := slices.Concat([]string{"-e", "--no-auth-warning"}, s.cli, args)
	out, err := exec.CommandContext(ctx, redisCLI(s.tb), all...).Output() //nolint:gosec // the arguments come from tests
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			out = append(out, exit.Stderr...)
		}
		s.tb.Fatalf("redis-cli %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// ACL creates or replaces a user with the permissions of the rules only, such as "~iprep:*",
// "+get". A stopped server loses its users.
func (s *RedisServer) ACL(name, password string, rules ...string) {
	s.tb.Helper()
	s.CLI(append([]string{"ACL", "SETUSER", name, "reset", "on", ">" + password}, rules...)...)
}

// Log returns the server's output since its first start.
func (s *RedisServer) Log() string { return readLog(s.logPath()) }

func (s *RedisServer) logPath() string { return filepath.Join(s.dir, "log") }

var (
	errPortTaken = errors.New("another has its port")
	errEnded     = errors.New("it ended instead of starting")
	errNotReady  = fmt.Errorf("it was not ready after %v", timeout)
)

// run starts the server and returns when it answers. After an error, the server does not run.
func (s *RedisServer) run() (err error) {
	s.tb.Helper()
	before := len(s.Log())
	s.process, err = startProcess(s.dir, s.logPath(), redisServer(s.tb), s.args...)
	if err != nil {
		return err
	}
	for end := time.Now().Add(timeout); time.Now().Before(end); time.Sleep(pollInterval) {
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

// ready reports whether this server answers, and not another one on the same port.
func (s *RedisServer) ready() bool {
	answer, err := s.ask("INFO", "server")
	if refused := replyError(""); errors.As(err, &refused) {
		return strings.HasPrefix(string(refused), "NOAUTH") // it has a password, which only the test knows
	}
	return err == nil && field(answer[0], "process_id") == strconv.Itoa(s.process.cmd.Process.Pid)
}

// ask sends one command. It is for polling, for which redis-cli is too slow.
func (s *RedisServer) ask(command ...string) ([]string, error) {
	return ask(s.Addr, s.secure, command...)
}

func (s *RedisServer) port() string {
	_, port, _ := net.SplitHostPort(s.Addr) // "" for a unix socket
	return port
}

// field returns the value of a line "name:value" in an answer such as that of INFO, or "".
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
