// Package fetch gets documents from publishers over HTTP, and unpacks them.
//
// It trusts no publisher: a redirect leads to no private address, no credential goes to another host, and what is
// received is bounded in size and time, unpacked too. Errors hold no secret of the request.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/foreign"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	userAgent      = "caddy-ip-reputation"
	maxValidator   = 512 // bytes of an ETag or a date; longer ones are not stored
	maxHeaderBytes = 64 << 10
)

// Client sends requests.
type Client struct {
	configured http.RoundTripper          // for hosts that the operator names
	elsewhere  http.RoundTripper          // for hosts that a publisher names: refuses addresses that are inside
	inside     func(addr netip.Addr) bool // reports whether an address is private or reserved
}

// New returns a client that sends its requests over a transport. Nil is one of its own, which refuses redirects to
// names that lead inside.
func New(transport http.RoundTripper) *Client {
	c := &Client{configured: transport, elsewhere: transport, inside: reputation.IsReserved}
	if transport == nil {
		c.configured = newTransport(new(net.Dialer))
		c.elsewhere = newTransport(&net.Dialer{Control: c.refuseInside})
	}
	return c
}

func newTransport(dialer *net.Dialer) *http.Transport {
	dialer.Timeout, dialer.KeepAlive = 30*time.Second, 30*time.Second
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = dialer.DialContext
	t.DisableCompression = true // unpack decompresses, and bounds the size
	t.MaxResponseHeaderBytes = maxHeaderBytes
	t.MaxIdleConnsPerHost = 1
	t.IdleConnTimeout = 30 * time.Second // the next refresh is an hour away
	return t
}

// Close closes the connections that are not in use.
func (c *Client) Close() {
	for _, transport := range []http.RoundTripper{c.configured, c.elsewhere} {
		(&http.Client{Transport: transport}).CloseIdleConnections()
	}
}

// Document says what to get.
type Document struct {
	// URL is where it is.
	URL string

	// Header is sent with the request.
	Header http.Header

	// Keyed is set if Header holds a key. If the publisher refuses the request, the error then says so.
	Keyed bool

	// Known is the version that the caller has: if it is the newest, it is not sent again.
	Known Validators

	// Timeout is the time that the request may take, reading included.
	Timeout time.Duration

	Unpacker
}

// Validators make a request conditional (RFC 9110, section 8.8). They identify a version of a document.
type Validators struct {
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
}

// Sendable reports whether the validators can be sent in a request.
func (v Validators) Sendable() bool {
	for _, text := range []string{v.ETag, v.LastModified} {
		if len(text) > maxValidator || strings.ContainsFunc(text, unicode.IsControl) {
			return false
		}
	}
	return true
}

// Get has read called with the unpacked content of a document, and returns its version. Read is not called, and
// changed is false, if the known version is the newest. An error of read is returned as it is, but for the name of the
// host in front of it: it must hold no secret.
func (c *Client) Get(
	ctx context.Context, d *Document, read func(io.Reader) error,
) (version Validators, changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	defer func() {
		if err != nil {
			err = d.describe(err)
		}
	}()
	req, err := d.request(ctx)
	if err != nil {
		return version, false, err
	}
	resp, err := c.do(req, d.holdsCredentials(req.URL))
	if err != nil {
		return version, false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified && d.Known != (Validators{}) {
		return d.Known, false, nil
	}
	if resp.StatusCode != http.StatusOK {
		return version, false, statusError(resp, d.Keyed, time.Now())
	}
	if err := d.readBody(ctx, resp, read); err != nil {
		return version, false, err
	}
	version = Validators{ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified")}
	if !version.Sendable() {
		version = Validators{}
	}
	return version, true, nil
}

func (d *Document) request(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL, nil)
	if err != nil {
		return nil, err
	}
	for name, values := range d.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if host := d.Header.Get("Host"); host != "" {
		req.Host = host
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept-Encoding", "gzip")
	if d.Known.ETag != "" {
		req.Header.Set("If-None-Match", d.Known.ETag)
	}
	if d.Known.LastModified != "" {
		req.Header.Set("If-Modified-Since", d.Known.LastModified)
	}
	return req, nil
}

func (d *Document) readBody(ctx context.Context, resp *http.Response, read func(io.Reader) error) error {
	body := Limit(resp.Body, d.MaxBytes)
	layers := 1 // of compression: a .gz file may be served compressed
	switch encoding := strings.ToLower(resp.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		layers = 2
	default:
		return refuse(ErrNotText, "the body is encoded as %.40q, which was not asked for", encoding)
	}
	for range layers {
		var err error
		if body, err = d.unpack(body); err != nil {
			return err
		}
	}
	in := &untilDone{ctx: ctx, r: body}
	err := read(in)
	if err != nil && in.err == nil {
		return &refusal{err: err}
	}
	return err
}

// untilDone is a reader that fails once its context has ended: a few KB of gzip can keep a parser
// busy for long after the last byte came.
type untilDone struct {
	ctx context.Context
	r   io.Reader
	err error // of the reader, unless it came to its end
}

func (u *untilDone) Read(b []byte) (n int, err error) {
	if err = u.ctx.Err(); err == nil {
		n, err = u.r.Read(b)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		u.err = err
	}
	return n, err
}

// describe adds the host to an error and removes the URL, which may hold a key.
func (d *Document) describe(err error) error {
	var inURL *url.Error
	for errors.As(err, &inURL) {
		err = inURL.Err
	}
	host := "the server"
	if u, parseErr := url.Parse(d.URL); parseErr == nil {
		host = u.Host
	}
	var refused *refusal
	var network net.Error
	switch {
	case errors.As(err, &refused):
		return fmt.Errorf("fetching from %s: %w", host, refused)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("fetching from %s: no whole answer within %s: %w", host, d.Timeout, context.DeadlineExceeded)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("fetching from %s: %w", host, context.Canceled)
	}
	return fmt.Errorf("fetching from %s: %s", host, foreign.Text(d.Redact(err.Error())))
}
