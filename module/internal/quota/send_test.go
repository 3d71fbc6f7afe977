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
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
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
				terms := Terms{Concurrency: 1, Windows: []Window{{100, Day}}, NetworkShare: .1}
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
		g := New("a", s, Terms{Concurrency: 1, Windows: []Window{{100, Day}}}, NewBudget(), memory(), Options{Logger: logged.Logger()})
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

// TestCallersOfBatchesLeave proves that a caller who leaves harms nobody else. Before the request it takes its call
// back, afterwards not; and a request that all have left ends, and says nothing about the service.
func TestCallersOfBatchesLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &bulk{most: 20}
		var observed atomic.Int32
		o := quiet()
		o.Observe = func(string, reputation.Result, time.Duration) { observed.Add(1) }
		g := New("a", s, Terms{Concurrency: 1, Windows: []Window{{100, Day}}, NetworkShare: .1}, NewBudget(), memory(), o)
		ask := func(i int, within time.Duration) chan error {
			ctx, cancel := context.WithTimeout(context.Background(), within)
			done := make(chan error, 1)
			go func() {
				defer cancel()
				_, err := g.Check(ctx, reputation.Query{Addr: host(i)})
				done <- err
			}()
			synctest.Wait()
			return done
		}
		first := ask(0, time.Hour)
		waits, waitsShort, waitsToo := ask(1, time.Hour), ask(2, 500*time.Millisecond), ask(3, 1500*time.Millisecond)
		if err := <-waitsShort; !errors.Is(err, context.DeadlineExceeded) || usedBy(g) != 3 {
			t.Errorf("who left before: %v, %d used", err, usedBy(g))
		}
		if err := <-waitsToo; !errors.Is(err, context.DeadlineExceeded) || usedBy(g) != 3 {
			t.Errorf("who left in the request: %v, %d used", err, usedBy(g))
		}
		for _, done := range []chan error{first, waits} {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		wantSizes(t, s, 1, 2)

		one, two := ask(4, 300*time.Millisecond), ask(5, 2*time.Second)
		began := time.Now()
		<-one
		time.Sleep(concurrencyRecheck)
		synctest.Wait()
		if took := time.Since(began); took != 400*time.Millisecond || g.Status().InFlight != 1 {
			t.Errorf("after %s, in flight are %d: want the second request alone", took, g.Status().InFlight)
		}
		if err := <-two; err != nil {
			t.Error(err)
		}
		if st := g.Status(); st.Failures != 0 || st.InFlight != 0 || observed.Load() != 3 {
			t.Errorf("%d observed, %+v", observed.Load(), st)
		}
		wantAtRest(t, g)
	})
}

// TestBatchesBehindAHangingService proves that calls wait no longer than they may, that they cost no quota then, and that
// the places are bounded: beyond them, a call is busy.
func TestBatchesBehindAHangingService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := &bulk{most: 10}
		s.answer = func(ctx context.Context, _ string, addrs []netip.Addr) ([]reputation.Answer, error) {
			<-release
			return nil, errors.New("no route")
		}
		g := New("a", s, Terms{Concurrency: 2, Windows: []Window{{100, Day}}}, NewBudget(), memory(), quiet())
		before := runtime.NumGoroutine()
		results := make(chan result, 22)
		began := time.Now()
		for i := range 22 {
			go func() {
				_, err := g.Check(context.Background(), reputation.Query{Addr: host(i)})
				results <- result{err: err, took: time.Since(began)}
			}()
			synctest.Wait()
		}
		if r, why, waits := g.Reserve("", host(30), 0, time.Now()); r != nil || why != reputation.ResultSkippedQuota || !waits {
			t.Errorf("beyond the places: %s, %t", why, waits)
		}
		for range 22 {
			r := <-results
			got := reputation.ResultOf(r.err)
			if got != reputation.ResultTimeout && got != reputation.ResultSkippedQuota || r.took > DefaultTimeout+concurrencyRecheck {
				t.Errorf("%s after %s", got, r.took)
			}
		}
		if usedBy(g) != 2 {
			t.Errorf("%d calls used, want the two that were sent", usedBy(g))
		}
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; n > 2 {
			t.Errorf("%d goroutines hang", n)
		}
		close(release)
		time.Sleep(time.Minute)
		wantAtRest(t, g)
	})
}

