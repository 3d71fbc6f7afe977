package quota

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, budget := new(service), NewBudget()
		k := New("a", s, Terms{Rate: rate.Rate{Events: 1, Per: 2 * time.Second}}, budget, memory(), quiet())
		for range 3 {
			wantResult(t, k, reputation.ResultOK)
			wantSkip(t, k, reputation.ResultSkippedQuota, 2*time.Second)
		}
		wantResult(t, k, reputation.ResultOK)
		tenPerSecond := rate.Rate{Events: 10, Per: time.Second}
		faster, burst := New("a", s, Terms{Rate: tenPerSecond}, budget, memory(), quiet()), ledger.BurstOf(tenPerSecond)
		if got, until := ask(faster); got != reputation.ResultSkippedQuota || time.Until(until).Round(time.Millisecond) != 100*time.Millisecond {
			t.Errorf("%s for %s, want 100ms", got, time.Until(until))
		}
		time.Sleep(time.Hour)
		for range burst {
			wantResult(t, faster, reputation.ResultOK)
		}
		wantResult(t, faster, reputation.ResultSkippedQuota)
		if s.calls != 4+burst {
			t.Errorf("%d calls, want %d", s.calls, 4+burst)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	tests := map[string]struct{ asked, want time.Duration }{
		"seconds":           {30 * time.Second, 30 * time.Second},
		"hours":             {13*time.Hour + time.Second, 13*time.Hour + time.Second},
		"to the next month": {31 * 24 * time.Hour, 31 * 24 * time.Hour},
		"a year":            {365 * 24 * time.Hour, 32 * 24 * time.Hour},
		"not said":          {0, time.Minute},
		"negative":          {-time.Hour, time.Minute},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{err: &reputation.ThrottledError{RetryAfter: tt.asked}}
				k := New("a", s, Terms{}, NewBudget(), memory(), quiet())
				wantResult(t, k, reputation.ResultThrottled)
				if st := k.Status(); st.Up || time.Until(st.ThrottledUntil) != tt.want || st.Breaker != "closed" {
					t.Errorf("status %+v", st)
				}
				s.answers(nil)
				wantSkip(t, k, reputation.ResultSkippedBreaker, tt.want)
				wantResult(t, k, reputation.ResultOK)
				if st := k.Status(); !st.Up || s.calls != 2 {
					t.Errorf("status %+v after %d calls", st, s.calls)
				}
			})
		})
	}
}

func TestThrottledWithoutRetryAfterBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{err: &reputation.ThrottledError{}}
		k := New("a", s, Terms{}, NewBudget(), memory(), quiet())
		for _, minutes := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
			wantResult(t, k, reputation.ResultThrottled)
			wantSkip(t, k, reputation.ResultSkippedBreaker, time.Duration(minutes)*time.Minute)
		}
		if st := k.Status(); st.Breaker != "closed" {
			t.Errorf("eight pauses asked for have made the breaker %s", st.Breaker)
		}
		s.answers(reputation.ErrUnknown)
		wantResult(t, k, reputation.ResultNotFound)
		s.answers(&reputation.ThrottledError{})
		wantResult(t, k, reputation.ResultThrottled)
		wantSkip(t, k, reputation.ResultSkippedBreaker, time.Minute)
	})
}

func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said logtest.Log
		s, budget := &service{err: reputation.ErrRefused}, NewBudget()
		k := New("a", s, Terms{}, budget, memory(), Options{Logger: said.Logger()})
		old := "old-secret"
		wantRefused := func(key string, since time.Time, left time.Duration) {
			t.Helper()
			start, until := k.Refused(key)
			if !start.Equal(since) || left == 0 && !until.IsZero() || left > 0 && time.Until(until) != left {
				t.Errorf("%s is refused since %s, until %s; want since %s, for %s", key, start, until, since, left)
			}
		}
		first := time.Now()
		wantRefused("old-secret", time.Time{}, 0)
		for _, minutes := range []int{15, 30, 60, 120, 240, 480, 960, 1440, 1440} {
			if got, _ := askWith(old, k); got != reputation.ResultRefused {
				t.Fatal(got)
			}
			if got, until := askWith(old, k); got != reputation.ResultSkippedBreaker || time.Until(until) != time.Duration(minutes)*time.Minute {
				t.Fatalf("%s for %s, want %d minutes", got, time.Until(until), minutes)
			}
			if st := k.Status(); st.Up || st.RefusedUntil.IsZero() || st.Breaker != "closed" {
				t.Fatalf("status %+v", st)
			}
			wantRefused("old-secret", first, time.Duration(minutes)*time.Minute)
			wantRefused("another", time.Time{}, 0)
			time.Sleep(time.Duration(minutes) * time.Minute)
			wantRefused("old-secret", time.Time{}, 0) // it is to be tried
		}
		if n := strings.Count(said.String(), "level=WARN"); n != 9 || s.calls != 9 {
			t.Errorf("%d messages and %d calls for 9 steps", n, s.calls)
		}
		if strings.Contains(said.String(), "secret") {
			t.Errorf("the log has the key:\n%s", said.String())
		}

		askWith(old, k)
		s.answers(nil)
		if got, _ := askWith("new", k); got != reputation.ResultOK {
			t.Errorf("a new key: %s", got)
		}
		if !k.Status().Up {
			t.Error("not up although the key in use works")
		}
		if got, _ := askWith(old, k); got != reputation.ResultSkippedBreaker {
			t.Errorf("the old key: %s", got)
		}
	})
}

