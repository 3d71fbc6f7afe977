package ban

import (
	"testing"
	"time"
)

func TestBurst(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		offenders, clients int
		share              float64
		want               bool
	}{
		"few, of hardly any":     {49, 49, 0.1, false},
		"some, of few":           {50, 499, 0.1, true},
		"some, of many":          {50, 500, 0.1, false},
		"many, of many":          {1001, 10_000, 0.1, true},
		"many, of more":          {1000, 10_000, 0.1, false},
		"another share":          {1001, 10_000, 0.25, false},
		"never":                  {10_000, 10_000, 1, false},
		"more than were counted": {10_000, 0, 0.1, true},
	} {
		var b Burst
		if burst, changed := b.Look(tc.offenders, tc.clients, tc.share, now); burst != tc.want || changed != tc.want {
			t.Errorf("%s: %v, %v", name, burst, changed)
		}
	}

	var b Burst
	for _, step := range []struct {
		after          time.Duration
		offenders      int
		burst, changed bool
	}{
		{0, 100, true, true}, {time.Minute, 100, true, false}, {2 * time.Minute, 0, true, false},
		{15 * time.Minute, 0, true, false}, {15*time.Minute + time.Second, 100, true, false}, {16 * time.Minute, 0, true, false},
		{30*time.Minute + time.Second, 0, false, true}, {31 * time.Minute, 0, false, false}, {32 * time.Minute, 100, true, true},
	} {
		if burst, changed := b.Look(step.offenders, 100, 0.1, now.Add(step.after)); burst != step.burst || changed != step.changed {
			t.Errorf("after %s: %v, %v", step.after, burst, changed)
		}
	}
	if got := b.since; !got.Equal(now.Add(32 * time.Minute)) {
		t.Errorf("since %s", got)
	}
}
