package abuseipdb

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
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// maxRetryAfter is the longest pause that makes sense: the service counts by the day.
const maxRetryAfter = 24 * time.Hour

// Check asks the service about one address, with the key that reputation.WithKey put into ctx. See reputation.Provider
// for what it returns.
//
// It hands the transport one request. When a kept HTTP/1 connection turns out to be dead before a byte came back, the
// transport sends it again; over HTTP/2, which the service speaks, it does so only if the server said it did not look.
func (a *AbuseIPDB) Check(ctx context.Context, addr netip.Addr) (reputation.Report, error) {
	report, err := a.check(ctx, addr, reputation.Key(ctx))
	if err != nil {
		return reputation.Report{}, fmt.Errorf("asking AbuseIPDB: %w", err)
	}
	return report, nil
}

func (a *AbuseIPDB) check(ctx context.Context, addr netip.Addr, key string) (reputation.Report, error) {
	if key == "" {
		return reputation.Report{}, fmt.Errorf("%w: there is none, set the key option", reputation.ErrRefused)
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return reputation.Report{}, fmt.Errorf("%w: it holds characters that no key has, such as a line break at its end",
			reputation.ErrRefused)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.question(addr), nil)
	if err != nil {
		return reputation.Report{}, cause(ctx, err)
	}
	// Without Accept, the service answers errors with a whole HTML page.
	req.Header = http.Header{"Accept": {"application/json"}, "Key": {key}, "User-Agent": {userAgent}}

	// The transport, and not a client: a client follows redirects, or at least reads where they lead, and puts the
	// URL with the visitor's address into every error.
	resp, err := a.transport.RoundTrip(req)
	if err != nil {
		return reputation.Report{}, cause(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		if resp.StatusCode == http.StatusOK {
			return reputation.Report{}, cause(ctx, err)
		}
		body = nil // the status says enough
	}
	if resp.StatusCode != http.StatusOK {
		return reputation.Report{}, a.failure(resp, body, addr, key)
	}
	if len(body) > maxBody {
		return reputation.Report{}, fmt.Errorf("%w: more than %d bytes", reputation.ErrBadAnswer, maxBody)
	}
	if !isJSON(resp.Header) {
		return reputation.Report{}, fmt.Errorf("%w: its content type is not JSON", reputation.ErrBadAnswer)
	}
	return parseAnswer(body, addr)
}

// question returns the URL that asks about addr.
func (a *AbuseIPDB) question(addr netip.Addr) string {
	u := a.base.JoinPath("check")
	u.RawQuery = "ipAddress=" + url.QueryEscape(addr.String()) + "&maxAgeInDays=" + strconv.Itoa(a.MaxAgeDays)
	return u.String()
}

// failure returns what a status other than 200 means.
func (a *AbuseIPDB) failure(resp *http.Response, body []byte, addr netip.Addr, key string) error {
	status := resp.StatusCode
	detail := a.detail(body, addr, key)
	switch {
	case status == http.StatusForbidden && isHTML(resp.Header):
		// a firewall in front of the service, which says nothing about the key
		return fmt.Errorf("%w: status 403 with an HTML page", reputation.ErrBadAnswer)
	case status == http.StatusUnauthorized, status == http.StatusPaymentRequired, status == http.StatusForbidden:
		return fmt.Errorf("%w: status %d%s", reputation.ErrRefused, status, detail)
	case status == http.StatusTooManyRequests:
		throttled := &reputation.ThrottledError{RetryAfter: retryAfter(resp.Header, time.Now())}
		return fmt.Errorf("%w: status 429%s", throttled, detail)
	case status < 400:
		return fmt.Errorf("%w: status %d, check the url option", reputation.ErrBadAnswer, status)
	case status == http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: it did not accept a parameter, status 422%s", reputation.ErrBadAnswer, detail)
	}
	return fmt.Errorf("no answer, status %d%s", status, detail)
}

// retryAfter returns how long a 429 asks for peace: Retry-After in seconds or as a date, else X-RateLimit-Reset in
// seconds since 1970. It is 0 when neither says so, and a day at most.
func retryAfter(header http.Header, now time.Time) time.Duration {
	after := header.Get("Retry-After")
	if seconds, err := strconv.ParseInt(after, 10, 64); err == nil && seconds >= 0 {
		return time.Duration(min(seconds, int64(maxRetryAfter/time.Second))) * time.Second
	}
	until, err := http.ParseTime(after)
	if err != nil {
		reset, err := strconv.ParseInt(header.Get("X-RateLimit-Reset"), 10, 64)
		if err != nil {
			return 0
		}
		until = time.Unix(min(reset, now.Add(maxRetryAfter).Unix()), 0) // time.Time overflows silently
	}
	return min(max(until.Sub(now), 0), maxRetryAfter)
}

func isJSON(header http.Header) bool {
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	return err == nil && (media == "application/json" || strings.HasSuffix(media, "+json"))
}

func isHTML(header http.Header) bool {
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	return err == nil && media == "text/html"
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
