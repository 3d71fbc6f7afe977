package quota

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

var errDown = errors.New("connection refused")

// ask makes one call and returns its result and, if it was skipped, until when.
func ask(k *Keeper) (reputation.Result, time.Time) {
	return askWith(context.Background(), k)
}

func askWith(ctx context.Context, k *Keeper) (reputation.Result, time.Time) {
	_, err := k.Check(ctx, addr4)
	var skipped *reputation.SkippedError
	if errors.As(err, &skipped) {
		return skipped.Result, skipped.Until
	}
	return reputation.ResultOf(err), time.Time{}
}

func wantResult(t testing.TB, k *Keeper, want reputation.Result) {
	t.Helper()
	if got, until := ask(k); got != want {
		t.Fatalf("at %s: %s (until %s), want %s", time.Now().UTC(), got, until, want)
	}
}

// wantSkip wants a call to be skipped for another d, and sleeps until just then.
func wantSkip(t testing.TB, k *Keeper, want reputation.Result, d time.Duration) {
	t.Helper()
	got, until := ask(k)
	if got != want || time.Until(until) != d {
		t.Fatalf("at %s: %s for another %s, want %s for %s", time.Now().UTC(), got, time.Until(until), want, d)
	}
	time.Sleep(d - 1)
	if got, _ := ask(k); got != want {
		t.Fatalf("just before the end of %s: %s, want %s", d, got, want)
	}
	time.Sleep(1)
}

func TestAnswersPassThrough(t *testing.T) {
	tests := map[string]error{
		"report":      nil,
		"unknown":     reputation.ErrUnknown,
		"unsupported": fmt.Errorf("asked for IPv6: %w", reputation.ErrUnsupported),
		"refused":     reputation.ErrRefused,
		"throttled":   &reputation.ThrottledError{RetryAfter: time.Minute},
		"bad answer":  reputation.ErrBadAnswer,
		"error":       errDown,
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			k := New("a", &service{err: want}, Terms{}, NewBudget(), memory(), quiet())
			report, err := k.Check(context.Background(), addr4)
			if !errors.Is(err, want) {
				t.Errorf("error %v, want %v", err, want)
			}
			if got := report.Severity == 1; got != (want == nil) {
				t.Errorf("report %+v with error %v", report, err)
			}
		})
	}
}

func TestContextReachesTheProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := providerFunc(func(ctx context.Context, addr netip.Addr) (reputation.Report, error) {
			deadline, _ := ctx.Deadline()
			if reputation.Key(ctx) != "secret" || addr != addr6 || time.Until(deadline) != 3*time.Second {
				t.Errorf("key %q, address %s, deadline in %s", reputation.Key(ctx), addr, time.Until(deadline))
			}
			return reputation.Report{}, nil
		})
		k := New("a", p, Terms{Timeout: 3 * time.Second}, NewBudget(), memory(), quiet())
		if _, err := k.Check(reputation.WithKey(context.Background(), "secret"), addr6); err != nil {
			t.Fatal(err)
		}
	})
}

func TestQuotaWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(58*24*time.Hour + 12*time.Hour) // 2000-02-28T12:00:00Z, a leap year.
		s := new(service)
		k := New("a", s, Terms{Windows: []Window{{2, Day}, {5, Month}}}, NewBudget(), memory(), quiet())
		wantResult(t, k, reputation.ResultOK)
		wantResult(t, k, reputation.ResultOK)
		wantSkip(t, k, reputation.ResultSkippedQuota, 12*time.Hour) // to the leap day
		wantResult(t, k, reputation.ResultOK)
		wantResult(t, k, reputation.ResultOK)
		wantSkip(t, k, reputation.ResultSkippedQuota, 24*time.Hour) // to March: both windows
		for range 2 {
			wantResult(t, k, reputation.ResultOK)
			wantResult(t, k, reputation.ResultOK)
			wantSkip(t, k, reputation.ResultSkippedQuota, 24*time.Hour)
		}
		wantResult(t, k, reputation.ResultOK)
		wantSkip(t, k, reputation.ResultSkippedQuota, 29*24*time.Hour) // March has 31 days
		wantResult(t, k, reputation.ResultOK)
		if s.calls != 10 {
			t.Errorf("%d calls, want 10", s.calls)
		}
	})
}

func TestQuotaSurvivesReloadAndRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "quotas.json")
		ledger, budget := OpenLocal(path, slog.Default()), NewBudget()
		terms := Terms{Windows: []Window{{2, Day}}}
		wantResult(t, New("a", new(service), terms, budget, ledger, quiet()), reputation.ResultOK)
		reloaded := New("a", new(service), terms, budget, ledger, quiet())
		wantResult(t, reloaded, reputation.ResultOK)
		wantResult(t, reloaded, reputation.ResultSkippedQuota)
		if err := ledger.Close(); err != nil {
			t.Fatal(err)
		}
		restarted := New("a", new(service), terms, NewBudget(), OpenLocal(path, slog.Default()), quiet())
		wantResult(t, restarted, reputation.ResultSkippedQuota)
		raised := New("a", new(service), Terms{Windows: []Window{{3, Day}}}, budget, ledger, quiet())
		wantResult(t, raised, reputation.ResultOK)
		wantResult(t, raised, reputation.ResultSkippedQuota)
	})
}

func TestCallsNotMadeAreGivenBack(t *testing.T) {
	tests := map[string]struct {
		err  error
		used int
	}{
		"unsupported":          {reputation.ErrUnsupported, 0},
		"skipped further down": {&reputation.SkippedError{Result: reputation.ResultSkippedBreaker}, 0},
		"unknown":              {reputation.ErrUnknown, 1},
		"connection refused":   {errDown, 1},
		"throttled":            {&reputation.ThrottledError{}, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := New("a", &service{err: tt.err}, Terms{Windows: []Window{{1, Day}, {9, Month}}}, NewBudget(), memory(), quiet())
				ask(k)
				for _, w := range k.Status(t.Context()).Windows {
					if w.Used != tt.used || w.Remaining() != w.Limit-tt.used {
						t.Errorf("%s: used %d, remaining %d, want %d used", w.Window, w.Used, w.Remaining(), tt.used)
					}
				}
			})
		})
	}
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, budget := new(service), NewBudget()
		k := New("a", s, Terms{Rate: Rate{1, 2 * time.Second}}, budget, memory(), quiet())
		for range 3 {
			wantResult(t, k, reputation.ResultOK)
			wantSkip(t, k, reputation.ResultSkippedQuota, 2*time.Second)
		}
		wantResult(t, k, reputation.ResultOK)
		faster := New("a", s, Terms{Rate: Rate{10, time.Second}}, budget, memory(), quiet())
		if got, until := ask(faster); got != reputation.ResultSkippedQuota || time.Until(until).Round(time.Millisecond) != 100*time.Millisecond {
			t.Errorf("%s for %s, want 100ms", got, time.Until(until))
		}
		time.Sleep(time.Hour)
		for range maxBurst {
			wantResult(t, faster, reputation.ResultOK)
		}
		wantResult(t, faster, reputation.ResultSkippedQuota)
		if s.calls != 4+maxBurst {
			t.Errorf("%d calls, want %d", s.calls, 4+maxBurst)
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
				if st := k.Status(t.Context()); st.Up || time.Until(st.ThrottledUntil) != tt.want || st.Breaker != "closed" {
					t.Errorf("status %+v", st)
				}
				s.answers(nil)
				wantSkip(t, k, reputation.ResultSkippedBreaker, tt.want)
				wantResult(t, k, reputation.ResultOK)
				if st := k.Status(t.Context()); !st.Up || s.calls != 2 {
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
		if st := k.Status(t.Context()); st.Breaker != "closed" {
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
		var said logs
		s, budget := &service{err: reputation.ErrRefused}, NewBudget()
		k := New("a", s, Terms{}, budget, memory(), Options{Logger: said.logger()})
		old := reputation.WithKey(context.Background(), "old-secret")
		for _, minutes := range []int{15, 30, 60, 120, 240, 480, 960, 1440, 1440} {
			if got, _ := askWith(old, k); got != reputation.ResultRefused {
				t.Fatal(got)
			}
			if got, until := askWith(old, k); got != reputation.ResultSkippedBreaker || time.Until(until) != time.Duration(minutes)*time.Minute {
				t.Fatalf("%s for %s, want %d minutes", got, time.Until(until), minutes)
			}
			if st := k.Status(t.Context()); st.Up || st.RefusedUntil.IsZero() || st.Breaker != "closed" {
				t.Fatalf("status %+v", st)
			}
			time.Sleep(time.Duration(minutes) * time.Minute)
		}
		if n := strings.Count(said.String(), "level=ERROR"); n != 9 || s.calls != 9 {
			t.Errorf("%d messages and %d calls for 9 steps", n, s.calls)
		}
		if strings.Contains(said.String(), "secret") {
			t.Errorf("the log has the key:\n%s", said.String())
		}

		askWith(old, k)
		s.answers(nil)
		if got, _ := askWith(reputation.WithKey(context.Background(), "new"), k); got != reputation.ResultOK {
			t.Errorf("a new key: %s", got)
		}
		if !k.Status(t.Context()).Up || budget.RefusedUntil("new") != (time.Time{}) {
			t.Error("not up although the key in use works")
		}
		if got, _ := askWith(old, k); got != reputation.ResultSkippedBreaker || budget.RefusedUntil("old-secret").IsZero() {
			t.Errorf("the old key: %s", got)
		}
		budget.KeyChanged()
		if got, _ := askWith(old, k); got != reputation.ResultOK {
			t.Errorf("after KeyChanged: %s", got)
		}
	})
}

func TestRefusedKeysAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := NewBudget()
		k := New("a", &service{err: reputation.ErrRefused}, Terms{}, budget, memory(), quiet())
		for i := range 10 * maxRefused {
			askWith(reputation.WithKey(context.Background(), fmt.Sprint(i)), k)
			time.Sleep(time.Second)
		}
		if len(budget.refused) != maxRefused || budget.RefusedUntil(fmt.Sprint(10*maxRefused-1)).IsZero() {
			t.Errorf("%d keys remembered, want the latest %d", len(budget.refused), maxRefused)
		}
	})
}

// Calls side by side that are answered alike are one step of a pause, not several.
func TestPausesGrowOncePerMoment(t *testing.T) {
	for name, err := range map[string]error{"throttled": &reputation.ThrottledError{}, "refused": reputation.ErrRefused} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := providerFunc(func(context.Context, netip.Addr) (reputation.Report, error) {
					time.Sleep(time.Millisecond)
					return reputation.Report{}, err
				})
				k := New("a", p, Terms{Concurrency: 10}, NewBudget(), memory(), quiet())
				var wg sync.WaitGroup
				for range 10 {
					wg.Go(func() { ask(k) })
				}
				wg.Wait()
				st := k.Status(t.Context())
				if d := max(time.Until(st.ThrottledUntil), time.Until(st.RefusedUntil)); d > refusedFirst {
					t.Errorf("ten calls made a pause of %s", d)
				}
			})
		})
	}
}

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said logs
		s := &service{err: errDown}
		k := New("a", s, Terms{}, NewBudget(), memory(), Options{Logger: said.logger()})
		for range breakerConsecutive { // Two minutes apart, as calls within a small quota are.
			time.Sleep(2 * time.Minute)
			wantResult(t, k, reputation.ResultError)
		}
		for _, base := range []time.Duration{30, 60, 120, 240, 480, 600, 600} {
			base *= time.Second
			st := k.Status(t.Context())
			pause := time.Until(st.OpenUntil)
			if st.Breaker != "open" || st.Up || pause < base*8/10 || pause > min(base*12/10, breakerMost) {
				t.Fatalf("%s for %s, want open for about %s", st.Breaker, pause, base)
			}
			wantSkip(t, k, reputation.ResultSkippedBreaker, pause)
			if st := k.Status(t.Context()); st.Breaker != "half-open" || st.Up {
				t.Fatalf("%s after the pause, want half-open", st.Breaker)
			}
			wantResult(t, k, reputation.ResultError)
		}
		time.Sleep(breakerMost)
		s.answers(reputation.ErrUnknown)
		wantResult(t, k, reputation.ResultNotFound)
		if st := k.Status(t.Context()); st.Breaker != "closed" || !st.Up {
			t.Errorf("%s after a success, want closed", st.Breaker)
		}
		if n := strings.Count(said.String(), "answers again"); n != 1 {
			t.Errorf("the recovery was logged %d times", n)
		}
		s.answers(errDown)
		for range breakerConsecutive {
			wantResult(t, k, reputation.ResultError)
		}
		if pause := time.Until(k.Status(t.Context()).OpenUntil); pause > 36*time.Second {
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
		"five timeouts":                   {repeat(5, error(context.DeadlineExceeded)), 0, "open"},
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
				if got := k.Status(t.Context()).Breaker; got != tt.want {
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
		p := providerFunc(func(context.Context, netip.Addr) (reputation.Report, error) {
			calls.Add(1)
			time.Sleep(time.Second)
			return reputation.Report{}, err
		})
		k := New("a", p, Terms{Concurrency: 100}, NewBudget(), memory(), quiet())
		for range breakerConsecutive {
			ask(k)
		}
		time.Sleep(breakerMost)
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
		time.Sleep(breakerMost)
		s.answers(reputation.ErrUnsupported)
		wantResult(t, k, reputation.ResultNotFound)
		if got := k.Status(t.Context()).Breaker; got != "half-open" {
			t.Errorf("%s after a trial that made no request", got)
		}
		s.answers(nil)
		wantResult(t, k, reputation.ResultOK)
		if got := k.Status(t.Context()).Breaker; got != "closed" {
			t.Errorf("%s after a good trial", got)
		}
	})
}

func TestCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := providerFunc(func(ctx context.Context, _ netip.Addr) (reputation.Report, error) {
			<-ctx.Done()
			return reputation.Report{}, fmt.Errorf("get: %w", ctx.Err())
		})
		var observed atomic.Int32
		o := quiet()
		o.Observe = func(string, reputation.Result, time.Duration) { observed.Add(1) }
		k := New("a", p, Terms{Windows: []Window{{100, Day}}}, NewBudget(), memory(), o)
		for range 2 * breakerConsecutive {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			if _, err := k.Check(ctx, addr4); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			cancel()
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := k.Check(ctx, addr4); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		synctest.Wait()
		st := k.Status(t.Context())
		if st.Breaker != "closed" || observed.Load() != 0 || st.InFlight != 0 {
			t.Errorf("breaker %s, %d observed, %d in flight", st.Breaker, observed.Load(), st.InFlight)
		}
		if used := st.Windows[0].Used; used != 2*breakerConsecutive {
			t.Errorf("used %d: what was sent stays counted, what was not is not", used)
		}

		// A caller that allows as much as the terms, or more, has seen the service fail.
		for range breakerConsecutive {
			ctx, cancel := context.WithTimeout(context.Background(), DefaultTimeout)
			_, _ = k.Check(ctx, addr4)
			cancel()
		}
		if got := k.Status(t.Context()).Breaker; got != "open" {
			t.Errorf("breaker %s after five timeouts", got)
		}
	})
}

func TestHangingProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := providerFunc(func(context.Context, netip.Addr) (reputation.Report, error) {
			<-release
			return reputation.Report{}, nil
		})
		before := runtime.NumGoroutine()
		k := New("a", p, Terms{Concurrency: 3}, NewBudget(), memory(), quiet())
		for range 3 {
			began := time.Now()
			wantResult(t, k, reputation.ResultTimeout)
			if took := time.Since(began); took != DefaultTimeout {
				t.Errorf("held the caller for %s", took)
			}
		}
		for range 100 {
			wantResult(t, k, reputation.ResultSkippedQuota)
		}
		if n := runtime.NumGoroutine() - before; n > 3 {
			t.Errorf("%d goroutines hang, 3 allowed", n)
		}
		close(release)
		synctest.Wait()
		if n := k.Status(t.Context()).InFlight; n != 0 {
			t.Errorf("%d in flight after the provider returned", n)
		}
		wantResult(t, k, reputation.ResultOK)
	})
}

