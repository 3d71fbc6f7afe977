package quota

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestCallersOfBatchesLeave proves that a caller who leaves harms nobody else. Before the request it takes its call
// back, afterwards not; and a request that all have left ends, and says nothing about the service.
func TestCallersOfBatchesLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &bulk{most: 20}
		var observed atomic.Int32
		o := quiet()
		o.Observe = func(string, reputation.Result, time.Duration) { observed.Add(1) }
		g := New("a", s, Terms{Concurrency: 1, Windows: windows("100/day"), NetworkShare: .1}, NewBudget(), memory(), o)
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
		if err := <-one; !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
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
		g := New("a", s, Terms{Concurrency: 2, Windows: windows("100/day")}, NewBudget(), memory(), quiet())
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
		if r, why, waits := g.Reserve("", host(30), worthOf(0), time.Now()); r != nil || why != reputation.ResultSkippedQuota || !waits {
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
		terms := Terms{Concurrency: 1, Windows: windows("1000/day"), NetworkShare: .02}
		g := New("a", s, terms, NewBudget(), memory(), quiet())
		var list []*Reservation
		var addrs []netip.Addr
		for i := range 70 {
			addr := of(1, i) // of one network
			if i >= 40 {
				addr = host(i)
			}
			r, _, waits := g.Reserve("", addr, worthOf(0), time.Now())
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
		if r, _, waits := g.Reserve("", host(99), worthOf(0), time.Now()); r != nil || !waits {
			t.Errorf("the places are not bounded")
		}
		list[0].Cancel()
		if r, _, _ := g.Reserve("", of(1, 80), worthOf(0), time.Now()); r == nil {
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
	*ledger.Local
	from time.Time
	mu   sync.Mutex
	n    []int
}

func (l *pacedLedger) Take(
	ctx context.Context, name string, limits ledger.Limits, n int, at time.Time,
) (ledger.Grant, error) {
	if limits.Rate.Bounded() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.n = append(l.n, n); at.Before(l.from) {
			return ledger.Grant{RetryAt: l.from, Usage: []ledger.Usage{}}, nil
		}
	}
	return l.Local.Take(ctx, name, limits, n, at)
}

// TestBatchesKeepTheRateOfAllInstances proves that a request that the ledger does not allow yet waits, with those who
// come meanwhile, and that who may not wait so long is skipped.
func TestBatchesKeepTheRateOfAllInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &bulk{most: 20}
		counts := &pacedLedger{Local: memory(), from: time.Now().Add(time.Second)}
		terms := Terms{Concurrency: 3, Rate: rate.Rate{Events: 5, Per: time.Second}, Windows: windows("100/day")}
		g := New("a", s, terms, NewBudget(), counts, quiet())
		began := time.Now()
		wantOwnAnswers(t, askAll(g, 10, ""))
		if took := time.Since(began); took != 2*time.Second || usedBy(g) != 10 {
			t.Errorf("took %s, %d used", took, usedBy(g))
		}
		for _, n := range counts.n {
			if n != 1 {
				t.Errorf("a request takes %d from the rate", n)
			}
		}
		counts.from = time.Now().Add(time.Minute)
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
