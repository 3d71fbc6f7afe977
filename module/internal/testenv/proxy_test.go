package testenv

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// twoConnections returns a link to a server that answers, with a connection made before a fault and a way to make others.
func twoConnections(t *testing.T) (*Link, net.Conn) {
	t.Helper()
	l := Proxy(t, Redis(t).Addr)
	conn := connect(t, l.Addr)
	mustPing(t, conn)
	return l, conn
}

// onBoth tests the connection that was there before the fault, and one that is made after it.
func onBoth(t *testing.T, l *Link, old net.Conn, test func(t *testing.T, conn net.Conn)) {
	t.Helper()
	t.Run("old connection", func(t *testing.T) { test(t, old) })
	t.Run("new connection", func(t *testing.T) { test(t, connect(t, l.Addr)) })
}

func slower(than time.Duration) func(t *testing.T, conn net.Conn) {
	return func(t *testing.T, conn net.Conn) {
		t.Helper()
		start := time.Now()
		mustPing(t, conn)
		if lasted := time.Since(start); lasted < than {
			t.Errorf("it took %v, want %v or more", lasted, than)
		}
	}
}

func TestLatency(t *testing.T) {
	t.Parallel()
	l, conn := twoConnections(t)
	l.Latency(200 * time.Millisecond)
	onBoth(t, l, conn, slower(200*time.Millisecond))
	l.Latency(time.Hour)
	if answer, err := ping(conn, soon); !isTimeout(err) {
		t.Errorf("got %q, %v", answer, err)
	}
	l.Heal()
	mustPing(t, conn) // the hour's answer, and no byte is lost
	mustPing(t, conn)
}

func TestDrip(t *testing.T) {
	t.Parallel()
	l, conn := twoConnections(t)
	l.Drip(20)
	onBoth(t, l, conn, slower(6*50*time.Millisecond)) // "+PONG\r\n" has six pauses
	l.Drip(1)
	if err := writeCommand(conn, "PING"); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 100)
	if n, err := conn.Read(first); n == 0 || n >= len("+PONG\r\n") {
		t.Errorf("%q comes at once, %v", first[:n], err)
	}
	l.Heal()
	mustPing(t, connect(t, l.Addr))
}

func TestBlackHole(t *testing.T) {
	t.Parallel()
	l, conn := twoConnections(t)
	l.BlackHole()
	silent := func(t *testing.T, conn net.Conn) {
		t.Helper()
		for range 2 { // it stays open
			if answer, err := ping(conn, soon); !isTimeout(err) {
				t.Errorf("got %q, %v", answer, err)
			}
		}
	}
	onBoth(t, l, conn, silent)
	l.Heal()
	if answer, err := ping(conn, timeout); err == nil || isTimeout(err) {
		t.Errorf("a connection that lost bytes goes on: %q, %v", answer, err)
	}
	mustPing(t, connect(t, l.Addr))
}

func TestReset(t *testing.T) {
	t.Parallel()
	l, conn := twoConnections(t)
	l.Reset()
	onBoth(t, l, conn, func(t *testing.T, conn net.Conn) {
		t.Helper()
		if answer, err := ping(conn, timeout); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %q, %v, want a reset", answer, err)
		}
	})
	l.Heal()
	mustPing(t, connect(t, l.Addr))
}

func TestDown(t *testing.T) {
	t.Parallel()
	l, conn := twoConnections(t)
	for range 2 { // as often as one likes
		l.Down()
		if answer, err := ping(conn, timeout); err == nil || isTimeout(err) {
			t.Errorf("got %q, %v", answer, err)
		}
		if _, err := dial(t.Context(), l.Addr, nil); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v, want to be refused", err)
		}
		l.Heal()
		conn = connect(t, l.Addr)
		mustPing(t, conn)
	}
}

func TestProxyOfASocketAndOfNothing(t *testing.T) {
	t.Parallel()
	s := RedisUnix(t)
	l := Proxy(t, s.Addr)
	mustPing(t, connect(t, l.Addr))
	s.Stop()
	if answer, err := ping(connect(t, l.Addr), timeout); err == nil || isTimeout(err) {
		t.Errorf("got %q, %v", answer, err)
	}
}

// TestFaultsUnderLoad changes the fault while clients come, talk and leave with answers on their way. TestMain sees to
// it that nothing is left of them.
func TestFaultsUnderLoad(t *testing.T) {
	t.Parallel()
	s := Redis(t)
	s.CLI("SETRANGE", "big", "200000", "x")
	l := Proxy(t, s.Addr)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					talk(l.Addr)
				}
			}
		})
	}
	faults := []func(){
		func() { l.Latency(20 * time.Millisecond) }, l.BlackHole, func() { l.Drip(100) }, l.Reset, l.Down, l.Heal,
		func() { l.Latency(time.Hour) }, l.BlackHole, l.Down,
	}
	for range 5 {
		for _, fault := range faults {
			fault()
			time.Sleep(pollInterval)
		}
	}
	close(stop)
	clients.Wait()
	l.Heal()
	mustPing(t, connect(t, l.Addr))
}

// talk asks for more than it reads.
func talk(addr string) {
	conn, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * pollInterval))
	for range 3 {
		_ = writeCommand(conn, "GET", "big")
	}
	_, _ = io.ReadFull(conn, make([]byte, 1000))
}