func TestPanickingProvider(t *testing.T) {
	tests := map[string]func(){
		"text":    func() { panic("no " + addr4.String() + " with sesame") },
		"error":   func() { panic(&net.AddrError{Addr: addr4.String(), Err: "sesame"}) },
		"runtime": func() { var m map[int]int; m[1] = 1 },
		"nil":     func() { panic(nil) }, //nolint:govet // what a guest may do
		"goexit":  runtime.Goexit,
	}
	for name, fail := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said logs
				p := providerFunc(func(context.Context, netip.Addr) (reputation.Report, error) {
					fail()
					return reputation.Report{}, nil
				})
				k := New("a", p, Terms{}, NewBudget(), memory(), Options{Logger: said.logger()})
				ctx := reputation.WithKey(context.Background(), "sesame")
				for range breakerConsecutive {
					if _, err := k.Check(ctx, addr4); !errors.Is(err, reputation.ErrBadAnswer) {
						t.Fatal(err)
					}
				}
				if st := k.Status(t.Context()); st.Breaker != "open" || st.InFlight != 0 {
					t.Errorf("status %+v", st)
				}
				if name != "goexit" && (strings.Count(said.String(), "panicked: report") != 1 || !strings.Contains(said.String(), "quota.TestPanickingProvider")) {
					t.Errorf("the log does not say once who panicked:\n%s", said.String())
				}
				if strings.Contains(said.String(), addr4.String()) || strings.Contains(said.String(), "sesame") {
					t.Errorf("the log has the address or the key:\n%s", said.String())
				}
			})
		})
	}
}

func TestConcurrentCallsStayWithinTerms(t *testing.T) {
	const limit, concurrency = 200, 5
	var running, most, calls atomic.Int64
	p := providerFunc(func(context.Context, netip.Addr) (reputation.Report, error) {
		most.Store(max(most.Load(), running.Add(1)))
		if running.Load() > concurrency {
			t.Error("more calls at once than allowed")
		}
		calls.Add(1)
		runtime.Gosched()
		running.Add(-1)
		return reputation.Report{}, nil
	})
	synctest.Test(t, func(t *testing.T) {
		budget, ledger := NewBudget(), memory()
		terms := Terms{Concurrency: concurrency, Windows: []Window{{limit, Day}}}
		keepers := [2]*Keeper{ // before and after a reload
			New("a", p, terms, budget, ledger, quiet()),
			New("a", p, terms, budget, ledger, quiet()),
		}
		var wg sync.WaitGroup
		var ok atomic.Int64
		for i := range 1000 {
			wg.Go(func() {
				for range 10 {
					switch got, _ := ask(keepers[i%2]); got {
					case reputation.ResultOK:
						ok.Add(1)
					case reputation.ResultSkippedQuota:
					default:
						t.Errorf("unexpected %s", got)
					}
				}
			})
		}
		wg.Wait()
		for ask := ok.Load(); ask < limit; ask++ {
			wantResult(t, keepers[0], reputation.ResultOK)
		}
		wantResult(t, keepers[1], reputation.ResultSkippedQuota)
		if calls.Load() != limit {
			t.Errorf("%d calls, want %d", calls.Load(), limit)
		}
	})
}

// counted is a ledger that counts how often it is asked, and may fail.
type counted struct {
	Ledger
	takes int
	err   error
}

func (c *counted) Take(ctx context.Context, account string, windows []Window, n int, at time.Time) (Grant, error) {
	c.takes++
	if c.err != nil {
		return Grant{}, c.err
	}
	return c.Ledger.Take(ctx, account, windows, n, at)
}

func TestSpentQuotaDoesNotAskTheLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said logs
		ledger := &counted{Ledger: memory()}
		k := New("a", new(service), Terms{Windows: []Window{{1, Day}}}, NewBudget(), ledger, Options{Logger: said.logger()})
		wantResult(t, k, reputation.ResultOK)
		for range 1000 {
			wantResult(t, k, reputation.ResultSkippedQuota)
		}
		if ledger.takes != 2 {
			t.Errorf("the ledger was asked %d times, want 2", ledger.takes)
		}
		for range 60 {
			time.Sleep(recheckSpent)
			wantResult(t, k, reputation.ResultSkippedQuota)
		}
		if n := strings.Count(said.String(), "quota is spent"); n != 1 {
			t.Errorf("said %d times, want once for the window", n)
		}
		ledger.Ledger = memory() // Somebody has given calls back.
		time.Sleep(recheckSpent)
		wantResult(t, k, reputation.ResultOK)
	})
}

func TestLedgerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said logs
		s, ledger := new(service), &counted{Ledger: memory(), err: errDown}
		k := New("a", s, Terms{Windows: []Window{{9, Day}}}, NewBudget(), ledger, Options{Logger: said.logger()})
		for range 10 {
			wantResult(t, k, reputation.ResultSkippedQuota)
		}
		st := k.Status(t.Context())
		if s.calls != 0 || st.Breaker != "closed" || st.InFlight != 0 || st.Windows != nil {
			t.Errorf("%d calls, status %+v", s.calls, st)
		}
		if n := strings.Count(said.String(), "cannot be counted"); n != 1 {
			t.Errorf("said %d times, want once a minute", n)
		}
		ledger.err = nil
		wantResult(t, k, reputation.ResultOK)
	})
}

func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		p := providerFunc(func(context.Context, netip.Addr) (reputation.Report, error) {
			time.Sleep(20 * time.Millisecond)
			return reputation.Report{}, nil
		})
		k := New("a", p, Terms{Windows: []Window{{1, Day}}}, NewBudget(), memory(), Options{
			Logger: slog.New(slog.DiscardHandler),
			Observe: func(name string, r reputation.Result, took time.Duration) {
				got = append(got, fmt.Sprint(name, " ", r, " ", took))
			},
		})
		ask(k)
		ask(k)
		if diff := cmp.Diff([]string{"a ok 20ms", "a skipped_quota 0s"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := New("a", new(service), Terms{Windows: []Window{{5, Minute}, {9, Month}}}, NewBudget(), memory(), quiet())
		ask(k)
		want := Status{
			Name: "a", Up: true, Breaker: "closed", Concurrency: DefaultConcurrency,
			Windows: []WindowStatus{
				{Window: "5/minute", Period: "minute", Limit: 5, Used: 1, Reset: mustTime(t, "2000-01-01T00:01:00Z")},
				{Window: "9/month", Period: "month", Limit: 9, Used: 1, Reset: mustTime(t, "2000-02-01T00:00:00Z")},
			},
		}
		if diff := cmp.Diff(want, k.Status(t.Context())); diff != "" {
			t.Error(diff)
		}
	})
}

func BenchmarkSkipped(b *testing.B) {
	skip := func(b *testing.B, k *Keeper, ready func(*Keeper)) {
		ready(k)
		ctx := context.Background()
		b.ReportAllocs()
		for b.Loop() {
			_, _ = k.Check(ctx, addr4)
		}
	}
	b.Run("quota", func(b *testing.B) {
		k := New("a", new(service), Terms{Windows: []Window{{1, Month}}}, NewBudget(), memory(), quiet())
		skip(b, k, func(k *Keeper) { ask(k); ask(k) })
	})
	b.Run("breaker", func(b *testing.B) {
		k := New("a", &service{err: &reputation.ThrottledError{RetryAfter: time.Hour}}, Terms{}, NewBudget(), memory(), quiet())
		skip(b, k, func(k *Keeper) { ask(k) })
	})
}

func BenchmarkCheck(b *testing.B) {
	k := New("a", new(service), Terms{Windows: []Window{{MaxLimit, Day}, {MaxLimit, Month}}}, NewBudget(), memory(), quiet())
	b.ReportAllocs()
	for b.Loop() {
		_, _ = k.Check(context.Background(), addr4)
	}
}
