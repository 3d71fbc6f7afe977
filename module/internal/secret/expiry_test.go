package secret

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestStageOf(t *testing.T) {
	tests := map[time.Duration]Stage{
		1<<63 - 1: StageNone, 30*day + 1: StageNone,
		30 * day: StageMonth, 7*day + 1: StageMonth,
		7 * day: StageWeek, day + 1: StageWeek,
		day: StageDay, 1: StageDay,
		0: StagePast, -1: StagePast, -1 << 63: StagePast,
	}
	for left, want := range tests {
		if got := StageOf(left); got != want {
			t.Errorf("%s left is stage %d, want %d", left, got, want)
		}
	}
}

func TestDue(t *testing.T) {
	now := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration, s Stage) Reminder { return Reminder{now.Add(-d), s} }
	tests := map[string]struct {
		expires time.Time
		last    Reminder
		want    bool
	}{
		"no end is known":                        {time.Time{}, Reminder{}, false},
		"31 days left":                           {now.Add(31 * day), Reminder{}, false},
		"31 days left, told in error":            {now.Add(31 * day), ago(day, StagePast), false},
		"30 days left, never told":               {now.Add(30 * day), Reminder{}, true},
		"12 days left, told an hour ago":         {now.Add(12 * day), ago(time.Hour, StageMonth), false},
		"12 days left, told yesterday":           {now.Add(12 * day), ago(day, StageMonth), true},
		"12 days left, a look less than a day":   {now.Add(12 * day), ago(day-time.Hour, StageMonth), false},
		"12 days left, the timer was early":      {now.Add(12 * day), ago(day-time.Second, StageMonth), true},
		"7 days left, told an hour ago":          {now.Add(7 * day), ago(time.Hour, StageMonth), true},
		"7 days left, told so an hour ago":       {now.Add(7 * day), ago(time.Hour, StageWeek), false},
		"1 day left, told an hour ago":           {now.Add(day), ago(time.Hour, StageWeek), true},
		"the end, told an hour ago":              {now, ago(time.Hour, StageDay), true},
		"past, told so an hour ago":              {now.Add(-time.Hour), ago(time.Hour, StagePast), false},
		"long past, told so yesterday":           {now.Add(-100 * day), ago(day, StagePast), true},
		"the end was moved away an hour ago":     {now.Add(12 * day), ago(time.Hour, StagePast), false},
		"the end was moved away yesterday":       {now.Add(12 * day), ago(day, StagePast), true},
		"the clock was a year ahead when told":   {now.Add(12 * day), ago(-365*day, StagePast), true},
		"the clock was a year behind since then": {now.Add(12 * day), ago(365*day, StageMonth), true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Due(now, tt.expires, tt.last); got != tt.want {
				t.Error(got)
			}
		})
	}
}

// An end that does not move: every day is told, every stage within a look of its beginning.
func TestDueProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
		expires := now.Add(time.Duration(rapid.Int64Range(int64(-10*day), int64(60*day)).Draw(t, "left")))
		var last Reminder
		reached := map[Stage]bool{}
		for range 80 * 24 {
			left := expires.Sub(now)
			stage := StageOf(left)
			due := Due(now, expires, last)
			switch {
			case due && left > 30*day:
				t.Fatalf("told %s before the end", left)
			case due && stage == last.Stage && now.Sub(last.At) < reminderPause:
				t.Fatalf("told twice within %s", now.Sub(last.At))
			case !due && stage != StageNone && !reached[stage]:
				t.Fatalf("not told that %s are left", left)
			case !due && stage != StageNone && now.Sub(last.At) >= day:
				t.Fatalf("not told for %s", now.Sub(last.At))
			}
			if due {
				last, reached[stage] = Reminder{now, stage}, true
			}
			now = now.Add(checkInterval)
		}
	})
}

