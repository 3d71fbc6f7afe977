package quota

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

const (
	maxEvents = 1_000_000
	maxPer    = 24 * time.Hour
	maxBurst  = 5
)

// Rate is how fast calls may follow each other: Events spread evenly over Per, of which up to five may come at once.
// The zero Rate sets no bound.
type Rate struct {
	Events int
	Per    time.Duration
}

// ParseRate reads a rate such as "5/s", "1/2s" or "100/1m": a number of calls, and a duration in Go's notation whose
// number may be left out when it is 1. The duration is at most a day; what is longer is a quota (ParseWindow).
func ParseRate(s string) (Rate, error) {
	events, duration, _ := strings.Cut(s, "/")
	n, ok := parseCount(events, maxEvents)
	if !ok {
		return Rate{}, fmt.Errorf("rate %q: the number of calls must be a whole number from 1 to %d, as in 5/s or 1/2s", s, maxEvents)
	}
	if duration != "" && duration[0] >= 'a' && duration[0] <= 'z' {
		duration = "1" + duration
	}
	per, err := time.ParseDuration(duration)
	if err != nil || per <= 0 || per > maxPer {
		return Rate{}, fmt.Errorf("rate %q: after the slash must stand a duration of 24h at most, as in 5/s, 1/2s or 100/1m", s)
	}
	return Rate{Events: n, Per: per}, nil
}

// String returns the rate in a form that ParseRate reads.
func (r Rate) String() string { return strconv.Itoa(r.Events) + "/" + r.Per.String() }

func (r Rate) bounded() bool { return r.Events > 0 && r.Per > 0 }

// limit returns the rate per second.
func (r Rate) limit() rate.Limit { return rate.Limit(float64(r.Events) / r.Per.Seconds()) }

// burst returns how many calls may come at once. It is small, because services count in windows of their own: a burst
// on top of the rate is what they would see as too much.
func (r Rate) burst() int { return min(r.Events, maxBurst) }
