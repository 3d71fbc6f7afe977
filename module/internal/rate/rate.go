// Package rate parses rates, such as 5/s: how many events are allowed in a given time.
package rate

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	maxEvents = 1_000_000
	maxPer    = 24 * time.Hour
)

// Rate allows Events in Per, spread evenly. The zero Rate sets no bound.
type Rate struct {
	Events int
	Per    time.Duration
}

// Parse reads a rate such as "5/s", "1/2s" or "100/1m": a number of events, and a duration in Go's notation
// whose number may be left out when it is 1. The duration is at most a day; longer periods are quotas.
func Parse(s string) (Rate, error) {
	events, duration, _ := strings.Cut(s, "/")
	n, err := strconv.ParseUint(events, 10, 32)
	if err != nil || n < 1 || n > maxEvents {
		return Rate{}, fmt.Errorf("rate %q: the number before the slash must be a whole one from 1 to %d, as in 5/s or 1/2s", s, maxEvents)
	}
	if duration != "" && duration[0] >= 'a' && duration[0] <= 'z' {
		duration = "1" + duration
	}
	per, err := time.ParseDuration(duration)
	if err != nil || per <= 0 || per > maxPer {
		return Rate{}, fmt.Errorf("rate %q: after the slash must stand a duration of 24h at most, as in 5/s, 1/2s or 100/1m", s)
	}
	return Rate{Events: int(n), Per: per}, nil
}

// String returns the rate in a form that Parse reads.
func (r Rate) String() string { return strconv.Itoa(r.Events) + "/" + r.Per.String() }

// Bounded reports whether the rate sets a bound at all.
func (r Rate) Bounded() bool { return r.Events > 0 && r.Per > 0 }

// PerSecond returns the rate as events a second.
func (r Rate) PerSecond() float64 { return float64(r.Events) / r.Per.Seconds() }
