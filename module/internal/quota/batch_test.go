package quota

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// bulk is a Batcher that takes a second for each request, and whose answers can be changed. The severity of an address
// is its own, so that nobody gets the answer of another.
type bulk struct {
	most   int
	answer func(ctx context.Context, key string, addrs []netip.Addr) ([]reputation.Answer, error)

	mu       sync.Mutex
	requests [][]netip.Addr
	keys     []string
	running  int
	peak     int
}

func (s *bulk) Profile() reputation.Profile { return reputation.Profile{Name: "a", Batch: s.most} }

func (s *bulk) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	answers, err := s.CheckAll(ctx, q.Key, []netip.Addr{q.Addr})
	if err != nil {
		return reputation.Report{}, err
	}
	return answers[0].Report, answers[0].Err
}

func (s *bulk) CheckAll(ctx context.Context, key string, addrs []netip.Addr) ([]reputation.Answer, error) {
	s.mu.Lock()
	s.requests, s.keys = append(s.requests, addrs), append(s.keys, key)
	s.running++
	s.peak = max(s.peak, s.running)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running--
	}()
	if s.answer != nil {
		return s.answer(ctx, key, addrs)
	}
	return slowly(ctx, addrs)
}

func slowly(ctx context.Context, addrs []netip.Addr) ([]reputation.Answer, error) {
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	answers := make([]reputation.Answer, len(addrs))
	for i, addr := range addrs {
		answers[i].Report = reportOf(addr)
	}
	return answers, nil
}

func reportOf(addr netip.Addr) reputation.Report {
	b := addr.As16()
	return reputation.Report{Severity: float64(int(b[13])<<16|int(b[14])<<8|int(b[15])) / (1 << 24), Confidence: 1}
}

// sizes returns how many addresses each request was about.
func (s *bulk) sizes() (list []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, addrs := range s.requests {
		list = append(list, len(addrs))
	}
	return list
}

// host returns the i-th address, each of a network of its own.
func host(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, byte(i >> 8), byte(i), 7}) }

// result is what came of a call.
type result struct {
	report reputation.Report
	err    error
	took   time.Duration
}

// askAll asks about n addresses at once, one call for each, and returns what came of each. The first is a little ahead.
func askAll(g *Guard, n int, key string) []result {
	results := make([]result, n)
	var all sync.WaitGroup
	for i := range n {
		if i == 1 {
			time.Sleep(time.Millisecond)
		}
		all.Go(func() {
			began := time.Now()
			r, err := g.Check(context.Background(), reputation.Query{Addr: host(i), Key: key})
			results[i] = result{r, err, time.Since(began)}
		})
	}
	all.Wait()
	return results
}

func wantSizes(t *testing.T, s *bulk, want ...int) {
	t.Helper()
	if got := fmt.Sprint(s.sizes()); got != fmt.Sprint(want) {
		t.Errorf("requests about %s addresses, want %v", got, want)
	}
}

func wantOwnAnswers(t *testing.T, results []result) {
	t.Helper()
	for i, r := range results {
		if r.err != nil || r.report != reportOf(host(i)) {
			t.Errorf("call %d got %+v, %v", i, r.report, r.err)
		}
	}
}

func usedBy(g *Guard) int { return g.Status().Windows[0].Used }

// TestCallsShareRequests proves that the first call goes out at once, that those who wait share the next request, and
// that each gets its own answer and counts as one call of the quota.
func TestCallsShareRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &bulk{most: 20}
		var observed []time.Duration
		var sent []int
		var mu sync.Mutex
		o := quiet()
		o.Observe = func(_ string, r reputation.Result, took time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			if observed = append(observed, took); r != reputation.ResultOK {
				t.Errorf("observed %s", r)
			}
		}
		o.Sent = func(addresses int) { sent = append(sent, addresses) }
		g := New("a", s, Terms{Concurrency: 1, Timeout: 3 * time.Second, Windows: windows("100/day")}, NewBudget(), memory(), o)
		began := time.Now()
		if r := askAll(g, 1, ""); r[0].err != nil || r[0].took != time.Second {
			t.Errorf("alone: %+v", r[0])
		}
		wantOwnAnswers(t, askAll(g, 21, ""))
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("took %s", took)
		}
		wantSizes(t, s, 1, 1, 20)
		if !slices.Equal(sent, []int{1, 1, 20}) {
			t.Errorf("requests about %v addresses are counted", sent)
		}
		if usedBy(g) != 22 || len(observed) != 22 || g.Status().InFlight != 0 || s.peak != 1 {
			t.Errorf("%d calls used, %d observed, %+v", usedBy(g), len(observed), g.Status())
		}
	})
}

// TestBatchesKeepConcurrency proves that no more requests are under way than allowed, with several Guards of one budget.
func TestBatchesKeepConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, budget := &bulk{most: 5}, NewBudget()
		terms := Terms{Concurrency: 2, Timeout: 5 * time.Second}
		before := New("a", s, terms, budget, memory(), quiet())
		after := New("a", s, terms, budget, memory(), quiet())
		var all sync.WaitGroup
		all.Go(func() { wantOwnAnswers(t, askAll(before, 10, "")) })
		all.Go(func() { wantOwnAnswers(t, askAll(after, 10, "")) })
		all.Wait()
		if s.peak != 2 || len(s.requests) > 8 {
			t.Errorf("%d requests at once, %v in all", s.peak, s.sizes())
		}
	})
}

// TestBatchesKeepTheRate proves that the rate counts requests, and that those who wait for it share the next one. Who
// would have to wait for too long is skipped, without a call of the quota.
func TestBatchesKeepTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &bulk{most: 50}
		s.answer = func(_ context.Context, _ string, addrs []netip.Addr) ([]reputation.Answer, error) {
			answers := make([]reputation.Answer, len(addrs))
			for i := range addrs {
				answers[i].Report = reportOf(addrs[i])
			}
			return answers, nil
		}
		terms := Terms{Rate: rate.Rate{Events: 1, Per: 4 * time.Second}, Windows: windows("1000/day")}
		g := New("a", s, terms, NewBudget(), memory(), quiet())
		began := time.Now()
		wantOwnAnswers(t, askAll(g, 40, ""))
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("took %s", took)
		}
		wantSizes(t, s, 1, 39)

		terms.Rate = rate.Rate{Events: 1, Per: time.Minute}
		slow := New("b", s, terms, NewBudget(), memory(), quiet())
		results := askAll(slow, 10, "")
		skipped := 0
		for _, r := range results {
			var err *reputation.SkippedError
			if errors.As(r.err, &err) && err.Result == reputation.ResultSkippedQuota && time.Until(err.Until) > 59*time.Second {
				skipped++
			}
		}
		if skipped != 9 || usedBy(slow) != 1 {
			t.Errorf("%d skipped, %d calls used", skipped, usedBy(slow))
		}
		if r, why, waits := slow.Reserve("", host(99), worthOf(0), time.Now()); r != nil || why != reputation.ResultSkippedQuota || waits {
			t.Errorf("a call is reserved that has to wait for a minute: %s, %t", why, waits)
		}
	})
}