// A pause asked for of one account holds back no other: a reload with another key is the operator's way out of it.
func TestThrottledKeyAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pause = 24 * time.Hour
		s, budget := &service{err: &reputation.ThrottledError{RetryAfter: pause}}, NewBudget()
		spent := "spent"
		fresh := "fresh"
		before := New("a", s, Terms{}, budget, memory(), quiet())
		if got, _ := askWith(spent, before); got != reputation.ResultThrottled {
			t.Fatal(got)
		}

		s.answers(nil)
		after := New("a", s, Terms{}, budget, memory(), quiet())
		if got, until := askWith(fresh, after); got != reputation.ResultOK {
			t.Errorf("another key: %s for %s", got, time.Until(until))
		}
		if st := after.Status(); !st.Up || !st.ThrottledUntil.IsZero() {
			t.Errorf("not up although the key in use works: %+v", st)
		}
		if got, until := askWith(spent, before); got != reputation.ResultSkippedBreaker || time.Until(until) != pause {
			t.Errorf("the first key, after another's success: %s for %s", got, time.Until(until))
		}
	})
}

func TestPausedKeysAreBounded(t *testing.T) {
	for name, err := range map[string]error{"throttled": &reputation.ThrottledError{}, "refused": reputation.ErrRefused} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, budget := &service{err: err}, NewBudget()
				k := New("a", s, Terms{}, budget, memory(), quiet())
				const keys = 10 * maxKeys
				ask := func(i int) reputation.Result {
					got, _ := askWith(fmt.Sprint(i), k)
					return got
				}
				for i := range keys {
					ask(i)
					time.Sleep(time.Second)
				}
				if n := max(len(budget.throttled), len(budget.refused)); n != maxKeys {
					t.Errorf("%d keys remembered, want %d", n, maxKeys)
				}
				s.answers(nil)
				for i := keys - maxKeys; i < keys; i++ {
					if got := ask(i); got != reputation.ResultSkippedBreaker {
						t.Errorf("key %d of %d: %s, though it is among the latest %d", i, keys, got, maxKeys)
					}
				}
			})
		})
	}
}

// Calls side by side that are answered alike are one step of a pause, not several.
func TestPausesGrowOncePerMoment(t *testing.T) {
	for name, err := range map[string]error{"throttled": &reputation.ThrottledError{}, "refused": reputation.ErrRefused} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := providerFunc(func(context.Context, reputation.Query) (reputation.Report, error) {
					time.Sleep(time.Millisecond)
					return reputation.Report{}, err
				})
				k := New("a", p, Terms{Concurrency: 10}, NewBudget(), memory(), quiet())
				var wg sync.WaitGroup
				for range 10 {
					wg.Go(func() { ask(k) })
				}
				wg.Wait()
				st := k.Status()
				if d := max(time.Until(st.ThrottledUntil), time.Until(st.RefusedUntil)); d > refusedPauses.First {
					t.Errorf("ten calls made a pause of %s", d)
				}
			})
		})
	}
}

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said logtest.Log
		s := &service{err: errDown}
		k := New("a", s, Terms{}, NewBudget(), memory(), Options{Logger: said.Logger()})
		for range breakerConsecutive { // Two minutes apart, as calls within a small quota are.
			time.Sleep(2 * time.Minute)
			wantResult(t, k, reputation.ResultError)
		}
		for _, base := range []time.Duration{30, 60, 120, 240, 480, 600, 600} {
			base *= time.Second
			st := k.Status()
			pause := time.Until(st.OpenUntil)
			if st.Breaker != "open" || st.Up || pause < base*8/10 || pause > min(base*12/10, breakerPauses.Most) {
				t.Fatalf("%s for %s, want open for about %s", st.Breaker, pause, base)
			}
			wantSkip(t, k, reputation.ResultSkippedBreaker, pause)
			if st := k.Status(); st.Breaker != "half-open" || st.Up {
				t.Fatalf("%s after the pause, want half-open", st.Breaker)
			}
			wantResult(t, k, reputation.ResultError)
		}
		time.Sleep(breakerPauses.Most)
		s.answers(reputation.ErrUnknown)
		wantResult(t, k, reputation.ResultNotFound)
		if st := k.Status(); st.Breaker != "closed" || !st.Up {
			t.Errorf("%s after a success, want closed", st.Breaker)
		}
		if n := strings.Count(said.String(), "answers again"); n != 1 {
			t.Errorf("the recovery was logged %d times", n)
		}
		s.answers(errDown)
		for range breakerConsecutive {
			wantResult(t, k, reputation.ResultError)
		}
		if pause := time.Until(k.Status().OpenUntil); pause > 36*time.Second {
			t.Errorf("the first pause after a recovery is %s", pause)
		}
	})
}

