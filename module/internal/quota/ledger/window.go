package ledger

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Period is the length of a quota window. Windows are those of the calendar in UTC, which is how
// services reset theirs: a day begins at 00:00, a week on Monday (ISO 8601), a month on its first
// day.
type Period uint8

// The periods.
const (
	Minute Period = iota
	Hour
	Day
	Week
	Month

	// NumPeriods is how many there are.
	NumPeriods = iota
)

var periodNames = [NumPeriods]string{"minute", "hour", "day", "week", "month"}

// String returns the period's word.
func (p Period) String() string {
	if int(p) < len(periodNames) {
		return periodNames[p]
	}
	return fmt.Sprintf("Period(%d)", uint8(p))
}

// parsePeriod returns the period with the given word.
func parsePeriod(word string) (Period, error) {
	if i := slices.Index(periodNames[:], word); i >= 0 {
		return Period(i), nil
	}
	return 0, fmt.Errorf("unknown period %q: use one of %s", word, strings.Join(periodNames[:], ", "))
}

// Start returns the beginning, in UTC, of the window that t falls in.
func (p Period) Start(t time.Time) time.Time {
	t = t.UTC()
	year, month, day := t.Date()
	switch p {
	case Minute:
		return time.Date(year, month, day, t.Hour(), t.Minute(), 0, 0, time.UTC)
	case Hour:
		return time.Date(year, month, day, t.Hour(), 0, 0, 0, time.UTC)
	case Week:
		sinceMonday := (int(t.Weekday()) + 6) % 7
		return time.Date(year, month, day-sinceMonday, 0, 0, 0, 0, time.UTC)
	case Month:
		return time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
	default:
		return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	}
}

// End returns the beginning, in UTC, of the window after the one that t falls in.
func (p Period) End(t time.Time) time.Time {
	start := p.Start(t)
	switch p {
	case Minute:
		return start.Add(time.Minute)
	case Hour:
		return start.Add(time.Hour)
	case Week:
		return start.AddDate(0, 0, 7)
	case Month:
		return start.AddDate(0, 1, 0)
	default:
		return start.AddDate(0, 0, 1)
	}
}

// MaxLimit is the highest limit of a window.
const MaxLimit = 1_000_000_000

// Window is a quota: a number of calls in each window of a period.
type Window struct {
	// Limit is the number of calls, 1 to MaxLimit.
	Limit  int
	Period Period
}

// ParseWindow reads a quota such as "1000/day". The period is one of minute, hour, day, week and
// month; abbreviations are refused, since "m" could be two of them.
func ParseWindow(s string) (Window, error) {
	limit, word, _ := strings.Cut(s, "/")
	period, err := parsePeriod(word)
	if err != nil {
		return Window{}, fmt.Errorf("quota %q: %w, as in 1000/day", s, err)
	}
	n, ok := parseCount(limit, MaxLimit)
	if !ok {
		return Window{}, fmt.Errorf(
			"quota %q: the number of calls must be a whole number from 1 to %d, as in 1000/day", s, MaxLimit)
	}
	return Window{Limit: n, Period: period}, nil
}

// perDay is how often a window of each period fits into a day. A month has 30 days.
var perDay = [NumPeriods]float64{Minute: 24 * 60, Hour: 24, Day: 1, Week: 1. / 7, Month: 1. / 30}

// PerDay returns how many calls the quota allows in a day.
func (w Window) PerDay() float64 { return float64(w.Limit) * perDay[w.Period] }

// String returns the window in the form that ParseWindow reads.
func (w Window) String() string { return strconv.Itoa(w.Limit) + "/" + w.Period.String() }

// parseCount reads a whole number from 1 to most, in plain digits.
func parseCount(s string, most int) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n < 1 || n > uint64(most) {
		return 0, false
	}
	return int(n), true
}
