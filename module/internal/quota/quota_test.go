package quota

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

var errDown = errors.New("connection refused")

// ask makes one call and returns its result and, if it was skipped, until when.
func ask(k *Guard) (reputation.Result, time.Time) {
	return askWith("", k)
}

func askWith(key string, k *Guard) (reputation.Result, time.Time) {
	_, err := k.Check(context.Background(), query(key))
	var skipped *reputation.SkippedError
	if errors.As(err, &skipped) {
		return skipped.Result, skipped.Until
	}
	return reputation.ResultOf(err), time.Time{}
}

func wantResult(t testing.TB, k *Guard, want reputation.Result) {
	t.Helper()
	if got, until := ask(k); got != want {
		t.Fatalf("at %s: %s (until %s), want %s", time.Now().UTC(), got, until, want)
	}
}

// wantSkip wants a call to be skipped for another d, and sleeps until just then.
func wantSkip(t testing.TB, k *Guard, want reputation.Result, d time.Duration) {
	t.Helper()
	got, until := ask(k)
	if got != want || time.Until(until) != d {
		t.Fatalf("at %s: %s for another %s, want %s for %s", time.Now().UTC(), got, time.Until(until), want, d)
	}
	time.Sleep(d - 1)
	if got, _ := ask(k); got != want {
		t.Fatalf("just before the end of %s: %s, want %s", d, got, want)
	}
	time.Sleep(time.Nanosecond)
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
			report, err := k.Check(context.Background(), query(""))
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
		p := providerFunc(func(ctx context.Context, q reputation.Query) (reputation.Report, error) {
			deadline, _ := ctx.Deadline()
			if q.Key != "secret" || q.Addr != addr6 || time.Until(deadline) != 3*time.Second {
				t.Errorf("key %q, address %s, deadline in %s", q.Key, q.Addr, time.Until(deadline))
			}
			return reputation.Report{}, nil
		})
		k := New("a", p, Terms{Timeout: 3 * time.Second}, NewBudget(), memory(), quiet())
		if _, err := k.Check(context.Background(), reputation.Query{Addr: addr6, Key: "secret"}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestQuotaWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(58*24*time.Hour + 12*time.Hour) // 2000-02-28T12:00:00Z, a leap year.
		s := new(service)
		k := New("a", s, Terms{Windows: windows("2/day", "5/month")}, NewBudget(), memory(), quiet())
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
		counts, budget := ledger.OpenLocal(path, slog.Default()), NewBudget()
		terms := Terms{Windows: windows("2/day")}
		wantResult(t, New("a", new(service), terms, budget, counts, quiet()), reputation.ResultOK)
		reloaded := New("a", new(service), terms, budget, counts, quiet())
		wantResult(t, reloaded, reputation.ResultOK)
		wantResult(t, reloaded, reputation.ResultSkippedQuota)
		if err := counts.Close(); err != nil {
			t.Fatal(err)
		}
		restarted := New("a", new(service), terms, NewBudget(), ledger.OpenLocal(path, slog.Default()), quiet())
		wantResult(t, restarted, reputation.ResultSkippedQuota)
		raised := New("a", new(service), Terms{Windows: windows("3/day")}, budget, counts, quiet())
		wantResult(t, raised, reputation.ResultOK)
		wantResult(t, raised, reputation.ResultSkippedQuota)
	})
}

func TestCallsNotMadeAreGivenBack(t *testing.T) {
	tests := map[string]struct {
		err  error
		used int // and how many requests were sent
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
				o, sent := quiet(), 0
				o.Sent = func(addresses int) { sent += addresses }
				k := New("a", &service{err: tt.err}, Terms{Windows: windows("1/day", "9/month")}, NewBudget(), memory(), o)
				ask(k)
				if sent != tt.used {
					t.Errorf("%d requests were sent, want %d", sent, tt.used)
				}
				for _, w := range k.Status().Windows {
					if w.Used != tt.used || w.Remaining() != w.Limit-tt.used {
						t.Errorf("%s: used %d, remaining %d, want %d used", w.Window, w.Used, w.Remaining(), tt.used)
					}
				}
			})
		})
	}
}

// counted is a ledger that counts how often it is asked, and may fail.
type counted struct {
	ledger.Ledger
	takes int
	err   error
}

func (c *counted) Take(
	ctx context.Context, account string, limits ledger.Limits, n int, at time.Time,
) (ledger.Grant, error) {
	c.takes++
	if c.err != nil {
		return ledger.Grant{}, c.err
	}
	return c.Ledger.Take(ctx, account, limits, n, at)
}

func TestSpentQuotaDoesNotAskTheLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said logtest.Log
		counts := &counted{Ledger: memory()}
		k := New("a", new(service), Terms{Windows: windows("1/day")}, NewBudget(), counts, Options{Logger: said.Logger()})
		wantResult(t, k, reputation.ResultOK)
		for range 1000 {
			wantResult(t, k, reputation.ResultSkippedQuota)
		}
		if counts.takes != 2 {
			t.Errorf("the ledger was asked %d times, want 2", counts.takes)
		}
		for range 60 {
			time.Sleep(recheckSpent)
			wantResult(t, k, reputation.ResultSkippedQuota)
		}
		if n := strings.Count(said.String(), "quota is spent"); n != 1 {
			t.Errorf("said %d times, want once for the window", n)
		}
		counts.Ledger = memory() // Somebody has given calls back.
		time.Sleep(recheckSpent)
		wantResult(t, k, reputation.ResultOK)
	})
}

// A busy site spends a quota of a minute every minute: it is neither logged nor an event. The spent quota of the day is, once.
func TestASpentMinuteIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said logtest.Log
		var notices []Notice
		k := New("a", new(service), Terms{Windows: windows("2/minute", "9/day")}, NewBudget(), memory(), Options{
			Logger: said.Logger(), Notify: func(n Notice) {
				if n.Kind == NoticeSpent {
					notices = append(notices, n)
				}
			},
		})
		for minute := range 4 {
			wantResult(t, k, reputation.ResultOK)
			wantResult(t, k, reputation.ResultOK)
			wantResult(t, k, reputation.ResultSkippedQuota)
			if len(notices) != 0 || strings.Contains(said.String(), "quota is spent") {
				t.Fatalf("in minute %d, %v and %s", minute, notices, said.String())
			}
			time.Sleep(time.Minute)
		}
		wantResult(t, k, reputation.ResultOK)
		for range 5 {
			wantResult(t, k, reputation.ResultSkippedQuota)
			time.Sleep(time.Minute)
		}
		if len(notices) != 1 || notices[0].Window.Period != ledger.Day || strings.Count(said.String(), "quota is spent") != 1 {
			t.Errorf("%+v and %s", notices, said.String())
		}
	})
}

func TestLedgerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said logtest.Log
		s, counts := new(service), &counted{Ledger: memory(), err: errDown}
		k := New("a", s, Terms{Windows: windows("9/day")}, NewBudget(), counts, Options{Logger: said.Logger()})
		for range 10 {
			wantResult(t, k, reputation.ResultSkippedQuota)
		}
		st := k.Status()
		if s.calls != 0 || st.Breaker != "closed" || st.InFlight != 0 {
			t.Errorf("%d calls, status %+v", s.calls, st)
		}
		if n := strings.Count(said.String(), "cannot be counted"); n != 1 {
			t.Errorf("said %d times, want once a minute", n)
		}
		counts.err = nil
		wantResult(t, k, reputation.ResultOK)
	})
}

func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		p := providerFunc(func(context.Context, reputation.Query) (reputation.Report, error) {
			time.Sleep(20 * time.Millisecond)
			return reputation.Report{}, nil
		})
		k := New("a", p, Terms{Windows: windows("1/day")}, NewBudget(), memory(), Options{
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
		k := New("a", new(service), Terms{Windows: windows("5/minute", "9/month")}, NewBudget(), memory(), quiet())
		ask(k)
		want := Status{
			Name: "a", Up: true, Answered: mustTime(t, "2000-01-01T00:00:00Z"), Breaker: "closed", Concurrency: DefaultConcurrency,
			Windows: []WindowStatus{
				{Window: "5/minute", Period: "minute", Limit: 5, Used: 1, Reset: mustTime(t, "2000-01-01T00:01:00Z")},
				{Window: "9/month", Period: "month", Limit: 9, Used: 1, Reset: mustTime(t, "2000-02-01T00:00:00Z")},
			},
		}
		if diff := cmp.Diff(want, k.Status()); diff != "" {
			t.Error(diff)
		}
	})
}

func BenchmarkSkipped(b *testing.B) {
	skip := func(b *testing.B, k *Guard, ready func(*Guard)) {
		ready(k)
		ctx := context.Background()
		b.ReportAllocs()
		for b.Loop() {
			_, _ = k.Check(ctx, query(""))
		}
	}
	b.Run("quota", func(b *testing.B) {
		k := New("a", new(service), Terms{Windows: windows("1/month")}, NewBudget(), memory(), quiet())
		skip(b, k, func(k *Guard) { ask(k); ask(k) })
	})
	b.Run("breaker", func(b *testing.B) {
		k := New("a", &service{err: &reputation.ThrottledError{RetryAfter: time.Hour}}, Terms{}, NewBudget(), memory(), quiet())
		skip(b, k, func(k *Guard) { ask(k) })
	})
}

func BenchmarkCheck(b *testing.B) {
	k := New("a", new(service), Terms{Windows: windows("1000000000/day", "1000000000/month")}, NewBudget(), memory(), quiet())
	b.ReportAllocs()
	for b.Loop() {
		_, _ = k.Check(context.Background(), query(""))
	}
}
