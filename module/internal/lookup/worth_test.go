package lookup

import (
	"math"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Who matters more is worth more: the table, from the last to the first.
func TestWorth(t *testing.T) {
	last := -1.
	for _, tt := range []struct {
		name string
		Bidder
		want float64
	}{
		{"a relay, once", Bidder{Requests: 1, Explained: true}, .05},
		{"anybody, once", Bidder{Requests: 1}, .10},
		{"a host that comes often", Bidder{Requests: 200, Explained: true}, .175},
		{"anybody, three times", Bidder{Requests: 3}, .15},
		{"anybody, four times", Bidder{Requests: 4}, .25},
		{"whose first page is missing", Bidder{Requests: 1, Seen: true}, .25},
		{"anybody, often", Bidder{Requests: 100}, .35},
		{"on a list that does not decide", Bidder{Requests: 1, Percent: 4}, .40},
		{"a log-in", Bidder{Requests: 1, Important: true}, .50},
		{"on lists that nearly decide", Bidder{Requests: 1, Percent: 40}, .60},
		{"a fake bot", Bidder{Requests: 1, Fake: true}, .60},
		{"a log-in by somebody on a list", Bidder{Requests: 1, Percent: 4, Important: true}, .80},
		{"the same, often", Bidder{Requests: 8, Percent: 20, Important: true}, 1},
	} {
		if got := tt.Worth(); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		if tt.want < last-.03 {
			t.Errorf("%s: the table is not in order", tt.name)
		}
		last = tt.want
	}
}

// One more reason to ask never makes a client worth less, and evidence outweighs any number of requests.
func TestWorthOfAnyClient(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Bidder{
			Requests: rapid.IntRange(1, 255).Draw(t, "requests"), Percent: rapid.Float64Range(.1, 100).Draw(t, "percent"),
			Seen: rapid.Bool().Draw(t, "seen"), Fake: rapid.Bool().Draw(t, "fake"),
			Explained: rapid.Bool().Draw(t, "explained"), Important: rapid.Bool().Draw(t, "important"),
		}
		before := c.Worth()
		if before <= 0 || before > 1 {
			t.Fatalf("%v", before)
		}
		for name, more := range map[string]func(*Bidder){
			"requests": func(c *Bidder) { c.Requests *= 2 }, "percent": func(c *Bidder) { c.Percent *= 3 },
			"seen": func(c *Bidder) { c.Seen = true }, "fake": func(c *Bidder) { c.Fake = true },
			"not explained": func(c *Bidder) { c.Explained = false }, "important": func(c *Bidder) { c.Important = true },
		} {
			if other := c; true {
				if more(&other); other.Worth() < before {
					t.Fatalf("%s: %v after %v", name, other.Worth(), before)
				}
			}
		}
	})
	busy, listed := Bidder{Requests: 255}, Bidder{Requests: 1, Percent: evidencePercent}
	if busy.Worth() >= listed.Worth() {
		t.Errorf("a busy client is worth %v, a listed one %v", busy.Worth(), listed.Worth())
	}
}

// Requests count while they follow each other within ten minutes. A clock that steps back costs a count, no more.
func TestVisits(t *testing.T) {
	v, key := NewVisits(), record.KeyOf(client)
	for _, step := range []struct {
		at   uint32
		want int
	}{{5000, 1}, {5000, 2}, {5599, 3}, {6198, 4}, {6798, 1}, {6799, 2}, {1000, 1}, {1001, 2}} {
		if got := v.Count(key, step.at); got != step.want {
			t.Fatalf("at %d: %d, want %d", step.at, got, step.want)
		}
		if got := v.peek(key, step.at); got != step.want {
			t.Fatalf("at %d: a look gives %d, want %d", step.at, got, step.want)
		}
	}
	for range 300 {
		v.Count(key, 1001)
	}
	if n := v.peek(key, 1001); n != visitsMost {
		t.Errorf("%d requests", n)
	}
	if n := testing.AllocsPerRun(100, func() { v.Count(key, 5) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A flood of clients that come once does not displace those that come again.
func TestVisitsInAFlood(t *testing.T) {
	v := NewVisits()
	known := func(i int) record.Key { return record.KeyOf(of(i, 1)) }
	for range 3 {
		for i := range 1000 {
			v.Count(known(i), 100)
		}
	}
	for i := range 300_000 {
		v.Count(record.Key(uint64(i)<<16), 101)
	}
	lost := 0
	for i := range 1000 {
		if v.peek(known(i), 102) != 3 {
			lost++
		}
	}
	if lost > 2 { // whose tag another one shares by chance
		t.Errorf("%d of 1000 counts are lost", lost)
	}
}

// Many goroutines count at the same time.
func TestVisitsTogether(t *testing.T) {
	v := NewVisits()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 10_000 {
				if n := v.Count(record.KeyOf(of(i%50, 1)), uint32(i)); n < 1 || n > visitsMost {
					t.Errorf("%d", n)
				}
			}
		})
	}
	all.Wait()
}

