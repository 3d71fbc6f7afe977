package quota

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// safeStore is a store that loses nothing, whose clock is that of the instances, and that may be away. It is not safe
// for concurrent use.
type safeStore struct {
	away    bool
	version int64
	used    map[string]int // by window
	owed    map[string]int // by window and instance
	due     time.Time
}

func newSafeStore() *safeStore {
	return &safeStore{used: map[string]int{}, owed: map[string]int{}}
}

// Count implements ledger.Store.
func (s *safeStore) Count(_ context.Context, c ledger.Count) (ledger.Counted, error) {
	if s.away {
		return ledger.Counted{}, errors.New("the store is away")
	}
	s.version++
	answer := ledger.Counted{Granted: true}
	for _, w := range c.Windows {
		window := w.Period + w.Start.String()
		more := max(w.Owed-s.owed[window+c.Instance], 0)
		s.used[window] += more
		s.owed[window+c.Instance] += more
		answer.Granted = answer.Granted && (c.N <= 0 || s.used[window]+c.N <= w.Limit)
	}
	if early := time.Until(s.due); answer.Granted && c.N > 0 && early > 0 {
		answer.Granted, answer.RetryIn = false, early
	}
	if answer.Granted && c.N > 0 {
		s.due = time.Now().Add(c.Interval)
	}
	for _, w := range c.Windows {
		window := w.Period + w.Start.String()
		if answer.Granted {
			s.used[window] += c.N
		}
		answer.Windows = append(answer.Windows, ledger.WindowCounted{
			Start: w.Start, Epoch: "e", Version: s.version, Used: s.used[window], Owed: s.owed[window+c.Instance],
		})
	}
	return answer, nil
}

// sharedBy returns the ledger of another of two instances that share a store.
func sharedBy(store ledger.Store) ledger.Ledger {
	return ledger.NewShared(store, memory(), .5, quiet().Logger)
}

// A Guard asks the ledger about a rate alone, since other instances may have used it up.
func TestGuardAndTheRateOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said logtest.Log
		store := newSafeStore()
		slow := Terms{Rate: rate.Rate{Events: 1, Per: 10 * time.Second}}
		wantResult(t, New("a", new(service), slow, NewBudget(), sharedBy(store), quiet()), reputation.ResultOK)
		k := New("a", new(service), slow, NewBudget(), sharedBy(store), Options{Logger: said.Logger()})
		if got, until := ask(k); got != reputation.ResultSkippedQuota || time.Until(until) != 10*time.Second {
			t.Errorf("%s for %s", got, time.Until(until))
		}
		if st := k.Status(); st.InFlight != 0 || st.Windows != nil || !st.Up || said.String() != "" {
			t.Errorf("status %+v, said %q", st, said.String())
		}
		time.Sleep(10 * time.Second)
		wantResult(t, k, reputation.ResultOK)
	})
}

// A Guard tells a spent quota from what only this instance cannot have now.
func TestGuardWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said logtest.Log
		store := newSafeStore()
		store.away = true
		counts := &counted{Ledger: sharedBy(store)}
		k := New("a", new(service), Terms{Windows: windows("4/day")}, NewBudget(), counts, Options{Logger: said.Logger()})
		wantResult(t, k, reputation.ResultOK)
		wantResult(t, k, reputation.ResultOK)
		for range 3 {
			before := counts.takes
			if got, until := ask(k); got != reputation.ResultSkippedQuota || !until.IsZero() || counts.takes != before+1 {
				t.Errorf("its share is spent: %s until %s, the ledger was asked %d times", got, until, counts.takes-before)
			}
		}
		day := ledger.Day.End(time.Now())
		want := []WindowStatus{{Window: "4/day", Period: "day", Limit: 4, Used: 2, Reset: day}}
		if diff := cmp.Diff(want, k.Status().Windows); diff != "" || said.String() != "" {
			t.Errorf("said %q, status:\n%s", said.String(), diff)
		}
		store.away = false
		wantResult(t, k, reputation.ResultOK)
		wantResult(t, k, reputation.ResultOK)
		wantSkip(t, k, reputation.ResultSkippedQuota, time.Until(day))
		store.away = true // The next day.
		wantResult(t, k, reputation.ResultOK)
		wantResult(t, k, reputation.ResultOK)
		wantResult(t, k, reputation.ResultSkippedQuota)
		if n := strings.Count(said.String(), "quota is spent"); n != 1 {
			t.Errorf("said %d times that the quota is spent", n)
		}
		said.Take()
		asked := counts.takes
		if st := k.Status(); len(st.Windows) != 1 || counts.takes != asked || said.String() != "" {
			t.Errorf("the status waits for nobody: %+v, said %q", st, said.String())
		}
	})
}

// Instances that share a ledger have one price.
func TestInstancesShareThePrice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSafeStore()
		terms := Terms{Windows: day(1000), Burst: .2}
		var guards []*Guard
		for range 2 {
			guards = append(guards, New("a", new(service), terms, NewBudget(), sharedBy(store), quiet()))
		}
		if n := bid(t, guards[0], .5, 1000); n != 101 {
			t.Errorf("%d calls by the first instance", n)
		}
		guards[1].Sync(t.Context())
		if a, b := guards[0].Status().Price, guards[1].Status().Price; a != b || a < .5 || a > .51 {
			t.Errorf("the price is %v on one instance, and %v on the other", a, b)
		}
		if n := bid(t, guards[1], .4, 1000); n != 0 {
			t.Errorf("%d calls by the other instance", n)
		}
	})
}

// While the store is away, an instance may use its share of the remaining calls. The guard keeps a part of this share for
// the clients that matter.
func TestThePriceWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSafeStore()
		shared := ledger.NewShared(store, memory(), .25, slog.New(slog.DiscardHandler))
		g := New("a", new(service), Terms{Windows: day(1000), Burst: .25}, NewBudget(), shared, quiet())
		time.Sleep(12 * time.Hour) // 625 calls are released
		if n := bid(t, g, .1, 5); n != 5 {
			t.Fatalf("%d calls while the store is there", n)
		}
		store.away = true
		crowd := bid(t, g, .1, 1000)
		if crowd < 80 || crowd > 110 {
			t.Errorf("a crowd gets %d calls of a share of 155, want those that are not kept", crowd)
		}
		if price := g.Status().Price; price < .1 || price > .15 {
			t.Errorf("the price is %v", price)
		}
		time.Sleep(2 * recheckClosed)
		if n := bid(t, g, .6, 1000); n < 20 {
			t.Errorf("who matters gets %d calls", n)
		}
		if n := bid(t, g, .9, 1000); n < 10 || store.used["day2000-01-01 00:00:00 +0000 UTC"] != 5 {
			t.Errorf("who matters most gets %d calls, %v", n, store.used)
		}
		store.away = false
		g.Sync(context.Background())
		time.Sleep(2 * recheckClosed)
		if n := bid(t, g, .1, 10); n != 10 {
			t.Errorf("%d calls once the store is back", n)
		}
		if price := g.Status().Price; price != 0 {
			t.Errorf("the price is %v once the store is back", price)
		}
	})
}
