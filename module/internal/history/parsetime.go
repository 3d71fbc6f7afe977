package history

import (
	"strconv"
	"strings"
	"time"
)

// ParseTime parses a time as people write it: RFC 3339, a day in UTC, or a duration before now,
// such as 36h or 7d. A day means its beginning or, if end is true, its end.
func ParseTime(text string, now time.Time, end bool) (at time.Time, ok bool) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at.UTC(), true
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		if end {
			day = day.AddDate(0, 0, 1)
		}
		return day, true
	}
	ago, ok := parseDuration(text)
	return now.Add(-ago).UTC().Truncate(time.Second), ok
}

// parseDuration parses a positive duration, which may be in days.
func parseDuration(text string) (time.Duration, bool) {
	const maxDays = 100 * 366
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 32)
		return time.Duration(n) * 24 * time.Hour, err == nil && n > 0 && n <= maxDays
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d > 0
}