// TestReservedBatches proves that a reservation joins whom waits, that one that is given back costs nothing, and that a
// network keeps its share.
func TestReservedBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &bulk{most: 50}
		terms := Terms{Concurrency: 1, Windows: []Window{{1000, Day}}, NetworkShare: .02}
		g := New("a", s, terms, NewBudget(), memory(), quiet())
		var list []*Reservation
		var addrs []netip.Addr
		for i := range 70 {
			addr := of(1, i) // of one network
			if i >= 40 {
				addr = host(i)
			}
			r, _, waits := g.Reserve("", addr, 0, time.Now())
			if i >= 20 && i < 40 {
				if r != nil || waits {
					t.Fatalf("call %d of the network is reserved, or waits: %t", i, waits)
				}
				continue
			}
			if r == nil {
				t.Fatalf("call %d is not reserved", i)
			}
			list, addrs = append(list, r), append(addrs, addr)
		}
		if r, _, waits := g.Reserve("", host(99), 0, time.Now()); r != nil || !waits {
			t.Errorf("the places are not bounded")
		}
		list[0].Cancel()
		if r, _, _ := g.Reserve("", of(1, 80), 0, time.Now()); r == nil {
			t.Error("what was given back is not there")
		} else {
			r.Cancel()
		}
		var all sync.WaitGroup
		for i := range list[1:] {
			all.Go(func() {
				r, err := list[i+1].Check(context.Background(), reputation.Query{Addr: addrs[i+1]})
				if err != nil || r != reportOf(addrs[i+1]) {
					t.Errorf("%+v, %v", r, err)
				}
			})
		}
		all.Wait()
		wantSizes(t, s, 1, 48)
		if usedBy(g) != 49 {
			t.Errorf("%d calls used", usedBy(g))
		}
		wantAtRest(t, g)
	})
}

// TestAnAddressIsInARequestOnce proves that a request has no address twice.
func TestAnAddressIsInARequestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &bulk{most: 20}
		g := New("a", s, Terms{Concurrency: 1, Timeout: 9 * time.Second}, NewBudget(), memory(), quiet())
		var all sync.WaitGroup
		for i := range 9 {
			all.Go(func() {
				if r, err := g.Check(context.Background(), reputation.Query{Addr: host(i % 3)}); err != nil || r != reportOf(host(i%3)) {
					t.Error(r, err)
				}
			})
		}
		all.Wait()
		for _, addrs := range s.requests {
			if len(slices.Compact(slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare))) != len(addrs) {
				t.Errorf("a request about %v", addrs)
			}
		}
	})
}

// pacedLedger grants a request only when its time has come, as one does that keeps the rate of all instances.
type pacedLedger struct {
	*Local
	from time.Time
	mu   sync.Mutex
	n    []int
}

func (l *pacedLedger) Take(ctx context.Context, name string, t Terms, n int, at time.Time) (Grant, error) {
	if t.Rate.Bounded() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.n = append(l.n, n); at.Before(l.from) {
			return Grant{RetryAt: l.from, Usage: []Usage{}}, nil
		}
	}
	return l.Local.Take(ctx, name, t, n, at)
}

// TestBatchesKeepTheRateOfAllInstances proves that a request that the ledger does not allow yet waits, with those who
// come meanwhile, and that who may not wait so long is skipped.
func TestBatchesKeepTheRateOfAllInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &bulk{most: 20}
		ledger := &pacedLedger{Local: memory(), from: time.Now().Add(time.Second)}
		terms := Terms{Concurrency: 3, Rate: rate.Rate{Events: 5, Per: time.Second}, Windows: []Window{{100, Day}}}
		g := New("a", s, terms, NewBudget(), ledger, quiet())
		began := time.Now()
		wantOwnAnswers(t, askAll(g, 10, ""))
		if took := time.Since(began); took != 2*time.Second || usedBy(g) != 10 {
			t.Errorf("took %s, %d used", took, usedBy(g))
		}
		for _, n := range ledger.n {
			if n != 1 {
				t.Errorf("a request takes %d from the rate", n)
			}
		}
		ledger.from = time.Now().Add(time.Minute)
		for _, r := range askAll(g, 3, "") {
			if reputation.ResultOf(r.err) != reputation.ResultSkippedQuota {
				t.Errorf("%+v", r)
			}
		}
		if usedBy(g) != 10 {
			t.Errorf("%d used", usedBy(g))
		}
		wantAtRest(t, g)
	})
}
