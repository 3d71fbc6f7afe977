package quota

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestFailedBatches proves of each way in which a request can fail what its calls get, what the breaker learns of it,
// and that nothing of it is logged that must not be. The first call goes out alone and is answered.
func TestFailedBatches(t *testing.T) {
	const calls, key = 21, "sesame-open"
	bad, refused := reputation.ResultBadAnswer, reputation.ResultRefused
	for name, tc := range map[string]struct {
		answer func(ctx context.Context, addrs []netip.Addr) ([]reputation.Answer, error)
		want   reputation.Result
		used   int // calls of the quota
		fails  int // failures in a row
	}{
		"an error that quotes all": {func(_ context.Context, addrs []netip.Addr) ([]reputation.Answer, error) {
			return nil, fmt.Errorf("no route for %v with %s", addrs, key)
		}, reputation.ResultError, calls, 1},
		"panic": {func(_ context.Context, addrs []netip.Addr) ([]reputation.Answer, error) {
			panic(fmt.Sprint("with ", key, addrs))
		}, bad, calls, 1},
		"goexit": {func(context.Context, []netip.Addr) ([]reputation.Answer, error) {
			runtime.Goexit()
			return nil, nil
		}, bad, calls, 1},
		"too few answers": {func(ctx context.Context, addrs []netip.Addr) ([]reputation.Answer, error) {
			return slowly(ctx, addrs[1:])
		}, bad, calls, 1},
		"too many answers": {func(ctx context.Context, addrs []netip.Addr) ([]reputation.Answer, error) {
			return slowly(ctx, append(addrs, addrs[0]))
		}, bad, calls, 1},
		"no answers": {func(context.Context, []netip.Addr) ([]reputation.Answer, error) { return nil, nil }, bad, calls, 1},
		"nothing known of all": {func(context.Context, []netip.Addr) ([]reputation.Answer, error) {
			return nil, reputation.ErrUnknown
		}, bad, calls, 1},
		"an error with a method that panics": {func(_ context.Context, addrs []netip.Addr) ([]reputation.Answer, error) {
			answers := make([]reputation.Answer, len(addrs))
			answers[3].Err = failure(func() string { panic("no text") })
			return answers, nil
		}, bad, calls, 1},
		"each answer fails": {func(_ context.Context, addrs []netip.Addr) ([]reputation.Answer, error) {
			return repeated(reputation.Answer{Err: fmt.Errorf("%w: not about %s", reputation.ErrBadAnswer, addrs[7])}, len(addrs)), nil
		}, bad, calls, 1},
		"late": {func(ctx context.Context, addrs []netip.Addr) ([]reputation.Answer, error) {
			time.Sleep(time.Hour)
			return slowly(context.WithoutCancel(ctx), addrs)
		}, reputation.ResultTimeout, calls, 1},
		"refused": {func(context.Context, []netip.Addr) ([]reputation.Answer, error) {
			return nil, reputation.ErrRefused
		}, refused, calls, 0},
		"throttled": {func(context.Context, []netip.Addr) ([]reputation.Answer, error) {
			return nil, &reputation.ThrottledError{RetryAfter: time.Hour}
		}, reputation.ResultThrottled, calls, 0},
		"no request": {func(context.Context, []netip.Addr) ([]reputation.Answer, error) {
			return nil, reputation.ErrUnsupported
		}, reputation.ResultNotFound, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, logged := &bulk{most: 20}, new(logtest.Log)
				s.answer = func(ctx context.Context, _ string, addrs []netip.Addr) ([]reputation.Answer, error) {
					if len(addrs) == 1 {
						return slowly(ctx, addrs)
					}
					return tc.answer(ctx, addrs)
				}
				var observed atomic.Int32
				o := Options{Logger: logged.Logger()}
				o.Observe = func(string, reputation.Result, time.Duration) { observed.Add(1) }
				terms := Terms{Concurrency: 1, Windows: windows("100/day"), NetworkShare: .1}
				g := New("a", s, terms, NewBudget(), memory(), o)
				answered := 0
				for _, r := range askAll(g, calls, key) {
					switch got := reputation.ResultOf(r.err); {
					case r.err == nil:
						answered++
					case got != tc.want || r.report != reputation.Report{}:
						t.Errorf("%s, %+v, want %s", got, r, tc.want)
					}
				}
				wantSizes(t, s, 1, 20)
				st := g.Status()
				if answered != 1 || usedBy(g) != tc.used || st.Failures != tc.fails || observed.Load() != calls {
					t.Errorf("%d answered, %d used, %d observed, %+v", answered, usedBy(g), observed.Load(), st)
				}
				for _, secret := range []string{"198.", key} {
					if strings.Contains(logged.String()+st.LastError, secret) {
						t.Errorf("%s is in the log or the status:\n%s\n%s", secret, logged.String(), st.LastError)
					}
				}
				time.Sleep(2 * time.Hour)
				if n := g.Status().InFlight; n != 0 {
					t.Errorf("%d in flight in the end", n)
				}
				wantAtRest(t, g)
			})
		})
	}
}

// wantAtRest checks that nothing is left of the calls.
func wantAtRest(t *testing.T, g *Guard) {
	t.Helper()
	b := g.batches
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.places != 0 || b.underWay != 0 || len(b.waiting) != 0 {
		t.Errorf("%d places, %d under way, %d waiting", b.places, b.underWay, len(b.waiting))
	}
}

