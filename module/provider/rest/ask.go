package rest

import (
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Ask asks the service once and returns what report makes of its answer, which is JSON and decoded into a T. See
// reputation.Provider for the errors. A report that finds the answer not to be of the protocol, or to be an error in spite of
// its status, returns an error that wraps ErrBadAnswer, ErrUnknown or ErrRefused, or Answer.Throttled; it quotes the service
// through Answer.Quote only.
//
// The transport is handed one request. When a kept HTTP/1 connection turns out to be dead before a byte came back, the transport
// sends a GET again, and a POST only if nothing of it was sent; over HTTP/2 it does so only if the server said it did not look.
func Ask[T any](
	ctx context.Context, e *Endpoint, q reputation.Query, r Request, report func(*T, *Answer) (reputation.Report, error),
) (reputation.Report, error) {
	var result reputation.Report
	a, err := e.ask(ctx, q, &r)
	if err == nil {
		value := new(T)
		if err = a.decode(value); err == nil {
			result, err = report(value, a)
		}
	}
	if err != nil {
		return reputation.Report{}, fmt.Errorf("asking %s: %w", e.api.Title, err)
	}
	return result, nil
}

// Answer is what came back.
type Answer struct {
	// Status is 200, or one of Request.Answers.
	Status int

	// Header are the header fields. They are foreign words.
	Header http.Header

	body     []byte
	query    reputation.Query
	endpoint *Endpoint
}

// ask sends a request and reads its answer.
func (e *Endpoint) ask(ctx context.Context, q reputation.Query, r *Request) (*Answer, error) {
	if e.transport == nil {
		return nil, errNotOpen
	}
	if !e.api.Profile.Covers.Has(q.Addr) {
		return nil, reputation.ErrUnsupported
	}
	if err := e.checkKey(q.Key, r); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	req, err := e.request(ctx, r)
	if err != nil {
		return nil, err
	}
	// The transport, and not a client: a client follows redirects, or at least reads where they lead, and puts the
	// URL with the visitor's address into every error.
	resp, err := e.transport.RoundTrip(req)
	if err != nil {
		return nil, cause(ctx, err)
	}
	defer resp.Body.Close()
	if slices.Contains(r.Unknown, resp.StatusCode) {
		return nil, reputation.ErrUnknown
	}
	a := &Answer{Status: resp.StatusCode, Header: resp.Header, query: q, endpoint: e}
	expected := a.Status == http.StatusOK || slices.Contains(r.Answers, a.Status)
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, e.api.MaxBody+1))
	switch {
	case err != nil && expected:
		return nil, cause(ctx, err)
	case err != nil || !expected && int64(len(a.body)) > e.api.MaxBody:
		a.body = nil // the status says enough
	}
	if !expected {
		return nil, a.failure()
	}
	return a, a.check()
}

// check finds answers that cannot be the service's before anything is read from them.
func (a *Answer) check() error {
	switch most := a.endpoint.api.MaxBody; {
	case int64(len(a.body)) > most:
		return fmt.Errorf("%w: more than %d bytes", reputation.ErrBadAnswer, most)
	case a.Header.Get("Content-Encoding") != "":
		return fmt.Errorf("%w: it is packed in a way that was not asked for", reputation.ErrBadAnswer)
	case !a.endpoint.speaks(a.Header):
		return fmt.Errorf("%w: its content type is not JSON", reputation.ErrBadAnswer)
	}
	return nil
}

// failure returns what a status means that is no answer.
func (a *Answer) failure() error {
	status := a.Status
	var detail string
	if read := a.endpoint.api.Detail; read != nil && len(a.body) > 0 {
		detail = a.Quote(read(a.body))
	}
	switch {
	case status == http.StatusForbidden && mediaType(a.Header) == "text/html":
		// a firewall in front of the service, which says nothing about the key
		return fmt.Errorf("%w: status 403 with an HTML page", reputation.ErrBadAnswer)
	case status == http.StatusUnauthorized, status == http.StatusPaymentRequired, status == http.StatusForbidden:
		return fmt.Errorf("%w: status %d%s", reputation.ErrRefused, status, detail)
	case status == http.StatusTooManyRequests:
		return fmt.Errorf("%w: status 429%s", a.Throttled(), detail)
	case status < 400:
		return fmt.Errorf("%w: status %d, check the url option", reputation.ErrBadAnswer, status)
	case status == http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: it did not accept a parameter, status 422%s", reputation.ErrBadAnswer, detail)
	}
	return fmt.Errorf("no answer, status %d%s", status, detail)
}

// speaks reports whether an answer calls itself what the service sends.
func (e *Endpoint) speaks(header http.Header) bool {
	media := mediaType(header)
	if len(e.api.MediaTypes) > 0 {
		return slices.Contains(e.api.MediaTypes, media)
	}
	return media == "application/json" || strings.HasSuffix(media, "+json")
}

// mediaType returns the content type without its parameters, or nothing when it is missing or wrong.
func mediaType(header http.Header) string {
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return media
}

// cause reduces an error of the transport to one that may be logged. What is not known to be harmless is left out: some
// errors of net/http quote what the other side sent, or the address of a proxy with its password.
func cause(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	var (
		network net.Error
		dial    *net.OpError
		cert    *tls.CertificateVerificationError
		corrupt flate.CorruptInputError
	)
	switch {
	case errors.As(err, &network) && network.Timeout():
		return os.ErrDeadlineExceeded
	case errors.As(err, &cert):
		return cert
	case errors.As(err, &dial):
		return dial
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.As(err, &corrupt):
		return fmt.Errorf("%w: not the compression it claims", reputation.ErrBadAnswer)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return io.ErrUnexpectedEOF
	}
	return errors.New("the connection failed before the answer was complete")
}
