package backoff

import (
	"net/http"
	"strconv"
	"time"
)

// RetryAfter reads the header Retry-After, which is a number of seconds or a date (RFC 9110, section 10.2.3). The pause is
// from 0 to most. ok is false if the value is neither.
func RetryAfter(value string, now time.Time, most time.Duration) (pause time.Duration, ok bool) {
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil && seconds >= 0 {
		return time.Duration(min(seconds, int64(most/time.Second))) * time.Second, true
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), most), true
	}
	return 0, false
}
