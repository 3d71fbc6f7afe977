package throttle

import (
	"testing"
	"time"
)

func TestAllow(t *testing.T) {
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
		if got := causes.Allow(tc.cause, start.Add(tc.after)); got != tc.want {
			t.Errorf("%s after %s: %v, want %v", tc.cause, tc.after, got, tc.want)
		}
	}
}

// TestBounded proves that causes without end take a bounded memory, and are logged.
func TestBounded(t *testing.T) {
	var causes Causes[int]
	now := time.Now()
	for cause := range 10 * maxCauses {
		if !causes.Allow(cause, now) {
			t.Errorf("cause %d is held back", cause)
		}
		if causes.Allow(cause, now) {
			t.Errorf("cause %d is logged twice", cause)
		}
		if len(causes.logged) > maxCauses {
			t.Fatalf("%d causes are remembered", len(causes.logged))
		}
	}
}