// An end that moves with every look, and a clock that is set to and fro: within a day each stage is told once at the most.
func TestEachStageIsToldOnceADay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		began := time.Now()
		var e Expiry
		told := map[Stage][]time.Duration{}
		for hour := range rapid.IntRange(1, 200).Draw(t, "hours") {
			elapsed := time.Duration(hour) * checkInterval
			now := began.Add(elapsed) // With the monotonic reading, which the wall clock does not change.
			left := time.Duration(rapid.Int64Range(int64(-40*day), int64(40*day)).Draw(t, "left"))
			e.check(now, []Status{{Name: "a", Expires: now.Add(left)}}, func(_ Status, got time.Duration) {
				if got != left {
					t.Fatalf("%s left, want %s", got, left)
				}
				told[StageOf(left)] = append(told[StageOf(left)], elapsed)
			})
		}
		for stage, list := range told {
			for i := 1; i < len(list); i++ {
				if pause := list[i] - list[i-1]; stage == StageNone || pause < reminderPause {
					t.Fatalf("stage %d was told again after %s", stage, pause)
				}
			}
		}
	})
}

type telling struct {
	Name string
	Hour int
	Left time.Duration
}

// watch runs Watch for some time and returns what was said when.
func watch(t *testing.T, e *Expiry, during time.Duration, list func() []Status) (said []telling) {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), during)
	defer cancel()
	e.Watch(ctx, list, func(s Status, left time.Duration) {
		said = append(said, telling{s.Name, int(time.Since(began).Hours()), left})
	})
	if took := time.Since(began); took != during {
		t.Errorf("Watch returned after %s, ctx ended after %s", took, during)
	}
	return said
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e Expiry
		expires := time.Now().Add(8*day + 5*time.Hour)
		said := watch(t, &e, 10*day-time.Minute, func() []Status {
			return []Status{{Name: "none"}, {Name: "far", Expires: expires.Add(100 * day)}, {Name: "near", Expires: expires}}
		})
		var want []telling
		for _, hour := range []int{0, 24, 29, 53, 77, 101, 125, 149, 173, 197, 221} {
			want = append(want, telling{"near", hour, expires.Sub(time.Now().Add(time.Minute-10*day)) - time.Duration(hour)*time.Hour})
		}
		if diff := cmp.Diff(want, said); diff != "" {
			t.Error("at the beginning, each day, and when seven days, one and none are left:", diff)
		}
		if n := len(e.sent); n != 1 {
			t.Errorf("%d secrets are remembered, of which one was told", n)
		}
	})
}

func TestWatchAfterAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e Expiry
		expires := time.Now().Add(20 * day)
		list := func() []Status {
			return []Status{{Name: "a", Source: "1", Expires: expires}, {Name: "a", Source: "2", Expires: expires}, {Name: "b", Expires: expires}}
		}
		for i := range 100 {
			said := watch(t, &e, time.Minute, list)
			if want := []int{3, 0}[min(i, 1)]; len(said) != want {
				t.Errorf("after %d reloads %d are told, want %d", i, len(said), want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		new(Expiry).Watch(ctx, list, func(Status, time.Duration) { t.Error("told after the end") })
	})
}

func TestWatchForgetsWhatIsNoLongerThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e Expiry
		n := 0
		watch(t, &e, 20*day, func() []Status {
			n++
			return []Status{{Name: fmt.Sprint(n), Expires: time.Now().Add(day)}}
		})
		if got := len(e.sent); got > 24 {
			t.Errorf("%d of %d secrets are remembered after each was seen once", got, n)
		}
	})
}

func TestALeaseIsToldWhenItHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e Expiry
		stops := time.Now().Add(5 * day) // When the store goes away, and the lease is no longer renewed.
		said := watch(t, &e, 7*day-time.Minute, func() []Status {
			renewed := time.Now()
			if renewed.After(stops) {
				renewed = stops
			}
			return []Status{{Name: "lease", Expires: renewed.Add(3 * time.Hour), Lease: true}}
		})
		hours := []int{}
		for _, s := range said {
			hours = append(hours, s.Hour)
		}
		if !slices.Equal(hours, []int{5*24 + 3, 6*24 + 3}) {
			t.Errorf("told after %v hours", hours)
		}
	})
}
