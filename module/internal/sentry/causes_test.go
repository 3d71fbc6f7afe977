package sentry

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestACauseIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCauses()
		want := func(when string, leftOut int, ok bool) {
			t.Helper()
			if gotLeft, got := c.admit("a", time.Now()); got != ok || gotLeft != leftOut {
				t.Errorf("%s: %d left out, %t, want %d, %t", when, gotLeft, got, leftOut, ok)
			}
		}
		want("at first", 0, true)
		want("at once again", 0, false)
		want("and again", 0, false)
		time.Sleep(causeInterval - time.Second)
		want("nearly over", 0, false)
		time.Sleep(time.Second)
		want("over", 3, true)
		c.restore("a", 3, time.Now())
		want("after it got lost", 0, false)
		time.Sleep(retryInterval)
		want("a minute later", 5, true)
		time.Sleep(causeInterval)
		want("after a quiet time", 0, true)
	})
}

// TestTheTotalIsBounded proves that no minute has more reports than promised, however many causes there are, and that they are
// not all remembered.
func TestTheTotalIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCauses()
		for minute := range 60 {
			n := 0
			for second := range 60 {
				for i := range 50 {
					if _, ok := c.admit(fmt.Sprint(minute, second, i), time.Now()); ok {
						n++
					}
				}
				time.Sleep(time.Second)
			}
			if n > burst+perMinute || n < perMinute-1 {
				t.Errorf("%d reports in minute %d, want %d to %d", n, minute, perMinute, burst+perMinute)
			}
			if len(c.known) > maxCauses {
				t.Fatalf("%d causes are remembered, want at most %d", len(c.known), maxCauses)
			}
		}
	})
}

// TestNoneIsForgotten proves for any course of entries that what was left out is told with the next report of its cause.
func TestNoneIsForgotten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCauses()
		now := time.Unix(1_800_000_000, 0)
		seen, told, lost := map[string]int{}, map[string]int{}, map[string]int{}
		known := map[string]bool{}
		for range rapid.IntRange(1, 300).Draw(t, "entries") {
			now = now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "seconds")) * time.Second)
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "cause")
			leftOut, ok := c.admit(name, now)
			if !ok && !known[name] {
				continue // the total was used up
			}
			known[name] = true
			seen[name]++
			if !ok {
				continue
			}
			if rapid.Bool().Draw(t, "lost") {
				c.restore(name, leftOut, now)
				continue
			}
			told[name] += leftOut + 1
		}
		for name, n := range seen {
			if pending := c.known[name].leftOut; told[name]+pending != n {
				t.Fatalf("%s: %d entries, %d told, %d to be told, %v", name, n, told[name], pending, lost)
			}
		}
	})
}

func TestFingerprintsNameTheCause(t *testing.T) {
	print := func(message string, attrs ...slog.Attr) string {
		e := Entry{Logger: "l", Message: message, Attrs: attrs}
		return causeName(fingerprint(e, flatten(nil, "", attrs), nil))
	}
	for name, pair := range map[string][2]string{
		"addresses": {print("dial tcp 192.0.2.1:443: connection refused"), print("dial tcp 192.0.2.2:8443: connection refused")},
		"IPv6":      {print("dial tcp [2001:db8::1]:443: refused"), print("dial tcp [2001:db8::beef]:80: refused")},
		"errors":    {print("m", slog.String("error", "a")), print("m", slog.String("error", "b"))},
		"ids":       {print("{id=abcdefgh} failed"), print("{id=ijklmnop} failed")},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s make two causes: %q, %q", name, pair[0], pair[1])
		}
	}
	for name, pair := range map[string][2]string{
		"messages":  {print("one"), print("two")},
		"providers": {print("m", slog.String("provider", "a1")), print("m", slog.String("provider", "a2"))},
		"work":      {print("m", slog.String("work", "a")), print("m", slog.String("work", "b"))},
		"map":       {print("m", slog.String("map", "bans")), print("m", slog.String("map", "forgets"))},
	} {
		if pair[0] == pair[1] {
			t.Errorf("two %s make one cause: %q", name, pair[0])
		}
	}
}