// bids is a provider that notes what the calls are worth, and allows those from a price on.
type bids struct {
	*provideFunc
	price float64
	last  atomic.Uint64
}

func (b *bids) Reserve(_ netip.Addr, worth float64, _ time.Time) (Reservation, reputation.Result, bool) {
	b.last.Store(math.Float64bits(worth))
	if worth < b.price {
		return nil, reputation.ResultSkippedQuota, false
	}
	return bidCall{b}, reputation.ResultOK, false
}

func (b *bids) CountSkipped(reputation.Result) {}

func (b *bids) bid() float64 { return math.Float64frombits(b.last.Swap(0)) }

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
		want      []float64 // of each request
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
			p := &bids{provideFunc: after(0, abusive, nil), price: 9}
			e := newEngine(t, Config{
				Lists: lists, Meanings: []List{{Source: weak, Confidence: 1, Categories: reputation.CategoriesOf(reputation.Abuse)}},
				Own: own, Databases: hosts, Providers: []Provider{asked("p", p)}, FirstCome: tt.firstCome,
			})
			for i, want := range tt.want {
				if tt.request == (Request{}) {
					if a := e.Explain(tt.addr).Answers[0]; math.Abs(a.Worth-want) > 1e-9 {
						t.Errorf("before request %d: an answer is explained to be worth %v, want %v", i, a.Worth, want)
					}
				}
				e.LookupRequest(t.Context(), tt.addr, tt.request, 0)
				if got := p.bid(); math.Abs(got-want) > 1e-9 {
					t.Errorf("request %d: worth %v, want %v", i, got, want)
				}
			}
			e.Refresh(t.Context(), tt.addr)
			if got := p.bid(); got <= 1 {
				t.Errorf("an operator asks with a worth of %v", got)
			}
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
		if got := []float64{first.bid(), bad.bid(), further.bid()}; !slices.Equal(got, []float64{.1, .1, .1}) {
			t.Errorf("the first bids are %v", got)
		}
		e.Lookup(t.Context(), client, time.Second)
		if got := further.bid(); math.Abs(got-.8*(.15+.3)) > 1e-9 {
			t.Errorf("a further answer is worth %v", got)
		}
		time.Sleep(25 * time.Hour)
		e.Lookup(t.Context(), client, 0)
		if a, b := first.bid(), bad.bid(); math.Abs(a-.5*(.1+.3)) > 1e-9 || math.Abs(b-.8*.1) > 1e-9 {
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
		if got := p.bid(); math.Abs(got-.65) > 1e-9 {
			t.Errorf("worth %v, want that of the request that matters most", got)
		}
	})
}

// Of those who wait, first who matters, and of equals who came first. A client that comes again moves ahead.
func TestQueueServesWhoMatters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gate(1000, 1, after(10*time.Millisecond, abusive, nil))
		e := newEngine(t, Config{Providers: []Provider{asked("p", p)}})
		for i := range 20 {
			e.LookupRequest(t.Context(), of(i, 1), Request{Important: i == 15}, 0)
		}
		for range 7 {
			e.Lookup(t.Context(), of(18, 1), 0)
		}
		time.Sleep(time.Second)
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
