package said

import (
	"testing"
	"time"
)

func TestOnce(t *testing.T) {
	var causes Causes[string]
	start := time.Now()
	for _, tc := range []struct {
		cause string
		after time.Duration
		want  bool
	}{
		{"a", 0, true},
		{"a", 0, false},
		{"b", 0, true},
		{"a", Interval - 1, false},
		{"a", Interval, true},
		{"a", Interval + 1, false},
	} {
		if got := causes.Once(tc.cause, start.Add(tc.after)); got != tc.want {
			t.Errorf("%s after %s: %v, want %v", tc.cause, tc.after, got, tc.want)
		}
	}
}
