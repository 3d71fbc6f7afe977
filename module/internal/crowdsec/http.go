package crowdsec

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/foreign"
)

const (
	// An API with many decisions takes up to half a minute until it begins to answer. The answer then
	// goes on for as long as it needs: only a pause in it ends the request.
	headerTimeout  = 90 * time.Second
	idleTimeout    = 60 * time.Second
	connectTimeout = 10 * time.Second
	metricsTimeout = 10 * time.Second
	keyTimeout     = 10 * time.Second

	// maxAnswer bounds what is read of one answer. A million decisions are about 200 MB.
	maxAnswer = 4 << 30

	maxHeaderBytes = 64 << 10
)

// ErrKey is the error for a key or a certificate that the API does not know.
var ErrKey = feed.KeyRefused("the API does not know the key: make one with `cscli bouncers add caddy`, and write it as `key`")

// CheckURL returns an error if text is neither the URL of an API nor the path of its socket.
func CheckURL(text string) error {
	_, _, err := parseURL(text)
	return err
}

// parseURL returns the base of all requests, whose path ends in a slash, and the path of the socket,
// if the API listens on one.
func parseURL(text string) (base *url.URL, socket string, err error) {
	if strings.HasPrefix(text, "/") {
		return &url.URL{Scheme: "http", Host: "crowdsec", Path: "/"}, text, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, "", errors.New("the API's address is a URL such as http://127.0.0.1:8080, or the path of its socket")
	case u.User != nil:
		return nil, "", errors.New("the API's URL has a user in it: the API wants a key: write `key`")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, "", errors.New("the API's URL has a query or a fragment in it: remove what follows the path")
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	if u.Path == "/v1" || strings.HasSuffix(u.Path, "/v1") {
		return nil, "", errors.New("the API's URL ends in /v1, which is added to it: remove it")
	}
	u.Path += "/"
	return u, "", nil
}

// Where returns the host or the socket of an API, for a person who looks for it.
func Where(text string) string {
	base, socket, err := parseURL(text)
	if err != nil || socket != "" {
		return socket
	}
	return base.Host
}

// IsExposed reports whether questions to an API can be read on their way.
func IsExposed(text string) bool {
	base, socket, err := parseURL(text)
	return err == nil && socket == "" && base.Scheme != "https" && !address.IsLoopback(base.Hostname())
}

func newTransport(socket string, secure *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: connectTimeout}
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        secure,
		TLSHandshakeTimeout:    connectTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        90 * time.Second,
		DisableCompression:     true,
	}
	if socket != "" {
		t.Proxy = nil
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		}
	}
	return t
}

// noRedirects lets a redirect be an answer like others: it would take the key to another place.
func noRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// send sends a request for a path below /v1/. The caller closes the body.
func (c *Client) send(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base.String()+"v1/"+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "caddy-ip-reputation/"+c.version)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Key != nil {
		key, err := c.key(ctx)
		if err != nil {
			return nil, err
		}
		req.Header.Set("X-Api-Key", key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, plain(err)
	}
	return resp, nil
}

func (c *Client) key(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	return c.Key.Await(ctx)
}

// statusError returns the error for an answer with another status than the one that is expected.
// The text of the answer is left out: it is anybody's.
func statusError(resp *http.Response) error {
	switch code := resp.StatusCode; {
	case code == http.StatusForbidden, code == http.StatusUnauthorized:
		return fmt.Errorf("status %d: %w", code, ErrKey)
	case code == http.StatusNotFound:
		return fmt.Errorf("status %d: is the URL that of the local API?", code)
	case code >= 300 && code < 400:
		return fmt.Errorf("status %d: a redirect, which is not followed: write the URL that it leads to", code)
	default:
		return fmt.Errorf("status %d", code)
	}
}

// plain returns an error of the network without what changes each time, such as the port of this
// side, and without the URL. Others quote status lines, header fields and certificates.
func plain(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		where := ""
		if op.Op == "dial" && op.Addr != nil {
			where = " " + op.Addr.String()
		}
		err = fmt.Errorf("%s%s: %w", op.Op, where, op.Err)
	}
	return foreign.Error(err)
}

// errIdle ends an answer that stops in the middle.
var errIdle = fmt.Errorf("the answer has stopped for %s", idleTimeout)

// errTooLong ends an answer that does not end by itself.
var errTooLong = fmt.Errorf("the answer is longer than %d GiB", maxAnswer>>30)

// patientBody reads an answer for as long as something comes.
type patientBody struct {
	body   io.Reader
	idle   *time.Timer // cancels the request
	ctx    context.Context
	unread int64
}

func newPatientBody(ctx context.Context, cancel context.CancelCauseFunc, body io.Reader) *patientBody {
	return &patientBody{
		body: body, ctx: ctx, unread: maxAnswer,
		idle: time.AfterFunc(idleTimeout, func() { cancel(errIdle) }),
	}
}

// Read implements io.Reader.
func (b *patientBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.idle.Reset(idleTimeout)
	b.unread -= int64(n)
	switch {
	case b.unread < 0:
		return n, errTooLong
	case err != nil && !errors.Is(err, io.EOF):
		if cause := context.Cause(b.ctx); cause != nil {
			return n, cause
		}
		return n, plain(err)
	}
	return n, err
}

func (b *patientBody) stop() { b.idle.Stop() }
