// Package testenv starts the servers that tests need, on free loopback ports and in
// temporary folders.
//
// Each server is stopped at the end of its test, before the test's temporary
// folders are removed. If a server is not ready within a minute, the test fails and
// shows the server's log. Functions that start, stop or query a server fail the
// test on errors, so they must be called in the test's own goroutine.
//
// If the program of a server is missing, the test is skipped, or fails if IPREP_REQUIRE_SERVICES is
// set. With IPREP_TEST_REDIS_SERVER, another redis-server than the one on the PATH is used, with
// the redis-cli beside it. With IPREP_TEST_PG_DSN, a running PostgreSQL is used.
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
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	// timeout is the longest wait, with room for a loaded machine.
	timeout = time.Minute
	// pollInterval is the time between two checks of a condition.
	pollInterval = 10 * time.Millisecond
	// attempts is how many ports are tried before the test fails.
	attempts = 5

	requireServices = "IPREP_REQUIRE_SERVICES"
	redisProgram    = "IPREP_TEST_REDIS_SERVER"
)

// usualPlaces are the usual folders of programs that are not on the PATH.
var usualPlaces = []string{
	"/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", "/opt/local/bin", "/home/linuxbrew/.linuxbrew/bin",
}

// redisServer returns the path of redis-server. Without one, the test ends: see missing.
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

// redisCLI returns the path of redis-cli. Without one, the test ends: see missing.
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

// locate returns the path of a program: in one of the given folders, on the PATH,
// or in a usual folder.
func locate(name string, first ...string) (path string, ok bool) {
	const onPath = "" // joined with a name, it gives the name
	for _, dir := range slices.Concat(first, []string{onPath}, usualPlaces) {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, true
		}
	}
	return "", false
}

// missing ends the test because a program is missing: it skips the test, or fails it if
// IPREP_REQUIRE_SERVICES is set.
func missing(tb testing.TB, name, cure string) {
	tb.Helper()
	if os.Getenv(requireServices) != "" {
		tb.Fatalf("there is no %s: %s", name, cure)
	}
	tb.Skipf("there is no %s: %s", name, cure)
}

// readLog returns the content of a server's log, which may not exist yet.
func readLog(path string) string {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return string(text)
}

const (
	// Ports are taken from firstPort on. The nodes of a Redis Cluster also take the port busOffset
	// above theirs. All are below the ports of outgoing connections (from 32768 on Linux, from
	// 49152 on macOS). So no connection takes the port of a stopped server, and a client of it
	// cannot connect to itself.
	firstPort = 12000
	ports     = 10000
	busOffset = 10000
)

// taken counts the ports that this process has taken. Each process starts at another port, so that
// two do not choose the same one between the check and listening on it.
var taken atomic.Uint32

func init() { taken.Store(uint32(os.Getpid()) * 101) }

// FreeAddr returns a free address on 127.0.0.1, for a server that a test starts itself.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	return loopback(freePort(tb))
}

// freePort returns a port that is free on 127.0.0.1. The one busOffset above it is free, too. No
// port is returned twice.
func freePort(tb testing.TB) int {
	tb.Helper()
	for range ports {
		port := firstPort + int(taken.Add(1))%ports
		if isFree(port) && isFree(port+busOffset) && reserve(port) {
			return port
		}
	}
	tb.Fatal("no free port")
	return 0
}

// reserved keeps the sockets of reserve open.
var reserved struct {
	sync.Mutex
	sockets []net.PacketConn
}

// reserve keeps other processes of the tests from choosing the port until this one ends, also while nobody listens on
// it. What it binds is no server's: the port of the same number of another loopback address, where there is one.
func reserve(port int) bool {
	socket, err := new(net.ListenConfig).ListenPacket(context.Background(), "udp", net.JoinHostPort("127.0.0.2", strconv.Itoa(port)))
	if err != nil {
		return errors.Is(err, syscall.EADDRNOTAVAIL)
	}
	reserved.Lock()
	defer reserved.Unlock()
	reserved.sockets = append(reserved.sockets, socket)
	return true
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

// network returns the network of addr for package net: unix for a path, otherwise tcp.
func network(addr string) string {
	if filepath.IsAbs(addr) {
		return "unix"
	}
	return "tcp"
}

// await waits until missing returns "". After a timeout it fails the test with the
// last result and the servers' logs.
func await(tb testing.TB, servers []*RedisServer, missing func() string) {
	tb.Helper()
	var last string
	for end := time.Now().Add(timeout); time.Now().Before(end); time.Sleep(pollInterval) {
		if last = missing(); last == "" {
			return
		}
	}
	var logs strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&logs, "\n%s:\n%s", s.Addr, s.Log())
	}
	tb.Fatalf("not after %v: %s; the logs:%s", timeout, last, &logs)
}
