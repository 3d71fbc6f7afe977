package quota

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := providerFunc(func(ctx context.Context, _ reputation.Query) (reputation.Report, error) {
			<-ctx.Done()
			return reputation.Report{}, fmt.Errorf("get: %w", ctx.Err())
		})
		var observed atomic.Int32
		o := quiet()
		o.Observe = func(string, reputation.Result, time.Duration) { observed.Add(1) }
		k := New("a", p, Terms{Windows: windows("100/day")}, NewBudget(), memory(), o)
		for range 2 * breakerConsecutive {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			if _, err := k.Check(ctx, query("")); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			cancel()
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := k.Check(ctx, query("")); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		synctest.Wait()
		st := k.Status()
		if st.Breaker != "closed" || observed.Load() != 0 || st.InFlight != 0 {
			t.Errorf("breaker %s, %d observed, %d in flight", st.Breaker, observed.Load(), st.InFlight)
		}
		if used := st.Windows[0].Used; used != 2*breakerConsecutive {
			t.Errorf("used %d: what was sent stays counted, what was not is not", used)
		}

		// A caller that allows as much as the terms, or more, has seen the service fail.
		for range breakerConsecutive {
			ctx, cancel := context.WithTimeout(context.Background(), DefaultTimeout)
			_, _ = k.Check(ctx, query(""))
			cancel()
		}
		if got := k.Status().Breaker; got != "open" {
			t.Errorf("breaker %s after five timeouts", got)
		}
	})
}

func TestHangingProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := providerFunc(func(context.Context, reputation.Query) (reputation.Report, error) {
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
			if got, until := ask(k); got != reputation.ResultSkippedQuota || time.Until(until) != busyRetry {
				t.Fatalf("%s for %s, want %s for %s", got, time.Until(until), reputation.ResultSkippedQuota, busyRetry)
			}
		}
		if n := runtime.NumGoroutine() - before; n > 3 {
			t.Errorf("%d goroutines hang, 3 allowed", n)
		}
		close(release)
		synctest.Wait()
		if n := k.Status().InFlight; n != 0 {
			t.Errorf("%d in flight after the provider returned", n)
		}
		wantResult(t, k, reputation.ResultOK)
	})
}

func TestPanickingProvider(t *testing.T) {
	tests := map[string]func(){
		"text":    func() { panic("no " + addr4.String() + " with sesame") },
		"error":   func() { panic(&net.AddrError{Addr: addr4.String(), Err: "sesame"}) },
		"runtime": func() { var m map[int]int; m[1] = 1 }, //nolint:govet,staticcheck // what a guest may do
		"nil":     func() { panic(nil) },                  //nolint:govet // what a guest may do
		"goexit":  runtime.Goexit,
	}
	for name, fail := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said logtest.Log
				p := providerFunc(func(context.Context, reputation.Query) (reputation.Report, error) {
					fail()
					return reputation.Report{}, nil
				})
				k := New("a", p, Terms{}, NewBudget(), memory(), Options{Logger: said.Logger()})
				for range breakerConsecutive {
					if _, err := k.Check(context.Background(), query("sesame")); !errors.Is(err, reputation.ErrBadAnswer) {
						t.Fatal(err)
					}
				}
				if st := k.Status(); st.Breaker != "open" || st.InFlight != 0 {
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
	p := providerFunc(func(context.Context, reputation.Query) (reputation.Report, error) {
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
		budget, counts := NewBudget(), memory()
		terms := Terms{Concurrency: concurrency, Windows: day(limit)}
		guards := [2]*Guard{ // before and after a reload
			New("a", p, terms, budget, counts, quiet()),
			New("a", p, terms, budget, counts, quiet()),
		}
		var wg sync.WaitGroup
		var ok atomic.Int64
		for i := range 1000 {
			wg.Go(func() {
				for range 10 {
					switch got, _ := ask(guards[i%2]); got {
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
			wantResult(t, guards[0], reputation.ResultOK)
		}
		wantResult(t, guards[1], reputation.ResultSkippedQuota)
		if calls.Load() != limit {
			t.Errorf("%d calls, want %d", calls.Load(), limit)
		}
	})
}

// failure is an error of a provider whose text is made by a function.
type failure func() string

func (f failure) Error() string { return f() }

// TestErrorsOfProvidersStayWithThem proves that an error whose methods panic counts as a panic of the provider, and that one
// whose methods hang holds the caller no longer than a provider that hangs.
func TestErrorsOfProvidersStayWithThem(t *testing.T) {
	var throttled *reputation.ThrottledError
	var skipped *reputation.SkippedError
	for name, err := range map[string]error{
		"panics":              failure(func() string { panic("no text") }),
		"nil *ThrottledError": throttled,
		"nil *SkippedError":   skipped,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := providerFunc(func(context.Context, reputation.Query) (reputation.Report, error) {
					return reputation.Report{}, err
				})
				k := New("a", p, Terms{}, NewBudget(), memory(), quiet())
				for range breakerConsecutive {
					wantResult(t, k, reputation.ResultBadAnswer)
				}
				if st := k.Status(); st.Breaker != "open" || st.InFlight != 0 {
					t.Errorf("status %+v", st)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := providerFunc(func(context.Context, reputation.Query) (reputation.Report, error) {
			return reputation.Report{}, failure(func() string { <-release; return "late" })
		})
		k := New("a", p, Terms{}, NewBudget(), memory(), quiet())
		began := time.Now()
		wantResult(t, k, reputation.ResultTimeout)
		if took := time.Since(began); took != DefaultTimeout {
			t.Errorf("held the caller for %s", took)
		}
		close(release)
	})
}
