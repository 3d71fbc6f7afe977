package rest

import (
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/backoff"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// maxRetryAfter is the longest pause that a service may ask for. The
// caller counts monthly quotas itself.
const maxRetryAfter = 24 * time.Hour

// Throttled returns a reputation.ThrottledError with the pause from the answer's header fields.
func (a *Response) Throttled() error {
	return &reputation.ThrottledError{RetryAfter: retryAfter(a.Header, a.endpoint.api.ResetHeader, time.Now())}
}

// retryAfter returns the pause that a service asks for: Retry-After in
// seconds or as a date, otherwise the field named reset, in seconds since
// 1970 or from now. It is 0 without these fields, and a day at most. Now is
// the time of the answer if it says so, since our clock may be wrong.
func retryAfter(header http.Header, reset string, now time.Time) time.Duration {
	if sent, err := http.ParseTime(header.Get("Date")); err == nil {
		now = sent
	}
	if pause, ok := backoff.RetryAfter(header.Get("Retry-After"), now, maxRetryAfter); ok {
		return pause
	}
	seconds, err := strconv.ParseInt(header.Get(reset), 10, 64)
	switch {
	case err != nil || reset == "":
		return 0
	case seconds >= 1e9:
		seconds -= now.Unix()
	}
	return time.Duration(min(max(seconds, 0), int64(maxRetryAfter/time.Second))) * time.Second
}