// TestABugIsNoAnswer proves that a panic of our own ends a request and is never taken for a report.
func TestABugIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, logged := &bulk{most: 20}, new(logtest.Log)
		s.answer = func(context.Context, string, []netip.Addr) ([]reputation.Answer, error) {
			return nil, &reputation.ThrottledError{RetryAfter: time.Minute}
		}
		o := Options{Logger: logged.Logger(), Notify: func(Notice) { panic("oops") }}
		g := New("a", s, Terms{Concurrency: 1}, NewBudget(), memory(), o)
		if r := askAll(g, 1, "")[0]; r.err == nil {
			t.Errorf("the answer is %+v", r)
		}
		if !strings.Contains(logged.String(), "this is a bug") {
			t.Errorf("the log is\n%s", logged.String())
		}
		wantAtRest(t, g)
	})
}

// TestOneOutcomeForARequest proves that the breaker opens after five requests that fail, however many calls share them.
func TestOneOutcomeForARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &bulk{most: 20}
		s.answer = func(context.Context, string, []netip.Addr) ([]reputation.Answer, error) {
			time.Sleep(time.Second)
			return nil, errors.New("no route")
		}
		g := New("a", s, Terms{Concurrency: 1}, NewBudget(), memory(), quiet())
		for i := range breakerConsecutive {
			if got := g.Status(); got.Breaker != "closed" || got.Failures != i {
				t.Fatalf("after %d requests: %+v", i, got)
			}
			var all sync.WaitGroup
			g.budget.begin() // another request, so that all wait
			for n := range 20 {
				all.Go(func() { _, _ = g.Check(t.Context(), reputation.Query{Addr: host(n)}) })
			}
			synctest.Wait()
			g.budget.release()
			all.Wait()
		}
		if got := g.Status(); got.Breaker != "open" {
			t.Errorf("after five: %+v", got)
		}
		if got := fmt.Sprint(s.sizes()); got != "[20 20 20 20 20]" {
			t.Errorf("requests about %s", got)
		}
	})
}

// TestOneAnswerFails proves that an error of one address concerns nobody else, and is no failure of the service.
func TestOneAnswerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &bulk{most: 20}
		s.answer = func(ctx context.Context, _ string, addrs []netip.Addr) ([]reputation.Answer, error) {
			answers, err := slowly(ctx, addrs)
			for i, addr := range addrs {
				switch addr {
				case host(5):
					answers[i].Err = fmt.Errorf("%w: %s is missing", reputation.ErrBadAnswer, addr)
				case host(6):
					answers[i] = reputation.Answer{Err: reputation.ErrUnknown}
				case host(7):
					answers[i] = reputation.Answer{Err: reputation.ErrUnsupported} // left out of the request
				}
			}
			return answers, err
		}
		logged := new(logtest.Log)
		g := New("a", s, Terms{Concurrency: 1, Windows: windows("100/day")}, NewBudget(), memory(), Options{Logger: logged.Logger()})
		for i, r := range askAll(g, 21, "") {
			want := map[int]reputation.Result{5: reputation.ResultBadAnswer, 6: reputation.ResultNotFound, 7: reputation.ResultNotFound}[i]
			if got := reputation.ResultOf(r.err); got != want || got != reputation.ResultOK && r.report != (reputation.Report{}) {
				t.Errorf("call %d: %s, %+v, want %s", i, got, r, want)
			}
		}
		if st := g.Status(); st.Failures != 0 || usedBy(g) != 20 || st.Answered.IsZero() {
			t.Errorf("%d used, %+v", usedBy(g), st)
		}
		if strings.Count(logged.String(), "the service gave no answer") != 1 || strings.Contains(logged.String(), "198.") {
			t.Errorf("the log is\n%s", logged.String())
		}
	})
}

// TestKeysOfBatches proves that a request has one key, and that a refused one keeps only its own calls from the service.
func TestKeysOfBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &bulk{most: 20}
		s.answer = func(ctx context.Context, key string, addrs []netip.Addr) ([]reputation.Answer, error) {
			if key == "old" {
				time.Sleep(time.Second)
				return nil, reputation.ErrRefused
			}
			return slowly(ctx, addrs)
		}
		g := New("a", s, Terms{Concurrency: 1, Timeout: 9 * time.Second}, NewBudget(), memory(), quiet())
		var results [2][]result
		var all sync.WaitGroup
		for i, key := range []string{"old", "new"} {
			all.Go(func() { results[i] = askAll(g, 10, key) })
		}
		all.Wait()
		wantOwnAnswers(t, results[1])
		asked := 0
		for _, r := range results[0] {
			switch reputation.ResultOf(r.err) {
			case reputation.ResultRefused:
				asked++
			case reputation.ResultSkippedBreaker:
			default:
				t.Errorf("with the old key: %+v", r)
			}
		}
		if n := len(slices.DeleteFunc(slices.Clone(s.keys), func(k string) bool { return k == "new" })); n != 1 || asked > 10 {
			t.Errorf("%d requests with the old key, %d calls in them: %v", n, asked, s.keys)
		}
		wantAtRest(t, g)
	})
}
