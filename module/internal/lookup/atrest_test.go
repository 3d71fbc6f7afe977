package lookup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// faulty are stakes that panic about some addresses.
type faulty struct{ blockFrom }

func (s *faulty) Open(addr netip.Addr, v *reputation.Verdict, p *Prospect) bool {
	if addr.As16()[7]%5 == 0 {
		panic("a bug")
	}
	return s.blockFrom.Open(addr, v, p)
}

// moody returns a provider that answers in different ways, one after another.
func moody(moods []string) *provideFunc {
	var mu sync.Mutex
	next := 0
	return &provideFunc{check: func(ctx context.Context, _ netip.Addr) (reputation.Report, error) {
		mu.Lock()
		mood := moods[next%len(moods)]
		next++
		mu.Unlock()
		switch mood {
		case "slow":
			time.Sleep(time.Second)
		case "hangs":
			<-ctx.Done()
			return reputation.Report{}, ctx.Err()
		case "panics":
			panic("a mood")
		case "fails":
			return reputation.Report{}, errors.New("a mood")
		case "abusive":
			return abusive, nil
		}
		return clean, nil
	}}
}

// TestNothingIsLeftOfCalls proves that in the end no place is taken and no call or reservation is left, whatever the
// providers do, whoever leaves, and whenever the engine is closed.
func TestNothingIsLeftOfCalls(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var gates []*gated
		var providers []Provider
		for i := range rapid.IntRange(1, 3).Draw(r, "providers") {
			g := gate(int64(rapid.SampledFrom([]int{0, 3, 1000}).Draw(r, "calls")), int64(rapid.SampledFrom([]int{1, 4}).Draw(r, "concurrency")),
				moody(rapid.SliceOfN(rapid.SampledFrom([]string{"slow", "hangs", "panics", "fails", "abusive", "clean"}), 1, 4).Draw(r, "moods")))
			p := asked(fmt.Sprintf("p%d", i), g)
			p.CallsPerDay = rapid.SampledFrom([]float64{0, 1000}).Draw(r, "calls a day")
			gates, providers = append(gates, g), append(providers, p)
		}
		c := Config{
			Providers: providers, Memory: new(mapMemory), Observer: new(countingObserver), Logger: slog.New(slog.DiscardHandler),
			MaxInFlight: rapid.SampledFrom([]int{1, 20, 256}).Draw(r, "in flight"), Timeout: 3 * time.Second,
		}
		shared := rapid.Bool().Draw(r, "shared")
		type caller struct {
			at, wait time.Duration
			addr     netip.Addr
			request  Request
			refresh  bool
		}
		stakes := []Stakes{nil, &blockFrom{50}, &faulty{blockFrom{50}}}
		callers := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) caller {
			return caller{
				at:   time.Duration(rapid.IntRange(0, 5000).Draw(r, "at")) * time.Millisecond,
				wait: time.Duration(rapid.SampledFrom([]int{0, 25, 5000}).Draw(r, "wait")) * time.Millisecond,
				addr: of(rapid.IntRange(0, 3).Draw(r, "network"), rapid.IntRange(0, 40).Draw(r, "host")),
				request: Request{
					Important: rapid.Bool().Draw(r, "important"), Stakes: rapid.SampledFrom(stakes).Draw(r, "stakes"),
				},
				refresh: rapid.IntRange(0, 5).Draw(r, "refresh") == 0,
			}
		}), 1, 60).Draw(r, "callers")
		closes := time.Duration(rapid.IntRange(1, 9).Draw(r, "closes")) * time.Second
		problem := ""
		synctest.Test(t, func(t *testing.T) {
			if shared {
				b := newBoard()
				b.slow = time.Millisecond
				c.Shared = blackboard{b, "a"}
			}
			e, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			for _, c := range callers {
				all.Go(func() {
					defer func() { _ = recover() }() // as a server does
					time.Sleep(c.at)
					if c.refresh {
						e.Refresh(t.Context(), c.addr)
						return
					}
					e.LookupRequest(t.Context(), c.addr, c.request, c.wait)
				})
			}
			time.Sleep(closes)
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			e.Close(ctx)
			all.Wait()
			for name, b := range map[string]*bound{"running": e.running, "waiting": e.waiting, "loading": e.loading} {
				if b.taken != 0 || len(b.by) != 0 {
					problem = fmt.Sprintf("%d places of calls that are %s", b.taken, name)
				}
			}
			for i, g := range gates {
				if n := g.running.Load(); n != 0 {
					problem = fmt.Sprintf("%d calls of provider %d are reserved", n, i)
				}
			}
			if e.Busy() || len(e.exchanges) != 0 || e.publishing.Load() != 0 || len(e.queue.calls) != 0 {
				problem = "calls are left"
			}
		})
		if problem != "" {
			r.Fatal(problem)
		}
	})
}
