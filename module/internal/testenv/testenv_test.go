package testenv

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon is how long it takes at least to call a server silent.
const soon = 300 * time.Millisecond

// ping sends PING over an open connection and returns the answer.
func ping(conn net.Conn, timeout time.Duration) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	if err := writeCommand(conn, "PING"); err != nil {
		return "", err
	}
	answer, err := readValue(bufio.NewReader(conn))
	return strings.Join(answer, " "), err
}

func connect(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := dial(t.Context(), addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func mustPing(t *testing.T, conn net.Conn) {
	t.Helper()
	if answer, err := ping(conn, timeout); err != nil || answer != "PONG" {
		t.Fatalf("PING is answered %q, %v", answer, err)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func check(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// took logs how long a kind of server takes to start.
func took(t *testing.T, start time.Time) {
	t.Helper()
	t.Logf("ready after %v", time.Since(start).Round(time.Millisecond))
}

func TestRedis(t *testing.T) {
	t.Parallel()
	start := time.Now()
	s := Redis(t, "--maxmemory", "3mb")
	took(t, start)
	check(t, "SET", s.CLI("SET", "key", "a value"), "OK")
	check(t, "GET", s.CLI("GET", "key"), "a value")
	check(t, "maxmemory", s.CLI("CONFIG", "GET", "maxmemory"), "maxmemory\n3145728")
	check(t, "save", s.CLI("CONFIG", "GET", "save"), "save")
	check(t, "its folder", s.CLI("CONFIG", "GET", "dir"), "dir\n"+s.dir)
	if !strings.Contains(s.Log(), "Ready to accept connections") {
		t.Errorf("its log is %q", s.Log())
	}
}

func TestRedisStopsAndStarts(t *testing.T) {
	t.Parallel()
	s := Redis(t)
	s.CLI("SET", "key", "value")
	conn := connect(t, s.Addr)
	mustPing(t, conn)
	s.Stop()
	s.Stop() // a second time changes nothing
	if answer, err := ping(conn, timeout); err == nil || isTimeout(err) {
		t.Errorf("a killed server answers %q, %v", answer, err)
	}
	if _, err := dial(t.Context(), s.Addr, nil); err == nil {
		t.Error("a killed server accepts a connection")
	}
	s.Start()
	mustPing(t, connect(t, s.Addr))
	check(t, "keys of a server that was started again", s.CLI("DBSIZE"), "0")
}

func TestRedisPauses(t *testing.T) {
	t.Parallel()
	s := Redis(t)
	conn := connect(t, s.Addr)
	mustPing(t, conn)
	s.Pause()
	if answer, err := ping(conn, soon); !isTimeout(err) {
		t.Errorf("a paused server answers %q, %v", answer, err)
	}
	late := connect(t, s.Addr)
	s.Resume()
	mustPing(t, conn) // the answer to the one before
	mustPing(t, late)
	s.Pause() // the end comes to those who sleep as well
}

func TestRedisACL(t *testing.T) {
	t.Parallel()
	s := Redis(t)
	s.ACL("reader", "secret", "~iprep:*", "+get")
	s.CLI("SET", "iprep:key", "value")
	as := []string{"--user", "reader", "--pass", "secret"}
	check(t, "GET", s.CLI(append(as, "GET", "iprep:key")...), "value")
	for _, command := range [][]string{{"GET", "other"}, {"SET", "iprep:key", "value"}} {
		said := fatal(t, func(tb testing.TB) {
			asked := *s
			asked.tb = tb
			asked.CLI(append(as, command...)...)
		})
		if !strings.Contains(said, "NOPERM") {
			t.Errorf("%q: %q", command, said)
		}
	}
}

func TestRedisWithAPassword(t *testing.T) {
	t.Parallel()
	s := Redis(t, "--requirepass", "secret")
	check(t, "PING", s.CLI("-a", "secret", "PING"), "PONG")
}

func TestRedisUnix(t *testing.T) {
	t.Parallel()
	s := RedisUnix(t)
	if !filepath.IsAbs(s.Addr) || len(s.Addr) >= maxSocketPath {
		t.Errorf("its address is %q", s.Addr)
	}
	mustPing(t, connect(t, s.Addr))
	check(t, "PING", s.CLI("PING"), "PONG")
	s.Stop()
	s.Start()
	mustPing(t, connect(t, s.Addr))
}

func TestRedisTLS(t *testing.T) {
	t.Parallel()
	start := time.Now()
	s, c := RedisTLS(t)
	took(t, start)
	check(t, "PING", s.CLI("PING"), "PONG")
	pair, err := tls.LoadX509KeyPair(c.ClientCert, c.ClientKey)
	if err != nil {
		t.Fatal(err)
	}
	mine := &tls.Config{RootCAs: s.secure.RootCAs, MinVersion: tls.VersionTLS12}
	if answer, err := ask(s.Addr, mine, "PING"); err == nil {
		t.Errorf("without a certificate: %q", answer)
	}
	mine.Certificates = []tls.Certificate{pair}
	if answer, err := ask(s.Addr, mine, "PING"); err != nil || answer[0] != "PONG" {
		t.Errorf("with the files' certificate: %q, %v", answer, err)
	}
	mine.RootCAs = nil
	if answer, err := ask(s.Addr, mine, "PING"); !errors.As(err, new(*tls.CertificateVerificationError)) {
		t.Errorf("the system trusts the server: %q, %v", answer, err)
	}
	if answer, err := ask(s.Addr, nil, "PING"); err == nil {
		t.Errorf("in clear text: %q", answer)
	}
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	start := time.Now()
	c := RedisCluster(t)
	took(t, start)
	for _, key := range []string{"a", "b", "c"} { // one for each master
		check(t, "SET", c.Nodes[0].CLI("-c", "SET", key, "value of "+key), "OK")
		check(t, "GET", c.Nodes[5].CLI("-c", "GET", key), "value of "+key)
	}
	var masters []*RedisServer
	for _, node := range c.Nodes {
		if strings.HasPrefix(node.CLI("ROLE"), "master") {
			masters = append(masters, node)
			check(t, "keys of a master", node.CLI("DBSIZE"), "1")
		}
	}
	if len(masters) != 3 {
		t.Fatalf("there are %d masters", len(masters))
	}
	masters[0].Stop()
	start = time.Now()
	await(t, c.Nodes, func() string {
		for _, key := range []string{"a", "b", "c"} {
			if answer, err := clusterSet(masters[1], key); err != nil {
				return fmt.Sprintf("SET %s: %q, %v", key, answer, err)
			}
		}
		return ""
	})
	t.Logf("a replica has taken over after %v", time.Since(start).Round(time.Millisecond))
}

// clusterSet sets a key as a cluster's client does.
func clusterSet(node *RedisServer, key string) ([]string, error) {
	answer, err := node.ask("SET", key, "value")
	if moved := replyError(""); errors.As(err, &moved) {
		if words := strings.Fields(string(moved)); words[0] == "MOVED" {
			return ask(words[2], nil, "SET", key, "value")
		}
	}
	return answer, err
}

func TestRedisSentinel(t *testing.T) {
	t.Parallel()
	start := time.Now()
	s := RedisSentinel(t)
	took(t, start)
	check(t, "the master", s.MasterAddr(), s.Nodes[0].Addr)
	check(t, "SET", s.Nodes[0].CLI("SET", "key", "value"), "OK")
	check(t, "WAIT", s.Nodes[0].CLI("WAIT", "1", "20000"), "1")
	for _, addr := range s.Addrs {
		if answer, err := ask(addr, nil, "SENTINEL", "CKQUORUM", s.Master); err != nil {
			t.Errorf("%s: %q, %v", addr, answer, err)
		}
	}
	start = time.Now()
	s.KillMaster()
	await(t, s.Sentinels, func() string {
		if addr := s.MasterAddr(); addr != s.Nodes[1].Addr {
			return "the master is still " + addr
		}
		return ""
	})
	t.Logf("the replica has taken over after %v", time.Since(start).Round(time.Millisecond))
	check(t, "SET", s.Nodes[1].CLI("SET", "key", "new"), "OK")
}

func TestRedisReplying(t *testing.T) {
	t.Parallel()
	const reply = "-READONLY You can't write against a read only replica."
	conn := connect(t, RedisReplying(t, reply))
	r := bufio.NewReader(conn)
	for _, test := range []struct{ command, want string }{
		{"HELLO 3", "ERR unknown command 'HELLO'"},
		{"AUTH user secret", "OK"},
		{"client SETNAME a\r\nb", "OK"},
		{"SELECT 1", "OK"},
		{"PING", reply[1:]},
		{"SET key *1\r\n$4\r\nPING\r\n", reply[1:]},
	} {
		if err := writeCommand(conn, strings.SplitN(test.command, " ", 3)...); err != nil {
			t.Fatal(err)
		}
		answer, err := readValue(r)
		if err != nil {
			answer = []string{err.Error()}
		}
		check(t, test.command, strings.Join(answer, " "), test.want)
	}
}

// told is a test that is told how it ends, instead of ending so.
type told struct {
	testing.TB
	fatal, skip string
}

func (f *told) Fatalf(format string, args ...any) {
	f.fatal = fmt.Sprintf(format, args...)
	runtime.Goexit()
}
func (f *told) Skipf(format string, args ...any) {
	f.skip = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func tell(t *testing.T, act func(testing.TB)) *told {
	t.Helper()
	f := &told{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		act(f)
	}()
	<-done
	return f
}

// fatal returns with what act fails.
func fatal(t *testing.T, act func(testing.TB)) string {
	t.Helper()
	return tell(t, act).fatal
}

func TestAServerThatDoesNotStart(t *testing.T) {
	t.Parallel()
	said := fatal(t, func(tb testing.TB) { Redis(tb, "--maxmemory", "nonsense") })
	if !strings.Contains(said, errEnded.Error()) || !strings.Contains(said, ">>> 'maxmemory") {
		t.Errorf("it fails with %q", said)
	}
}

func TestAPortThatIsTaken(t *testing.T) {
	t.Parallel()
	_, taken, _ := net.SplitHostPort(listening(t))
	calls := 0
	s := newRedis(t, func(_ *RedisServer, port int) []string {
		if calls++; calls == 1 {
			return []string{"--port", taken}
		}
		return []string{"--port", strconv.Itoa(port)}
	})
	if calls != 2 {
		t.Errorf("%d attempts", calls)
	}
	mustPing(t, connect(t, s.Addr))
}

// listening returns an address that is taken while the test runs.
func listening(t *testing.T) string {
	t.Helper()
	listener := listenAnywhere(t)
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

func TestNoProgram(t *testing.T) {
	here, places := redisServer(t), usualPlaces
	usualPlaces = nil
	t.Cleanup(func() { usualPlaces = places })
	t.Setenv("PATH", t.TempDir())
	t.Setenv(redisProgram, "")
	const want = "there is no redis-server: apt-get install redis-server, or brew install redis"
	t.Setenv(requireServices, "")
	if f := tell(t, func(tb testing.TB) { redisServer(tb) }); f.skip != want || f.fatal != "" {
		t.Errorf("%+v", f)
	}
	t.Setenv(requireServices, "1")
	if f := tell(t, func(tb testing.TB) { redisServer(tb) }); f.fatal != want || f.skip != "" {
		t.Errorf("%+v", f)
	}
	t.Setenv(redisProgram, here)
	Redis(t).CLI("PING") // with the redis-cli beside it
	t.Setenv(redisProgram, filepath.Join(t.TempDir(), "redis-server"))
	if said := fatal(t, func(tb testing.TB) { redisServer(tb) }); !strings.Contains(said, os.Getenv(redisProgram)) {
		t.Errorf("%q", said)
	}
}
