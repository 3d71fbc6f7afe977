package lookup

import (
	"math"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/worth"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// bids is a provider that notes what the calls are worth, and allows those from a price on.
type bids struct {
	*provideFunc
	price float64
	last  atomic.Pointer[worth.Bid]
}

func (b *bids) Reserve(_ netip.Addr, bid worth.Bid, _ time.Time) (Reservation, reputation.Result, bool) {
	b.last.Store(&bid)
	if bid.Worth < b.price {
		return nil, reputation.ResultSkippedQuota, false
	}
	return bidCall{b}, reputation.ResultOK, false
}

func (b *bids) CountSkipped(reputation.Result) {}

// bid returns the last bid, if there is one since bid was called.
func (b *bids) bid() (bid worth.Bid) {
	if last := b.last.Swap(nil); last != nil {
		bid = *last
	}
	return bid
}

type bidCall struct{ *bids }

func (bidCall) Cancel() {}

// What is known of a client and of its request reaches the provider as the worth of the call.
func TestWorthReachesTheProvider(t *testing.T) {
	weak := score.Source{Name: "weak", Trust: 1, Weight: 8}
	lists := &fixedLists{
		addrs: map[netip.Addr]uint32{of(1, 1): 1}, members: [][]uint16{nil, {0}},
	}
	own := &sights{clients: map[netip.Addr]float64{of(2, 1): 12, of(3, 1): -1}}
	hosts := fixedFacts{of(4, 1): {Nature: reputation.Nature{}.With(reputation.NatureHosting, true)}}
	for _, tt := range []struct {
		name      string
		addr      netip.Addr
		request   Request
		firstCome bool
		want      []float64 // of each visit
	}{
		{"anybody", of(0, 1), Request{}, false, []float64{.1, .15, .15, .25, .25, .25, .25, .35}},
		{"listed", of(1, 1), Request{}, false, []float64{.4, .45}},
		{"an offender", of(2, 1), Request{}, false, []float64{.6}},
		{"somebody who did what is free", of(3, 1), Request{}, false, []float64{.25}},
		{"a host", of(4, 1), Request{}, false, []float64{.05, .075}},
		{"an important request", of(0, 1), Request{Important: true}, false, []float64{.5}},
		{"a fake bot", of(0, 1), Request{Claim: Claim{Fake: true}}, false, []float64{.6}},
		{"a bot that is driven", of(0, 1), Request{Claim: Claim{Bot: "b"}}, false, []float64{.05}},
		{"first come", of(4, 1), Request{}, true, []float64{1, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &bids{provideFunc: after(0, abusive, nil), price: 9}
				e := newEngine(t, Config{
					Lists: lists, Meanings: []listing.List{{Source: weak, Confidence: 1, Categories: reputation.CategoriesOf(reputation.Abuse)}},
					Own: own, Databases: hosts, Providers: []Provider{asked("p", p)}, FirstCome: tt.firstCome,
				})
				for i, want := range tt.want {
					if tt.request == (Request{}) {
						if a := e.Explain(tt.addr).Answers[0]; math.Abs(a.Worth-want) > 1e-9 {
							t.Errorf("before visit %d: an answer is explained to be worth %v, want %v", i, a.Worth, want)
						}
					}
					for range 2 { // a page and what it loads is one visit
						e.LookupRequest(t.Context(), tt.addr, tt.request, 0)
						if got := p.bid().Worth; math.Abs(got-want) > 1e-9 {
							t.Errorf("visit %d: worth %v, want %v", i, got, want)
						}
					}
					time.Sleep(3 * time.Second)
				}
				e.Refresh(t.Context(), tt.addr)
				if got := p.bid(); !got.Operator {
					t.Errorf("an operator bids %+v", got)
				}
			})
		})
	}
}

// fixedFacts are databases that know some addresses.
type fixedFacts map[netip.Addr]reputation.Facts

func (f fixedFacts) Facts(addr netip.Addr) reputation.Facts { return f[addr] }

