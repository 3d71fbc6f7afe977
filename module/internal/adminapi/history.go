package adminapi

import (
	"fmt"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// The words by which a ranking is asked for.
const (
	ByAddress = "address"
	ByNetwork = "network"
	ByRule    = "rule"
)

// DefaultParts is how many parts a graph has, unless the query says otherwise.
const DefaultParts = 60

// Timeline is what is kept of an address or a network.
type Timeline struct {
	history.Timeline

	// Graph is the same in few numbers, on the first page.
	Graph *history.Graph `json:"graph,omitempty"`
}

// ParsePast reads a time as RFC 3339, as a day in UTC, of which the end is meant where one is asked for, or as a duration back
// from now.
func ParsePast(word, text string, now time.Time, end bool) (time.Time, error) {
	at, ok := history.ParseTime(text, now, end)
	if !ok {
		return time.Time{}, fmt.Errorf(
			"%s %q is no time: write a day such as 2026-11-24, a time such as 2026-11-24T16:00:00Z, or how long ago such as 24h or 7d", word, text)
	}
	return at, nil
}

// CheckPeriod refuses a time that holds nothing.
func CheckPeriod(p history.Period, now time.Time, from, to string) error {
	switch {
	case p.From.IsZero():
		return nil
	case p.To.IsZero() && !p.From.Before(now):
		return fmt.Errorf("%s %s lies ahead", from, p.From.Format(time.RFC3339))
	case !p.To.IsZero() && !p.From.Before(p.To):
		return fmt.Errorf("%s %s is not before %s %s: write an earlier one", from, p.From.Format(time.RFC3339), to, p.To.Format(time.RFC3339))
	}
	return nil
}
