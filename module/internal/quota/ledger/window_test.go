package ledger

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestPeriod(t *testing.T) {
	tests := map[string]struct {
		period     Period
		at         string
		start, end string
	}{
		"minute":                        {Minute, "2027-03-01T10:20:59Z", "2027-03-01T10:20:00Z", "2027-03-01T10:21:00Z"},
		"hour over midnight":            {Hour, "2027-02-28T23:59:59Z", "2027-02-28T23:00:00Z", "2027-03-01T00:00:00Z"},
		"day ends at midnight":          {Day, "2027-03-01T00:00:00Z", "2027-03-01T00:00:00Z", "2027-03-02T00:00:00Z"},
		"day is that of UTC":            {Day, "2027-03-02T01:30:00+02:00", "2027-03-01T00:00:00Z", "2027-03-02T00:00:00Z"},
		"day when Europe's clocks jump": {Day, "2027-03-28T12:00:00+02:00", "2027-03-28T00:00:00Z", "2027-03-29T00:00:00Z"},
		"leap day":                      {Day, "2028-02-29T23:59:59Z", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"},
		"week on a Monday":              {Week, "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
		"week on a Sunday":              {Week, "2026-11-29T23:59:59Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
		"week over the new year":        {Week, "2027-01-01T05:00:00Z", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"},
		"February":                      {Month, "2027-02-28T23:59:59Z", "2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z"},
		"February of a leap year":       {Month, "2028-02-29T00:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"},
		"31st of a month":               {Month, "2027-01-31T12:00:00Z", "2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z"},
		"December":                      {Month, "2027-12-31T23:59:59Z", "2027-12-01T00:00:00Z", "2028-01-01T00:00:00Z"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			at := mustTime(t, tt.at)
			if got := tt.period.Start(at).Format(time.RFC3339); got != tt.start {
				t.Errorf("Start = %s, want %s", got, tt.start)
			}
			if got := tt.period.End(at).Format(time.RFC3339); got != tt.end {
				t.Errorf("End = %s, want %s", got, tt.end)
			}
		})
	}
}

func TestPeriodProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Period(rapid.IntRange(0, NumPeriods-1).Draw(t, "period"))
		at := time.Unix(rapid.Int64Range(0, 7_000_000_000).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		start, end := p.Start(at), p.End(at)
		if at.Before(start) || !at.Before(end) {
			t.Fatalf("%s is not within %s – %s", at, start, end)
		}
		if !p.Start(end).Equal(end) || !p.Start(end.Add(-1)).Equal(start) {
			t.Fatalf("windows do not join at %s", end)
		}
	})
}

func TestParseWindow(t *testing.T) {
	tests := map[string]struct {
		want Window
		err  string
	}{
		"1000/day":        {want: Window{1000, Day}},
		"4/minute":        {want: Window{4, Minute}},
		"10000/hour":      {want: Window{10000, Hour}},
		"50/week":         {want: Window{50, Week}},
		"15500/month":     {want: Window{15500, Month}},
		"1000000000/day":  {want: Window{MaxLimit, Day}},
		"4/m":             {err: `quota "4/m": unknown period "m": use one of minute, hour, day, week, month, as in 1000/day`},
		"1000":            {err: `unknown period ""`},
		"":                {err: `quota "": unknown period ""`},
		"1000/Day":        {err: `unknown period "Day"`},
		"1000/day/":       {err: `unknown period "day/"`},
		"0/day":           {err: `quota "0/day": the number of calls must be a whole number from 1 to 1000000000, as in 1000/day`},
		"-1/day":          {err: "whole number"},
		"+1/day":          {err: "whole number"},
		" 1/day":          {err: "whole number"},
		"1_000/day":       {err: "whole number"},
		"1e3/day":         {err: "whole number"},
		"/day":            {err: "whole number"},
		"1000000001/day":  {err: "whole number"},
		"99999999999/day": {err: "whole number"},
	}
	for in, tt := range tests {
		t.Run(in, func(t *testing.T) {
			got, err := ParseWindow(in)
			checkParsed(t, got, tt.want, err, tt.err)
		})
	}
}

// checkParsed compares what a parser returned; the text of an error must contain want.
func checkParsed[T any](t *testing.T, got, want T, err error, text string) {
	t.Helper()
	if text == "" && err != nil {
		t.Fatalf("error: %v", err)
	}
	if text != "" && (err == nil || !strings.Contains(err.Error(), text)) {
		t.Fatalf("error = %v, want one with %q", err, text)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseWindow(f *testing.F) {
	for _, s := range []string{"1000/day", "4/minute", "4/m", "0/day", "/", "1/", "/month", "+1/week", "1000000001/hour"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		w, err := ParseWindow(s)
		if err != nil {
			if w != (Window{}) {
				t.Fatalf("%q: a window with an error", s)
			}
			return
		}
		if w.Limit < 1 || w.Limit > MaxLimit || w.Period >= NumPeriods {
			t.Fatalf("%q: out of range: %v", s, w)
		}
		if again, err := ParseWindow(w.String()); err != nil || again != w {
			t.Fatalf("%q: %v is read back as %v, %v", s, w, again, err)
		}
	})
}
