package adminapi

import (
	"fmt"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// What `by` of GET history can be.
const (
	ByAddress = "address"
	ByNetwork = "network"
	ByRule    = "rule"
)

// DefaultParts is how many parts a graph has if the query has no `parts`. The limits are history.MaxParts and
// history.MaxLimit.
const DefaultParts = 60

// Timeline answers GET history/{ip|prefix}.
type Timeline struct {
	history.Timeline

	// Graph summarizes all of the period. Only the first page has it.
	Graph *history.Graph `json:"graph,omitempty"`
}

// ParsePast reads a time: RFC 3339, a day in UTC, or how long before now. A day stands for its begin, or for its
// end if end is true. The word is the name of the option, for the error.
func ParsePast(word, text string, now time.Time, end bool) (time.Time, error) {
	at, ok := history.ParseTime(text, now, end)
	if !ok {
		return time.Time{}, fmt.Errorf("%s %q is no time: write a day such as 2026-11-24, "+
			"a time such as 2026-11-24T16:00:00Z, or how long ago such as 24h or 7d", word, text)
	}
	return at, nil
}

// CheckPeriod refuses a period that lies ahead or ends before it begins. The words name its ends in the error.
func CheckPeriod(p history.Period, now time.Time, from, to string) error {
	switch {
	case p.From.IsZero():
		return nil
	case p.To.IsZero() && !p.From.Before(now):
		return fmt.Errorf("%s %s lies ahead", from, p.From.Format(time.RFC3339))
	case !p.To.IsZero() && !p.From.Before(p.To):
		return fmt.Errorf("%s %s is not before %s %s: write an earlier one",
			from, p.From.Format(time.RFC3339), to, p.To.Format(time.RFC3339))
	}
	return nil
}
