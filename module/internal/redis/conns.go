package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// connections are the open connections of a client. The zero value is ready.
type connections struct {
	mu  sync.Mutex
	all map[*boundedConn]struct{}
}

// dialer returns the function with which the library connects.
func (c *connections) dialer(
	timeout time.Duration, secure *tls.Config,
) func(ctx context.Context, network, addr string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: timeout}
	dial := plain.DialContext
	if secure != nil {
		dial = (&tls.Dialer{NetDialer: plain, Config: secure}).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		b := &boundedConn{Conn: conn, owner: c}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.all == nil {
			c.all = map[*boundedConn]struct{}{}
		}
		c.all[b] = struct{}{}
		return b, nil
	}
}

// closeAll closes the connections. The library notices, and connects anew.
func (c *connections) closeAll() {
	c.mu.Lock()
	all := c.all
	c.all = nil
	c.mu.Unlock()
	for conn := range all {
		conn.closed.Store(true)
		_ = conn.Conn.Close()
	}
}

// boundedConn refuses replies that the library would reserve too much memory for.
type boundedConn struct {
	net.Conn
	owner  *connections
	closed atomic.Bool // by closeAll

	// of the one reader
	reply   replyBound
	refused error
}

// SyscallConn is how the library finds out whether an idle connection is still open. It cannot look
// at one with TLS, whose bytes it would misread.
func (c *boundedConn) SyscallConn() (syscall.RawConn, error) {
	if c.closed.Load() {
		return nil, net.ErrClosed
	}
	if plain, ok := c.Conn.(syscall.Conn); ok {
		return plain.SyscallConn()
	}
	return unseen{}, nil
}

// unseen is a connection that is taken for open.
type unseen struct{}

func (unseen) Control(func(uintptr)) error    { return nil }
func (unseen) Read(func(uintptr) bool) error  { return nil }
func (unseen) Write(func(uintptr) bool) error { return nil }

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	c.owner.mu.Lock()
	delete(c.owner.all, c)
	c.owner.mu.Unlock()
	if err := c.Conn.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil // by closeAll
}

// Read implements net.Conn. After a reply that is refused, there are no others: the library goes on
// reading after some errors.
func (c *boundedConn) Read(p []byte) (int, error) {
	if c.refused != nil {
		return 0, c.refused
	}
	n, err := c.Conn.Read(p)
	if c.refused = c.reply.check(p[:n]); c.refused != nil {
		return 0, c.refused
	}
	return n, err
}