func TestWhatOpensTheBreaker(t *testing.T) {
	ok, bad := error(nil), errDown
	repeat := func(n int, errs ...error) (list []error) {
		for range n {
			list = append(list, errs...)
		}
		return list
	}
	tests := map[string]struct {
		errs  []error
		apart time.Duration
		want  string
	}{
		"four failures":                   {repeat(4, bad), 0, "closed"},
		"five failures":                   {repeat(5, bad), 0, "open"},
		"five timeouts":                   {repeat(5, context.DeadlineExceeded), 0, "open"},
		"five bad answers":                {repeat(5, reputation.ErrBadAnswer), 0, "open"},
		"a success between":               {append(repeat(4, bad), ok, bad), 0, "closed"},
		"an unknown address between":      {append(repeat(4, bad), reputation.ErrUnknown, bad), 0, "closed"},
		"an unsupported address between":  {append(repeat(4, bad), reputation.ErrUnsupported, bad), 0, "open"},
		"a pause asked for between":       {append(repeat(4, bad), &reputation.ThrottledError{RetryAfter: 1}, bad), 1, "open"},
		"unknown addresses":               {repeat(50, reputation.ErrUnknown), 0, "closed"},
		"unsupported addresses":           {repeat(50, reputation.ErrUnsupported), 0, "closed"},
		"half of twenty within a minute":  {repeat(10, ok, bad), time.Second, "open"},
		"half of nineteen":                {append(repeat(9, bad, ok), bad), time.Second, "closed"},
		"a third of a hundred":            {repeat(33, bad, ok, ok), time.Second, "closed"},
		"half of fifty in fifty minutes":  {repeat(25, ok, bad), time.Minute, "closed"},
		"half of twenty, after successes": {append(repeat(60, ok), repeat(10, ok, bad)...), 100 * time.Millisecond, "closed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := new(service)
				k := New("a", s, Terms{}, NewBudget(), memory(), quiet())
				for _, err := range tt.errs {
					s.answers(err)
					if got, _ := ask(k); got == reputation.ResultSkippedBreaker {
						t.Fatalf("open after %d calls of %d", s.calls, len(tt.errs))
					}
					time.Sleep(tt.apart)
				}
				if got := k.Status().Breaker; got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
			})
		})
	}
}

func TestHalfOpenLetsOneTrialThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		err := errDown
		p := providerFunc(func(context.Context, reputation.Query) (reputation.Report, error) {
			calls.Add(1)
			time.Sleep(time.Second)
			return reputation.Report{}, err
		})
		k := New("a", p, Terms{Concurrency: 100}, NewBudget(), memory(), quiet())
		for range breakerConsecutive {
			ask(k)
		}
		time.Sleep(breakerPauses.Most)
		calls.Store(0)
		err = nil
		var ok, skipped atomic.Int32
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				switch got, until := ask(k); {
				case got == reputation.ResultOK:
					ok.Add(1)
				case got == reputation.ResultSkippedBreaker && !until.IsZero():
					skipped.Add(1)
				}
			})
		}
		wg.Wait()
		if calls.Load() != 1 || ok.Load() != 1 || skipped.Load() != 99 {
			t.Errorf("%d calls, %d ok, %d skipped; want 1, 1, 99", calls.Load(), ok.Load(), skipped.Load())
		}
	})
}

// A trial that says nothing about the service leaves the next caller the trial.
func TestTrialWithoutEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{err: errDown}
		k := New("a", s, Terms{}, NewBudget(), memory(), quiet())
		for range breakerConsecutive {
			ask(k)
		}
		time.Sleep(breakerPauses.Most)
		s.answers(reputation.ErrUnsupported)
		wantResult(t, k, reputation.ResultNotFound)
		if got := k.Status().Breaker; got != "half-open" {
			t.Errorf("%s after a trial that made no request", got)
		}
		s.answers(nil)
		wantResult(t, k, reputation.ResultOK)
		if got := k.Status().Breaker; got != "closed" {
			t.Errorf("%s after a good trial", got)
		}
	})
}
