// Package testenv starts the servers that tests need, on free loopback ports and in temporary folders.
//
// Each server ends with its test, before the test's temporary folders are removed. A server that is not ready within 20 s
// fails the test and shows its log. Functions that start, stop or query a server fail the test on errors, and must be called
// in the test's own goroutine.
//
// Without the program of a server, the test is skipped. With IPREP_REQUIRE_SERVICES set it fails, so that a machine which
// should have everything skips nothing. IPREP_TEST_REDIS_SERVER names another redis-server than the one on the PATH; the
// redis-cli beside it is preferred. IPREP_TEST_PG_DSN names a PostgreSQL that runs already.
package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// patience is the longest wait, for a loaded machine. An idle one needs far less.
	patience = 20 * time.Second
	// pace is the time between two checks of a condition.
	pace = 10 * time.Millisecond
	// attempts is how many ports are tried before the test fails.
	attempts = 5

	requireServices = "IPREP_REQUIRE_SERVICES"
	redisProgram    = "IPREP_TEST_REDIS_SERVER"
)

// usualPlaces are folders that a program can be in without being on the PATH.
var usualPlaces = []string{
	"/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", "/opt/local/bin", "/home/linuxbrew/.linuxbrew/bin",
}

// redisServer returns the path of redis-server, and ends the test when there is none.
func redisServer(tb testing.TB) string {
	tb.Helper()
	if path := os.Getenv(redisProgram); path != "" {
		if _, err := exec.LookPath(path); err != nil {
			tb.Fatalf("%s: %v", redisProgram, err)
		}
		return path
	}
	return program(tb, "redis-server")
}

// redisCLI returns the path of redis-cli, and ends the test when there is none.
func redisCLI(tb testing.TB) string {
	tb.Helper()
	dir, name := filepath.Split(os.Getenv(redisProgram))
	beside := dir + strings.Replace(name, "-server", "-cli", 1)
	if beside != dir+name {
		if path, err := exec.LookPath(beside); err == nil {
			return path
		}
	}
	return program(tb, "redis-cli")
}

func program(tb testing.TB, name string) string {
	tb.Helper()
	path, ok := locate(name)
	if !ok {
		missing(tb, name, "apt-get install redis-server, or brew install redis")
	}
	return path
}

// locate returns the path of a program: in one of the folders, on the PATH, or in a usual place.
func locate(name string, first ...string) (path string, ok bool) {
	const onPath = "" // joined with a name, it is the name
	for _, dir := range slices.Concat(first, []string{onPath}, usualPlaces) {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, true
		}
	}
	return "", false
}

// missing ends the test because a program is missing: it skips the test, or fails it with IPREP_REQUIRE_SERVICES.
func missing(tb testing.TB, name, cure string) {
	tb.Helper()
	if os.Getenv(requireServices) != "" {
		tb.Fatalf("there is no %s: %s", name, cure)
	}
	tb.Skipf("there is no %s: %s", name, cure)
}

// readLog returns what a server has printed into a file, which may not be there yet.
func readLog(path string) string {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return string(text)
}

const (
	// Ports are taken from firstPort on. The nodes of a Redis Cluster take the port busOffset above theirs as well. All
	// are below those that systems give to outgoing connections (from 32768 on Linux, from 49152 on macOS): nobody takes
	// the port of a server that is stopped for a while, and a client that calls it cannot end up connected to itself.
	firstPort = 12000
	ports     = 10000
	busOffset = 10000
)

// taken counts the ports that this process has taken. Each process begins elsewhere, so that tests in several do not take the
// same ones between asking for a port and listening on it.
var taken atomic.Uint32

func init() { taken.Store(uint32(os.Getpid()) * 101) }

// FreeAddr returns an address on 127.0.0.1 that nobody listens on, for a server that a test starts itself.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	return loopback(freePort(tb))
}

// freePort returns a port that is free on 127.0.0.1, as is the one busOffset above it. No port is
// returned twice.
func freePort(tb testing.TB) int {
	tb.Helper()
	for range ports {
		port := firstPort + int(taken.Add(1))%ports
		if isFree(port) && isFree(port+busOffset) {
			return port
		}
	}
	tb.Fatal("no free port")
	return 0
}

func isFree(port int) bool {
	listener, err := listen(loopback(port))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}

func listen(addr string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
}

// listenAnywhere listens on a free port.
func listenAnywhere(tb testing.TB) net.Listener {
	tb.Helper()
	var err error
	for range attempts {
		var listener net.Listener
		if listener, err = listen(loopback(freePort(tb))); err == nil {
			return listener
		}
	}
	tb.Fatal(err)
	return nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// network returns the network of addr, as net names it: unix for a path, else tcp.
func network(addr string) string {
	if filepath.IsAbs(addr) {
		return "unix"
	}
	return "tcp"
}

// await waits until missing returns "", and fails the test with what it returned last, and the servers' logs, when that
// takes too long.
func await(tb testing.TB, servers []*RedisServer, missing func() string) {
	tb.Helper()
	var last string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(pace) {
		if last = missing(); last == "" {
			return
		}
	}
	var logs strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&logs, "\n%s:\n%s", s.Addr, s.Log())
	}
	tb.Fatalf("not after %v: %s; the logs:%s", patience, last, &logs)
}
