package rest

import (
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// maxRetryAfter is the longest pause that is taken from a service: quotas of a month are the caller's.
const maxRetryAfter = 24 * time.Hour

// Throttled returns the error for an answer that asks for fewer calls, with the pause that its header fields name.
func (a *Answer) Throttled() error {
	return &reputation.ThrottledError{RetryAfter: retryAfter(a.Header, a.endpoint.api.ResetHeader, time.Now())}
}

// retryAfter returns how long a service asks for a pause: Retry-After in seconds or as a date, else what the field named
// reset says, in seconds since 1970 or from now. It is 0 when neither says so, and a day at most.
func retryAfter(header http.Header, reset string, now time.Time) time.Duration {
	after := header.Get("Retry-After")
	if seconds, err := strconv.ParseInt(after, 10, 64); err == nil && seconds >= 0 {
		return bounded(seconds)
	}
	if until, err := http.ParseTime(after); err == nil {
		return min(max(until.Sub(now), 0), maxRetryAfter)
	}
	seconds, err := strconv.ParseInt(header.Get(reset), 10, 64)
	switch {
	case err != nil || reset == "":
		return 0
	case seconds >= 1e9:
		seconds -= now.Unix()
	}
	return bounded(seconds)
}

func bounded(seconds int64) time.Duration {
	return time.Duration(min(max(seconds, 0), int64(maxRetryAfter/time.Second))) * time.Second
}
