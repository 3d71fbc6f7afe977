package lookup

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/worth"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// gated is a provider that allows so many calls, and so many at the same time.
type gated struct {
	*provideFunc
	left        atomic.Int64
	concurrency int64

	running, canceled, skipped atomic.Int64

	mu    sync.Mutex
	asked []netip.Addr
}

func gate(calls, concurrency int64, p *provideFunc) *gated {
	g := &gated{provideFunc: p, concurrency: concurrency}
	g.left.Store(calls)
	return g
}

func (g *gated) Reserve(netip.Addr, worth.Bid, time.Time) (Reservation, reputation.Result, bool) {
	switch {
	case g.left.Load() <= 0:
		return nil, reputation.ResultSkippedQuota, false
	case g.running.Load() >= g.concurrency:
		return nil, reputation.ResultSkippedQuota, true
	}
	g.running.Add(1)
	g.left.Add(-1)
	return gatedCall{g}, reputation.ResultOK, false
}

func (g *gated) CountSkipped(reputation.Result) { g.skipped.Add(1) }

type gatedCall struct{ *gated }

func (c gatedCall) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	c.mu.Lock()
	c.asked = append(c.asked, q.Addr)
	c.mu.Unlock()
	defer c.running.Add(-1)
	return c.gated.Check(ctx, q)
}

func (c gatedCall) Cancel() {
	c.running.Add(-1)
	c.left.Add(1)
	c.canceled.Add(1)
}

// of returns the i-th address of the n-th /48, in a /64 of its own.
func of(n, i int) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, byte(n >> 8), byte(n), byte(i >> 8), byte(i), 15: 1})
}

// While nobody may be asked, an unknown client costs one look into the shared memory a minute, which it shares with others:
// no claim, no goroutine of its own, nothing in the memory.
func TestNobodyMayBeAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const subjects, minutes = 1000, 3
		b, memory, p := newBoard(), new(mapMemory), gate(0, 4, after(0, abusive, nil))
		b.slow = time.Millisecond
		e := newEngine(t, Config{Providers: []Provider{asked("p", p)}, Memory: memory, Shared: blackboard{b, "a"}, MaxInFlight: 1 << 20})
		before := runtime.NumGoroutine()
		for range minutes*60 - 1 {
			for i := range subjects {
				if v := e.Lookup(t.Context(), of(i, 1), 0); v.Scored || v.Status != reputation.Pending && v.Status != reputation.Unknown {
					t.Fatalf("got %+v", v)
				}
			}
			if n := runtime.NumGoroutine() - before; n > 1 {
				t.Fatalf("%d goroutines; want that of the exchange at most", n)
			}
			time.Sleep(time.Second)
			if v := e.Lookup(t.Context(), of(0, 1), time.Second); v.Status != reputation.Unknown {
				t.Fatalf("got %s; want unknown, as nobody is asking", v.Status)
			}
		}
		loaded := 0
		for _, n := range b.loads {
			loaded += n
		}
		if loaded != minutes*subjects || len(b.loads) > minutes*(subjects/maxBatch+3) {
			t.Errorf("%d subjects in %d exchanges; want each once a minute, %d at a time", loaded, len(b.loads), maxBatch)
		}
		if b.claims != 0 || len(memory.records) != 0 || p.calls.Load() != 0 {
			t.Errorf("%d claims, %d records, %d calls; want none", b.claims, len(memory.records), p.calls.Load())
		}
		if n := p.skipped.Load(); n != minutes*subjects {
			t.Errorf("%d skipped calls are counted; want one for each subject and minute", n)
		}
	})
}

// What another instance has learnt is known at once, though nobody may be asked.
func TestNobodyMayBeAskedButAnotherInstanceKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		instances(t, b, after(0, abusive, nil), 1)[0].Lookup(t.Context(), client, time.Second)
		synctest.Wait()
		e := newEngine(t, Config{Providers: []Provider{asked("p", gate(0, 4, after(0, clean, nil)))}, Shared: blackboard{b, "b"}})
		if v := e.Lookup(t.Context(), client, time.Second); v.Origin != reputation.OriginRedis || v.Score < 85 {
			t.Errorf("got %+v", v)
		}
	})
}

func TestRefusedLookupDoesNotAllocate(t *testing.T) {
	p := gate(0, 4, after(0, abusive, nil))
	e := newEngine(t, Config{Providers: []Provider{asked("p", p)}, Memory: new(oneRecord)})
	e.Lookup(t.Context(), client, time.Second)
	if n := testing.AllocsPerRun(100, func() { e.Lookup(t.Context(), client, time.Second) }); n != 0 && !testenv.Race {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRefusedLookup(b *testing.B) {
	e := newEngine(b, Config{Providers: []Provider{asked("p", gate(0, 4, after(0, abusive, nil)))}, Memory: new(oneRecord)})
	b.ReportAllocs()
	for b.Loop() {
		e.Lookup(context.Background(), client, 0)
	}
}

// With first come, a crowd waits for its turn, in order, and is answered without coming again.
func TestACrowdWaitsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gate(1000, 2, after(10*time.Millisecond, abusive, nil))
		e := newEngine(t, Config{Providers: []Provider{asked("p", p)}, FirstCome: true})
		var crowd []netip.Addr
		for i := range 100 {
			crowd = append(crowd, of(i, 1))
			if v := e.Lookup(t.Context(), crowd[i], 0); v.Status != reputation.Pending {
				t.Fatalf("visitor %d is %s", i, v.Status)
			}
		}
		for i, took := range map[int]time.Duration{0: 10, 8: 50, 99: 0} { // in ms; two are asked about at a time
			start := time.Now()
			v := e.Lookup(t.Context(), crowd[i], time.Second)
			if answered := v.Status == reputation.Fresh; time.Since(start) > took*time.Millisecond || answered != (i < 99) {
				t.Errorf("visitor %d is %s after %s; who is far back waits for nothing", i, v.Status, time.Since(start))
			}
		}
		time.Sleep(time.Second)
		if v := e.Lookup(t.Context(), crowd[99], 0); v.Status != reputation.Fresh {
			t.Errorf("the last one is %s in the end", v.Status)
		}
		if slices.SortFunc(p.asked[:2], netip.Addr.Compare); !slices.IsSortedFunc(p.asked, func(a, b netip.Addr) int {
			return int(a.As16()[5])/2 - int(b.As16()[5])/2 // two are asked about at the same time
		}) || len(p.asked) != 100 {
			t.Errorf("asked about %d, in the order %s", len(p.asked), p.asked)
		}
	})
}

