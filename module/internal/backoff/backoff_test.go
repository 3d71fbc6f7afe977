package backoff

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPause(t *testing.T) {
	usual := Policy{First: time.Second, Most: 30 * time.Second}
	for _, tc := range []struct {
		name     string
		policy   Policy
		failures int
		want     time.Duration
	}{
		{"no failure", usual, 0, 0},
		{"fewer than none", usual, -1, 0},
		{"the first", usual, 1, time.Second},
		{"the second", usual, 2, 2 * time.Second},
		{"the fifth", usual, 5, 16 * time.Second},
		{"the longest", usual, 6, 30 * time.Second},
		{"for ever", usual, math.MaxInt, 30 * time.Second},
		{"exactly the longest", Policy{First: time.Second, Most: 2 * time.Second}, 2, 2 * time.Second},
		{"half of the longest, rounded down", Policy{First: 1, Most: 3}, 2, 2},
		{"the longest is odd", Policy{First: 1, Most: 3}, 3, 3},
		{"the first is too long", Policy{First: time.Minute, Most: time.Second}, 1, time.Second},
		{"the longest that there is", Policy{First: 1, Most: math.MaxInt64}, 1000, math.MaxInt64},
		{"the zero value", Policy{}, 3, 0},
		{"no first", Policy{Most: time.Second}, 1, 0},
		{"negative", Policy{First: -1, Most: -1}, 3, 0},
	} {
		if got := tc.policy.Pause(tc.failures); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestPauseGrows proves, for any policy, what callers count on: the first pause is First, each is twice the one before
// until Most, and none is longer.
func TestPauseGrows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Policy{
			First: time.Duration(rapid.Int64Range(1, math.MaxInt64).Draw(t, "first")),
			Most:  time.Duration(rapid.Int64Range(1, math.MaxInt64).Draw(t, "most")),
		}
		if got := p.Pause(1); got != min(p.First, p.Most) {
			t.Fatalf("the first pause is %d", got)
		}
		failures := rapid.IntRange(1, 100).Draw(t, "failures")
		before, after := p.Pause(failures), p.Pause(failures+1)
		if want := before + min(before, p.Most-before); after != want {
			t.Fatalf("%d follows %d, want %d", after, before, want)
		}
	})
}

func TestJitter(t *testing.T) {
	for _, tc := range []struct {
		chance, least, most float64
		want                time.Duration
	}{
		{0, 0.8, 1.2, 8 * time.Second},
		{0.5, 0.8, 1.2, 10 * time.Second},
		{1, 0.8, 1.2, 12 * time.Second},
		{0, 1, 1.25, 10 * time.Second},
		{1, 1, 1.25, 12500 * time.Millisecond},
		{0.3, 1, 1, 10 * time.Second},
	} {
		if got := jitter(10*time.Second, tc.least, tc.most, tc.chance); got.Round(time.Millisecond) != tc.want {
			t.Errorf("%v of %v to %v: %s, want %s", tc.chance, tc.least, tc.most, got, tc.want)
		}
	}
	seen := make(map[time.Duration]bool)
	for range 100 {
		got := Jitter(time.Hour, 0.9, 1.1)
		if got < 54*time.Minute || got > 66*time.Minute {
			t.Fatalf("%s is out of range", got)
		}
		seen[got] = true
	}
	if len(seen) < 2 {
		t.Error("nothing is left to chance")
	}
}
