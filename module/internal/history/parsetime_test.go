package history

import (
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 500, time.UTC)
	for text, want := range map[string][2]string{ // as the beginning, and as the end
		"2026-11-24T16:00:00Z":      {"2026-11-24T16:00:00Z", "2026-11-24T16:00:00Z"},
		"2026-11-24T16:00:00+02:00": {"2026-11-24T14:00:00Z", "2026-11-24T14:00:00Z"},
		"2026-11-24":                {"2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"},
		"36h":                       {"2026-11-25T00:00:00Z", "2026-11-25T00:00:00Z"},
		"7d":                        {"2026-11-19T12:00:00Z", "2026-11-19T12:00:00Z"},
		"":                          {}, "0d": {}, "-1h": {}, "7": {}, "d": {}, "1e9d": {}, "99999999d": {}, "yesterday": {}, "2026-13-01": {},
	} {
		for i, end := range []bool{false, true} {
			at, ok := ParseTime(text, now, end)
			if got := at.Format(time.RFC3339); ok != (want[i] != "") || ok && (got != want[i] || at.Location() != time.UTC) {
				t.Errorf("%q, end %t: %s %t, want %q", text, end, got, ok, want[i])
			}
		}
	}
}