// The first answer about a client comes before a second one, and both before the renewal of one that found nothing.
func TestWorthOfFurtherAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := &bids{provideFunc: after(0, clean, nil)}
		bad := &bids{provideFunc: after(0, abusive, nil)}
		further := &bids{provideFunc: after(0, clean, nil), price: 9}
		e := newEngine(t, Config{Providers: []Provider{asked("first", first), asked("bad", bad), asked("further", further)}})
		e.Lookup(t.Context(), client, time.Second)
		if got := []float64{first.bid().Worth, bad.bid().Worth, further.bid().Worth}; !slices.Equal(got, []float64{.1, .1, .1}) {
			t.Errorf("the first bids are %v", got)
		}
		time.Sleep(3 * time.Second)
		e.Lookup(t.Context(), client, time.Second)
		if got := further.bid().Worth; math.Abs(got-.8*(.15+.3)) > 1e-9 {
			t.Errorf("a further answer is worth %v", got)
		}
		time.Sleep(25 * time.Hour)
		e.Lookup(t.Context(), client, 0)
		if a, b := first.bid().Worth, bad.bid().Worth; math.Abs(a-.5*(.1+.3)) > 1e-9 || math.Abs(b-.8*.1) > 1e-9 {
			t.Errorf("a renewal of nothing is worth %v, one of abuse %v", a, b)
		}
	})
}

// What a client is worth is known after the look into the shared memory, too.
func TestWorthAfterALoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &bids{provideFunc: after(0, clean, nil), price: 9}
		b := newBoard()
		b.slow = 10 * time.Millisecond
		e := newEngine(t, Config{Providers: []Provider{asked("p", p)}, Shared: blackboard{b, "a"}})
		for range 3 {
			e.LookupRequest(t.Context(), client, Request{}, 0)
		}
		e.LookupRequest(t.Context(), client, Request{Important: true}, time.Second) // joins the call
		if got := p.bid().Worth; math.Abs(got-.5) > 1e-9 {
			t.Errorf("worth %v, want that of the request that matters most", got)
		}
	})
}

// Of those who wait, first who matters, and of equals who came first. A client that comes again moves ahead.
func TestQueueServesWhoMatters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gate(1000, 1, after(4*time.Second, abusive, nil))
		e := newEngine(t, Config{Providers: []Provider{asked("p", p)}})
		for i := range 20 {
			e.LookupRequest(t.Context(), of(i, 1), Request{Important: i == 15}, 0)
		}
		time.Sleep(3 * time.Second)
		e.Lookup(t.Context(), of(18, 1), 0)
		time.Sleep(2 * time.Minute)
		want := []netip.Addr{of(0, 1), of(15, 1), of(18, 1)}
		for i := 1; i < 20; i++ {
			if i != 15 && i != 18 {
				want = append(want, of(i, 1))
			}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if !slices.Equal(p.asked, want) {
			t.Errorf("asked about %v", p.asked)
		}
	})
}

// When the queue is full, who matters takes the place of who matters least and came last, whose call ends; nobody takes
// that of an equal. A network that has its part takes only from itself.
func TestQueueMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gate(1<<20, 1, after(time.Hour, abusive, nil))
		e := newEngine(t, Config{Providers: []Provider{asked("p", p)}, MaxInFlight: 32, Timeout: 2 * time.Hour})
		look := func(n, i int, important bool) reputation.Status {
			return e.LookupRequest(t.Context(), of(n, i), Request{Important: important}, 0).Status
		}
		look(999, 1, false) // runs
		for n := range 32 {
			look(n, 1, n%2 == 1)
		}
		if got := look(100, 1, false); got != reputation.Unknown {
			t.Errorf("an equal is %s in a full queue", got)
		}
		if got := look(101, 1, true); got != reputation.Pending {
			t.Errorf("who matters is %s in a full queue", got)
		}
		synctest.Wait()
		waiting := func(addr netip.Addr) bool {
			e.queue.mu.Lock()
			defer e.queue.mu.Unlock()
			return slices.ContainsFunc(e.queue.calls, func(c *call) bool { return c.addr == addr })
		}
		if waiting(of(30, 1)) || !waiting(of(28, 1)) || !waiting(of(31, 1)) || !waiting(of(101, 1)) {
			t.Errorf("not the last of those that matter least was displaced")
		}
		if len(e.queue.calls) != 32 || e.waiting.taken != 32 || e.calls.count.Load() != 33 {
			t.Errorf("%d calls wait in %d places, of %d", len(e.queue.calls), e.waiting.taken, e.calls.count.Load())
		}
		for i := range fewPlaces * 2 { // one network, all of whose clients matter
			look(500, i, true)
		}
		synctest.Wait()
		others := 0
		for n := range 32 {
			if waiting(of(n, 1)) {
				others++
			}
		}
		if e.waiting.taken != 32 || others != 16 {
			t.Errorf("%d others wait beside one network that floods, want the 16 that matter as much", others)
		}
	})
}
