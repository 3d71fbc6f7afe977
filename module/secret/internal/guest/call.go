package guest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/foreign"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	// maxAnswer is how many bytes are read from a connection: much more than any store sends for a
	// secret, including the certificates of the TLS handshake. As JSON, they take fifty times as much.
	maxAnswer = 1 << 20

	// maxUse is how long a connection can be used, in case the context of a call does not end it: what net/http has as
	// the body of an answer that switches to another protocol is the bare connection. Calls take less.
	maxUse = time.Minute

	maxHeader = 64 << 10

	maxRetryAfter = 24 * time.Hour
)

var errTooLong = errors.New("the answer is too long")

// ErrUnclear stands for all causes that may not be logged.
var ErrUnclear = errors.New("the connection failed before the answer was complete")

// LimitTransport makes a transport use each connection for one answer, of limited length and for a limited time.
// Connections are not reused, since a secret is fetched every few minutes only, and an idle
// connection has often failed by then. Answers are not unpacked: what is packed has no limit.
func LimitTransport(t *http.Transport) { limitTransport(t, maxUse) }

func limitTransport(t *http.Transport, use time.Duration) {
	t.DisableKeepAlives, t.DisableCompression, t.MaxResponseHeaderBytes = true, true, maxHeader
	dial := t.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if err := conn.SetDeadline(time.Now().Add(use)); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return &boundedConn{conn, maxAnswer}, nil
	}
}

// boundedConn is a connection from which a limited number of bytes can be read.
type boundedConn struct {
	net.Conn
	left int
}

// Read implements net.Conn. Transports read from one goroutine at a time.
func (c *boundedConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errTooLong
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// Cause reduces an error of a call to one that may be logged. It passes on only errors that are
// known to be harmless: some errors quote the server, or the address of a proxy with its password.
func Cause(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	var (
		network net.Error
		dial    *net.OpError
		cert    *tls.CertificateVerificationError
		syntax  *json.SyntaxError
		kind    *json.UnmarshalTypeError
	)
	switch {
	case errors.Is(err, errTooLong):
		return fmt.Errorf("%w: it has more than %d bytes", reputation.ErrBadAnswer, maxAnswer)
	case errors.As(err, &network) && network.Timeout():
		return os.ErrDeadlineExceeded
	case errors.Is(err, http.ErrSchemeMismatch):
		return http.ErrSchemeMismatch
	case errors.As(err, &cert):
		return foreign.Error(cert) // it quotes the names in the certificate, which may be anybody's
	case errors.As(err, &dial):
		return dial
	case errors.As(err, &syntax), errors.As(err, &kind):
		return fmt.Errorf("%w: it is not the JSON that it should be", reputation.ErrBadAnswer)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return io.ErrUnexpectedEOF
	}
	return ErrUnclear
}

// Throttled returns a reputation.ThrottledError with the pause from the answer's
// header, if it has one.
func Throttled(header http.Header) error {
	seconds, err := strconv.ParseInt(header.Get("Retry-After"), 10, 64)
	if err != nil || seconds < 0 {
		return new(reputation.ThrottledError)
	}
	pause := time.Duration(min(seconds, int64(maxRetryAfter/time.Second))) * time.Second // more would overflow
	return &reputation.ThrottledError{RetryAfter: pause}
}