// Who waits while the quota is spent, or the engine is closed, waits no longer.
func TestWaitingEnds(t *testing.T) {
	for name, end := range map[string]func(*Engine, *gated){
		"spent": func(_ *Engine, p *gated) { p.left.Store(0) },
		"closed": func(e *Engine, _ *gated) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			e.Close(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := gate(1000, 1, after(time.Minute, abusive, nil))
				e := newEngine(t, Config{Providers: []Provider{asked("p", p)}, Timeout: 2 * time.Minute})
				for i := range 8 {
					e.Lookup(t.Context(), of(i, 1), 0)
				}
				go end(e, p)
				if v := e.Lookup(t.Context(), of(7, 1), 30*time.Second); v.Status != reputation.Unknown {
					t.Errorf("got %s", v.Status)
				}
			})
		})
	}
}

// One network, whatever rotates in it, has an eighth of the places of each kind: others find theirs.
func TestOneNetworkLeavesPlaces(t *testing.T) {
	for name, concurrency := range map[string]int64{"calls that run": 1 << 20, "calls that wait": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := gate(1<<20, concurrency, after(time.Second, abusive, nil))
				e := newEngine(t, Config{Providers: []Provider{asked("p", p)}})
				pending := func(n, i int) bool { return e.Lookup(t.Context(), of(n, i), 0).Status == reputation.Pending }
				pending(9999, 1) // takes the only place of the one provider
				for network := range 8 {
					held := 0
					for i := range 2000 {
						if pending(network, i) {
							held++
						}
					}
					if most := int(256) / 8; network < 7 && held != most || held > most {
						t.Errorf("network %d has %d places; want %d of 256", network, held, most)
					}
				}
				for _, list := range []*bound{e.running, e.waiting} {
					list.mu.Lock()
					defer list.mu.Unlock()
					if len(list.by) > 9 || list.taken > 256 {
						t.Errorf("%d places in %d networks", list.taken, len(list.by))
					}
				}
			})
		})
	}
}

// A reservation is given back where another instance asks or has asked, and where there is a bug.
func TestReservationsAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		providers := []*gated{
			gate(1000, 4, after(50*time.Millisecond, abusive, nil)), gate(1000, 4, after(50*time.Millisecond, abusive, nil)),
		}
		var list []*Engine
		for i, p := range providers {
			list = append(list, newEngine(t, Config{Providers: []Provider{asked("p", p)}, Shared: blackboard{b, fmt.Sprint(i)}}))
		}
		var all sync.WaitGroup
		for _, e := range list {
			all.Go(func() {
				if v := e.Lookup(t.Context(), client, time.Second); v.Status != reputation.Fresh {
					t.Errorf("got %+v", v)
				}
			})
		}
		time.Sleep(25 * time.Millisecond)
		if n := providers[0].running.Load() + providers[1].running.Load(); n != 1 {
			t.Errorf("%d places are taken while one instance asks; want 1", n)
		}
		all.Wait()
		synctest.Wait()
		if left := providers[0].left.Load() + providers[1].left.Load(); left != 1999 {
			t.Errorf("%d calls are left of 2000", left)
		}

		p := gate(1000, 1, after(0, abusive, nil))
		e := newEngine(t, Config{Providers: []Provider{asked("p", p)}, Shared: broken{blackboard{b, "c"}}})
		e.Lookup(t.Context(), client.Next(), time.Second)
		synctest.Wait()
		if p.running.Load() != 0 || p.canceled.Load() != 1 || e.running.taken != 0 {
			t.Errorf("after a bug, %d calls count as running", p.running.Load())
		}
	})
}

// A subject was seen for a minute, unless the clock steps back.
func TestSeen(t *testing.T) {
	s := newSeen()
	for i := range 1000 {
		key := record.KeyOf(of(i, 1))
		for _, step := range []struct {
			at   uint32
			want bool
		}{{1000, true}, {1000, false}, {1059, false}, {1060, true}, {1061, false}, {500, true}, {559, false}, {560, true}} {
			if got := s.first(key, step.at); got != step.want {
				t.Fatalf("subject %d at %d: %v", i, step.at, got)
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() { s.first(record.KeyOf(client), 5) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What a clock that was ahead has left makes room for those that are seen now.
func TestSeenAheadOfTime(t *testing.T) {
	s := newSeen()
	for i := range 300_000 {
		s.first(record.Key(i), 1_000_000)
	}
	const subjects = 1000
	for range 2 {
		remembered := 0
		for i := range subjects {
			if !s.first(record.Key(1_000_000+i), 1000) {
				remembered++
			}
		}
		if remembered != 0 && remembered != subjects {
			t.Errorf("%d of %d are remembered", remembered, subjects)
		}
	}
}
