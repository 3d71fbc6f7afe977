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
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/foreign"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Ask sends one request, decodes the JSON of its answer into a T, and returns the result of report.
// See reputation.Provider for the errors. If the answer is not of the protocol, or is an error in
// spite of its status, report returns an error that wraps ErrBadAnswer, ErrUnknown or ErrRefused,
// or Response.Throttled. It must quote the service through Response.Quote only.
//
// The transport gets one request. It sends the request again in two cases only: on a reused HTTP/1
// connection that failed before any byte of the answer (a POST only if no byte was sent), and over
// HTTP/2 if the server states that it did not process the request.
func Ask[T any](
	ctx context.Context, e *Endpoint, q reputation.Query, r Request, report func(*T,
		*Response) (reputation.Report, error),
) (reputation.Report, error) {
	var result reputation.Report
	err := exchange(ctx, e, about(q), &r, func(value *T, a *Response) (err error) {
		result, err = report(value, a)
		return err
	})
	if err != nil {
		return reputation.Report{}, fmt.Errorf("asking %s: %w", e.api.Title, err)
	}
	return result, nil
}

// Send sends a report about the query's address. It is Ask for services that answer with no more than that they
// have stored it: check returns what is wrong with the answer. See reputation.Reporter for the errors.
func Send[T any](
	ctx context.Context, e *Endpoint, q reputation.Query, r Request, check func(*T, *Response) error,
) error {
	if err := exchange(ctx, e, about(q), &r, check); err != nil {
		return fmt.Errorf("reporting to %s: %w", e.api.Title, err)
	}
	return nil
}

// question is whom a request is about, and with which key.
type question struct {
	key   string
	addrs []netip.Addr
}

func about(q reputation.Query) question { return question{q.Key, []netip.Addr{q.Addr}} }

// exchange sends one request, and hands its answer to read.
func exchange[T any](
	ctx context.Context, e *Endpoint, q question, r *Request, read func(*T, *Response) error,
) error {
	a, err := e.ask(ctx, q, r)
	if err != nil {
		return err
	}
	value := new(T)
	if err := a.decode(value); err != nil {
		return err
	}
	return read(value, a)
}

// Response is the answer of the service.
type Response struct {
	// Status is 200, or one of Request.Answers.
	Status int

	// Header are the header fields. Their content is not trustworthy.
	Header http.Header

	body     []byte
	question question
	endpoint *Endpoint
}

// ask sends a request and reads its answer.
func (e *Endpoint) ask(ctx context.Context, q question, r *Request) (*Response, error) {
	if e.transport == nil {
		return nil, errNotOpen
	}
	for _, addr := range q.addrs {
		if !e.api.Profile.Covers.Has(addr) {
			return nil, reputation.ErrUnsupported
		}
	}
	if err := e.checkKey(q.key, r); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	req, err := e.request(ctx, r)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e.closed.Load() { // a transport that is used after Cleanup keeps its connections again
			e.transport.CloseIdleConnections()
		}
	}()
	// The transport is used without a client: a client follows redirects, or at least parses their
	// target, and adds the URL with the visitor's address to every error.
	resp, err := e.transport.RoundTrip(req)
	if err != nil {
		return nil, cause(ctx, err)
	}
	defer resp.Body.Close()
	if slices.Contains(r.Unknown, resp.StatusCode) {
		return nil, reputation.ErrUnknown
	}
	a := &Response{Status: resp.StatusCode, Header: resp.Header, question: q, endpoint: e}
	if a.Status == http.StatusSwitchingProtocols {
		return nil, a.failure() // its body is the bare connection: to read from it would not end with ctx
	}
	expected := a.Status == http.StatusOK || slices.Contains(r.Answers, a.Status)
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, a.maxBody()+1))
	switch {
	case err != nil && expected:
		return nil, cause(ctx, err)
	case err != nil || !expected && int64(len(a.body)) > a.maxBody():
		a.body = nil // the status is sufficient
	}
	if !expected && r.Failure != nil {
		if err := r.Failure(a, a.body); err != nil {
			return nil, err
		}
	}
	if !expected {
		return nil, a.failure()
	}
	return a, a.check()
}

// check returns an error for answers that cannot be the service's, before they are decoded.
func (a *Response) check() error {
	switch most := a.maxBody(); {
	case int64(len(a.body)) > most:
		return fmt.Errorf("%w: more than %d bytes", reputation.ErrBadAnswer, most)
	case a.Header.Get("Content-Encoding") != "":
		return fmt.Errorf("%w: it is packed in a way that was not asked for", reputation.ErrBadAnswer)
	case !a.endpoint.hasMediaType(a.Header) && mediaType(a.Header) == "text/html":
		return fmt.Errorf("%w: it is a web page, not JSON, check the url option", reputation.ErrBadAnswer)
	case !a.endpoint.hasMediaType(a.Header):
		return fmt.Errorf("%w: its content type is not JSON", reputation.ErrBadAnswer)
	}
	return nil
}

// failure returns the error for a status that was not expected.
func (a *Response) failure() error {
	status := a.Status
	var detail string
	if read := a.endpoint.api.Detail; read != nil && len(a.body) > 0 {
		detail = a.Quote(read(a.body))
	}
	switch {
	case status == http.StatusForbidden && mediaType(a.Header) == "text/html":
		// it is from a firewall in front of the service, and not about the key
		return fmt.Errorf("%w: status 403 with an HTML page", reputation.ErrBadAnswer)
	case status == http.StatusForbidden && a.question.key == "":
		return fmt.Errorf("%w: there was none, status 403, so that it may block who asks from here%s",
			reputation.ErrRefused, detail)
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

// hasMediaType reports whether an answer has a content type of the service.
func (e *Endpoint) hasMediaType(header http.Header) bool {
	media := mediaType(header)
	if len(e.api.MediaTypes) > 0 {
		return slices.Contains(e.api.MediaTypes, media)
	}
	return media == "application/json" || strings.HasSuffix(media, "+json")
}

// mediaType returns the content type without its parameters, or "" if it is missing or wrong.
func mediaType(header http.Header) string {
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return media
}

// cause reduces an error of the transport to one that may be logged. It
// passes on only errors that are known to be harmless: some errors of
// net/http quote the server, or the address of a proxy with its password.
func cause(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	var (
		network net.Error
		dial    *net.OpError
		cert    *tls.CertificateVerificationError
		noTLS   tls.RecordHeaderError
		corrupt flate.CorruptInputError
	)
	switch {
	case errors.As(err, &network) && network.Timeout():
		return os.ErrDeadlineExceeded
	case errors.As(err, &cert):
		return errors.New(foreign.Line(cert.Error(), maxQuote)) // it quotes the names in the certificate, which may be anybody's
	case errors.As(err, &dial):
		return dial
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.As(err, &corrupt):
		return fmt.Errorf("%w: not the compression it claims", reputation.ErrBadAnswer)
	case errors.As(err, &noTLS) && string(noTLS.RecordHeader[:]) == "HTTP/":
		return errors.New("the host speaks http there, not https: check the url option")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the connection was closed before the answer was complete: %w", io.ErrUnexpectedEOF)
	}
	return errors.New("the connection failed before the answer was complete")
}
