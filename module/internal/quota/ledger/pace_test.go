package ledger

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The time that a refusal names is the first at which there is a call again.
func TestReleasedAt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{Burst: rapid.Float64Range(0, 1).Draw(t, "burst")}
		w := Window{rapid.IntRange(1, MaxLimit).Draw(t, "limit"), Period(rapid.IntRange(0, NumPeriods-1).Draw(t, "period"))}
		start := w.Period.Start(time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "time"), 0))
		n := rapid.IntRange(1, w.Limit).Draw(t, "calls")
		at := limits.releasedAt(w, start, n)
		if got := limits.Released(w, start, at); got < n {
			t.Fatalf("at %s there are %d calls, want %d", at, got, n)
		}
		if before := at.Add(-3 * time.Microsecond); before.After(start) && limits.Released(w, start, before) > n+w.Limit/1e6 {
			t.Fatalf("before %s there were more", at)
		}
		if got := limits.Released(w, start, w.Period.End(start)); got != w.Limit {
			t.Fatalf("%d of %d calls in all", got, w.Limit)
		}
	})
}

// The pace is that of all instances together, and what one of them knows keeps it from asking the store.
func TestInstancesShareThePace(t *testing.T) {
	at := mustTime(t, "2026-11-30T12:00:00Z")
	limits := Limits{Windows: []Window{{1000, Day}}, Burst: .1}
	p := newPair(t, .5, func() time.Time { return at })
	granted := 0
	for i := range 2000 {
		if p.take(i%2, limits, 1, at).Granted {
			granted++
		}
	}
	if granted != 550 {
		t.Errorf("%d calls by noon, want 100 and half of the rest", granted)
	}
	p.links[0].state = cut
	if p.take(0, limits, 1, at).Granted {
		t.Error("a call was granted without the store, though none is left")
	}
	later := at.Add(2 * time.Hour) // 75 more
	for range 100 {
		if p.take(0, limits, 1, later).Granted {
			granted++
		}
	}
	if granted != 550+37 {
		t.Errorf("%d calls without the store, want its half of what has become available", granted-550)
	}
}
