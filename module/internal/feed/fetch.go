package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	userAgent      = "caddy-ip-reputation"
	maxValidator   = 512 // bytes of an ETag or a date; longer ones are not stored
	maxRetryAfter  = 24 * time.Hour
	maxHeaderBytes = 64 << 10
	maxErrorText   = 300 // bytes of an error's text, which may quote what a server sent
)

// validators make the next request conditional (RFC 9110, section 8.8).
type validators struct {
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`

	// Published is the publisher's date of the part. It does not make a request conditional.
	Published time.Time `json:"published,omitzero"`
}

// conditional reports whether there is anything to send.
func (v validators) conditional() bool { return v.ETag != "" || v.LastModified != "" }

// fetch reads all parts of a list with conditional requests. It returns
// nil if no part has changed. The known validators are those of the
// last good list.
func (f *fetcher) fetch(
	ctx context.Context, spec *Spec, known []validators,
) (*content, []validators, error) {
	spec, err := spec.authorized(ctx)
	if err != nil {
		return nil, nil, err
	}
	all := spec.newContent()
	parts := make([]validators, len(spec.URLs))
	changed := len(known) != len(parts)
	var unsent []int
	for i := range parts {
		var since validators
		if !changed {
			since = known[i]
		}
		v, sent, err := f.part(ctx, spec, i, since, all)
		switch {
		case err != nil:
			return nil, nil, err
		case sent:
			parts[i], changed = v, true
		default:
			unsent = append(unsent, i)
		}
	}
	if !changed {
		return nil, nil, nil
	}
	for _, i := range unsent { // the list is replaced as a whole, so unchanged parts are needed too
		var err error
		if parts[i], _, err = f.part(ctx, spec, i, validators{}, all); err != nil {
			return nil, nil, err
		}
	}
	return all, parts, nil
}

// part adds one part to the list, unless the server answers that it has not changed.
func (f *fetcher) part(
	ctx context.Context, spec *Spec, i int, since validators, to *content,
) (v validators, sent bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, spec.Timeout)
	defer cancel()
	defer func() {
		if err != nil {
			err = describe(err, spec, i)
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, spec.URLs[i], nil)
	if err != nil {
		return v, false, err
	}
	for name, values := range spec.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if host := spec.Header.Get("Host"); host != "" {
		req.Host = host
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept-Encoding", "gzip")
	if since.ETag != "" {
		req.Header.Set("If-None-Match", since.ETag)
	}
	if since.LastModified != "" {
		req.Header.Set("If-Modified-Since", since.LastModified)
	}
	resp, err := f.do(req, spec.holdsCredentials(req.URL))
	if err != nil {
		return v, false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified && since.conditional() {
		return since, false, nil
	}
	if resp.StatusCode != http.StatusOK {
		return v, false, statusFailure(resp, spec.Authorize != nil, time.Now())
	}
	to.Published = time.Time{} // of the part before
	if err := readBody(ctx, resp, spec, to); err != nil {
		return v, false, err
	}
	v = validators{ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified")}
	if !v.sendable() {
		v = validators{}
	}
	v.date(to.Published, time.Now())
	return v, true, nil
}

// sendable reports whether the validators can be sent in a request.
func (v validators) sendable() bool {
	for _, text := range []string{v.ETag, v.LastModified} {
		if len(text) > maxValidator || strings.ContainsFunc(text, unicode.IsControl) {
			return false
		}
	}
	return true
}

func readBody(ctx context.Context, resp *http.Response, spec *Spec, to *content) error {
	body := limit(resp.Body, spec.MaxBytes)
	layers := 1 // of compression: a .gz file may be served compressed
	switch encoding := strings.ToLower(resp.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		layers = 2
	default:
		return refuse(ResultNotText, "the body is encoded as %.40q, which was not asked for", encoding)
	}
	for range layers {
		var err error
		if body, err = spec.decompress(body); err != nil {
			return err
		}
	}
	return spec.read(untilDone{ctx, body}, false, to)
}

// untilDone is a reader that fails once its context has ended: a few KB of gzip can keep a parser
// busy for long after the last byte came.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(b []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(b)
}

// statusFailure returns the error for an answer without a list, to a request with or without a key.
func statusFailure(resp *http.Response, keyed bool, now time.Time) error {
	wait := retryAfter(resp.Header.Get("Retry-After"), now)
	f := &failure{
		result:     ResultStatus,
		retryAfter: wait,
		refused:    resp.StatusCode >= 400 && resp.StatusCode < 500,
		err:        fmt.Errorf("the server answered with status %d", resp.StatusCode),
	}
	if resp.StatusCode == http.StatusTooManyRequests ||
		resp.StatusCode == http.StatusServiceUnavailable && wait > 0 {
		f.result = ResultThrottled
	}
	if keyed && (resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden) {
		f.result, f.err = ResultKeyRefused, fmt.Errorf("%w: it may refuse the key: see whether that is valid, and "+
			"what its plan allows", f.err)
	}
	return f
}

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3). The
// result is a day at most: more is a mistake.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		return time.Duration(min(max(seconds, 0), int64(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// describe adds the host to an error and removes the URL, which may hold a key.
func describe(err error, spec *Spec, i int) error {
	result := classify(err)
	var inURL *url.Error
	for errors.As(err, &inURL) {
		err = inURL.Err
	}
	host := "the server"
	if u, parseErr := url.Parse(spec.URLs[i]); parseErr == nil {
		host = u.Host
	}
	f := &failure{result: result}
	var inner *failure
	switch {
	case result == ResultTimeout:
		f.err = fmt.Errorf("fetching from %s: no whole answer within %s: %w", host, spec.Timeout,
			context.DeadlineExceeded)
	case errors.Is(err, context.Canceled):
		f.err = fmt.Errorf("fetching from %s: %w", host, context.Canceled)
	default:
		text := shorten(spec.scrub(err.Error()))
		if errors.As(err, &inner) { // written by this package, which quotes nothing unscrubbed
			text, f.retryAfter, f.refused = inner.Error(), inner.retryAfter, inner.refused
		}
		f.err = fmt.Errorf("fetching from %s: %s", host, text)
	}
	return f
}

// shorten returns text as one line of bounded length that can be logged: errors quote status
// lines and locations, which may be as long as all headers.
func shorten(text string) string {
	if len(text) > maxErrorText {
		text = text[:maxErrorText] + "..."
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, text)
}

// limit returns a reader that fails after the given number of bytes, unless r ends there.
func limit(r io.Reader, size int64) io.Reader { return &limitedReader{r: r, size: size, left: size} }

type limitedReader struct {
	r          io.Reader
	size, left int64
}

func (l *limitedReader) Read(b []byte) (int, error) {
	if int64(len(b)) > l.left+1 {
		b = b[:l.left+1]
	}
	n, err := l.r.Read(b)
	if l.left -= int64(n); l.left < 0 {
		l.left = 0
		return 0, refuse(ResultTooLarge, "the list is larger than %d bytes: allow more with `max_size` of a feed, "+
			"or split the list", l.size)
	}
	return n, err
}
