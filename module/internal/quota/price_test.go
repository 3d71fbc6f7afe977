package quota

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// bid asks about as many clients of different networks as there are calls for what they are worth, at most so many.
func bid(t *testing.T, g *Guard, worth float64, most int) (calls int) {
	t.Helper()
	for calls < most {
		addr := of(2*calls, 1)
		r, why, _ := g.Reserve("", addr, worthOf(worth), time.Now())
		if r == nil {
			if why != reputation.ResultSkippedQuota {
				t.Fatalf("no call, since %s", why)
			}
			return calls
		}
		if _, err := r.Check(context.Background(), reputation.Query{Addr: addr}); err != nil {
			t.Fatal(err)
		}
		calls++
	}
	return calls
}

func day(limit int) []ledger.Window { return []ledger.Window{{Limit: limit, Period: ledger.Day}} }

func TestPrice(t *testing.T) {
	for name, tt := range map[string]struct {
		terms Terms
		at    string
		used  []int
		want  float64
	}{
		"nothing is used":               {Terms{Windows: day(1000), Burst: .25}, "2027-01-31T00:00:00Z", []int{0}, 0},
		"half of the burst":             {Terms{Windows: day(1000), Burst: .25}, "2027-01-31T00:00:00Z", []int{125}, .5},
		"all of the burst":              {Terms{Windows: day(1000), Burst: .25}, "2027-01-31T00:00:00Z", []int{250}, 1},
		"more than is released":         {Terms{Windows: day(1000), Burst: .25}, "2027-01-31T00:00:00Z", []int{600}, 1},
		"at noon":                       {Terms{Windows: day(1000), Burst: .25}, "2027-01-31T12:00:00Z", []int{500}, .5},
		"a quiet morning is left":       {Terms{Windows: day(1000), Burst: .25}, "2027-01-31T12:00:00Z", []int{300}, 0},
		"a small burst":                 {Terms{Windows: day(1000), Burst: .1}, "2027-01-31T00:00:00Z", []int{75}, .75},
		"all at once":                   {Terms{Windows: day(1000), Burst: 1}, "2027-01-31T00:00:00Z", []int{749}, 0},
		"all at once, the last quarter": {Terms{Windows: day(1000), Burst: 1}, "2027-01-31T00:00:00Z", []int{875}, .5},
		"the last hours":                {Terms{Windows: day(1000), Burst: .25}, "2027-01-31T21:00:00Z", []int{875}, .75},
		"the last minutes":              {Terms{Windows: day(1000), Burst: .25}, "2027-01-31T23:58:00Z", []int{996}, 0},
		"a small quota":                 {Terms{Windows: day(12), Burst: .25}, "2027-01-31T00:00:00Z", []int{5}, .5},
		"few calls":                     {Terms{Windows: day(10), Burst: .25}, "2027-01-31T00:00:00Z", []int{9}, 0},
		"a minute of few calls":         {Terms{Windows: windows("4/minute")}, "2027-01-31T00:00:00Z", []int{3}, 0},
		"a minute":                      {Terms{Windows: windows("40/minute")}, "2027-01-31T00:00:00Z", []int{35}, .5},
		"the end of a minute":           {Terms{Windows: windows("40/minute")}, "2027-01-31T00:00:57Z", []int{38}, 0},
		"the dearest of two":            {Terms{Windows: windows("40/minute", "1000/day"), Burst: .25}, "2027-01-31T00:00:00Z", []int{35, 200}, .8},
		"no quota":                      {Terms{}, "2027-01-31T00:00:00Z", nil, 0},
		"first come":                    {Terms{Windows: day(1000), Burst: .25, FirstCome: true}, "2027-01-31T00:00:00Z", []int{249}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			at := mustTime(t, tt.at)
			usage := make([]ledger.Usage, len(tt.used))
			for i, used := range tt.used {
				usage[i] = ledger.Usage{Used: used, Reset: tt.terms.Windows[i].Period.End(at)}
			}
			if got := tt.terms.price(usage, at); got < tt.want-.005 || got > tt.want+.005 {
				t.Errorf("%.3f, want %.3f", got, tt.want)
			}
		})
	}
}

// Whatever the quota and the time: the price is from 0 to 1, rises with what is used, and keeps nobody from a call who
// is worth most.
func TestPriceOfAnyQuota(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := ledger.Window{
			Limit:  rapid.IntRange(1, 100_000).Draw(t, "limit"),
			Period: ledger.Period(rapid.IntRange(0, ledger.NumPeriods-1).Draw(t, "period")),
		}
		terms := Terms{Windows: []ledger.Window{w}, Burst: rapid.Float64Range(.001, 1).Draw(t, "burst")}
		now := time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "now"), 0)
		used := rapid.IntRange(0, w.Limit).Draw(t, "used")
		price := func(used int) float64 {
			return terms.price([]ledger.Usage{{Used: used, Reset: w.Period.End(now)}}, now)
		}
		if p, more := price(used), price(used+1); p < 0 || more > 1 || p > more {
			t.Fatalf("the price is %v with %d calls, and %v with one more", p, used, more)
		}
		if p := price(0); p > 0 {
			t.Fatalf("the price is %v before the first call", p)
		}
	})
}

// While the budget is short, only who matters is asked about. That is as cheap as a quota that is spent, and the price of
// one bid keeps nobody out who bids more.
func TestWhoMattersIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New("a", new(service), Terms{Windows: day(1000), Burst: .2}, NewBudget(), memory(), quiet())
		for _, tt := range []struct {
			worth float64
			want  int
		}{{.1, 21}, {.1, 0}, {.5, 80}, {.1, 0}, {.5, 0}, {.9, 80}, {1, 19}, {1, 0}} {
			if n := bid(t, g, tt.worth, 1000); n != tt.want {
				t.Errorf("%d calls worth %v, want %d", n, tt.worth, tt.want)
			}
		}
		if r, why, _ := g.Reserve("", addr4, operator, time.Now()); r == nil {
			t.Errorf("an operator may not ask: %s", why)
		} else {
			r.Cancel()
		}
		time.Sleep(time.Hour) // a thirtieth of the day's 800 calls: 33, and nothing was left
		if n := bid(t, g, .1, 1000); n != 0 {
			t.Errorf("%d calls worth 0.1 while nothing is left of the burst", n)
		}
		if n := bid(t, g, 1, 1000); n != 33 {
			t.Errorf("%d calls worth 1, want the 33 that the hour brought", n)
		}
	})
}

// A crowd in which nobody matters uses the whole quota all the same: what is kept for others falls to nothing at the end.
func TestNothingIsLostAtTheEnd(t *testing.T) {
	for _, quota := range []string{"1000/day", "60/hour", "40/minute"} {
		t.Run(quota, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := New("a", new(service), Terms{Windows: windows(quota), Burst: .25}, NewBudget(), memory(), quiet())
				w := g.terms.Windows[0]
				end, calls := w.Period.End(time.Now()), 0
				for step := time.Until(end) / 400; time.Now().Before(end); time.Sleep(step) {
					calls += bid(t, g, .1, 1000)
				}
				if calls < w.Limit*99/100 || calls > w.Limit {
					t.Errorf("%d calls of %s", calls, w)
				}
			})
		})
	}
}

// First come, first served, is what it says.
func TestFirstCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		terms := Terms{Windows: day(1000), Burst: .2, Rate: rate.Rate{Events: 300, Per: time.Second}, FirstCome: true}
		g := New("a", new(service), terms, NewBudget(), memory(), quiet())
		calls := 0
		for range 100 {
			calls += bid(t, g, 0, 1000)
			time.Sleep(20 * time.Millisecond)
		}
		if calls != 200 {
			t.Errorf("%d calls, want the whole burst", calls)
		}
	})
}

// A service with a rate alone keeps a part of what may be called at once for who matters. A rate of single calls, and one
// that is spent, are first come.
func TestPriceOfARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New("a", new(service), Terms{Rate: rate.Rate{Events: 5, Per: time.Second}}, NewBudget(), memory(), quiet())
		if n := bid(t, g, 0, 100); n != 3 {
			t.Errorf("%d calls at once worth 0, want 3 of 5", n)
		}
		if n := bid(t, g, 1, 100); n != 2 {
			t.Errorf("%d calls worth 1, want the 2 that are left", n)
		}
		low, high := 0, 0
		for range 1000 { // a crowd, and now and then somebody who matters
			low += bid(t, g, 0, 1)
			if time.Sleep(100 * time.Millisecond); low%4 == 0 {
				high += bid(t, g, 1, 1)
			}
		}
		if low+high < 480 || high < 100 {
			t.Errorf("of 500 calls, %d of the crowd and %d that matter were made", low, high)
		}
		single := New("b", new(service), Terms{Rate: rate.Rate{Events: 1, Per: time.Second}}, NewBudget(), memory(), quiet())
		if n := bid(t, single, 0, 100); n != 1 {
			t.Errorf("%d calls of a rate of single ones", n)
		}
	})
}

// While as many calls run as may, who is worth too little does not wait for them, and takes nobody's place in the queue.
func TestWhoIsWorthTooLittleDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		terms := Terms{Windows: day(1000), Burst: .2, Concurrency: 1}
		g := New("a", new(service), terms, NewBudget(), memory(), quiet())
		bid(t, g, .5, 1000)
		running, _, _ := g.Reserve("", addr4, worthOf(.9), time.Now())
		if running == nil {
			t.Fatal("no call runs")
		}
		for range 3 {
			for worth, want := range map[float64]bool{.1: false, .4: false, .9: true} {
				if r, _, waits := g.Reserve("", of(7, 1), worthOf(worth), time.Now()); r != nil || waits != want {
					t.Errorf("a call worth %v waits: %t", worth, waits)
				}
				time.Sleep(recheckClosed)
			}
		}
		running.Cancel()
	})
}

// A call that is refused for its price costs nothing on the heap, and mostly does not even look at the counts.
func TestRefusedForItsPriceIsCheap(t *testing.T) {
	now, looked := mustTime(t, "2027-01-10T00:00:00Z"), 0
	o := quiet()
	o.Now = func() time.Time { return now }
	g := New("a", new(service), Terms{Windows: windows("1000/month"), Burst: .1}, NewBudget(), memory(), o)
	g.ledger = lookCounter{g.ledger, &looked}
	for r, _, _ := g.Reserve("", addr4, worthOf(.5), now); r != nil; r, _, _ = g.Reserve("", addr4, worthOf(.5), now) {
		_, _ = r.Check(context.Background(), reputation.Query{Addr: addr4})
	}
	looked = 0
	if n := testing.AllocsPerRun(100, func() { g.Reserve("", addr4, worthOf(.1), now) }); n != 0 || looked != 0 {
		t.Errorf("%v allocations, and %d looks at the counts", n, looked)
	}
	if r, why, _ := g.Reserve("", netip.MustParseAddr("198.51.100.9"), worthOf(.9), now); r == nil {
		t.Errorf("who bids more is refused, too: %s", why)
	}
}

type lookCounter struct {
	ledger.Ledger
	looked *int
}

func (l lookCounter) Look(account string, limits ledger.Limits, at time.Time) []ledger.Usage {
	*l.looked++
	return l.Ledger.Look(account, limits, at)
}

// What is reserved counts for the price before it is counted in the ledger: a crowd that comes at once leaves as much for
// those who matter as one that comes one by one.
func TestACrowdAtOncePaysThePrice(t *testing.T) {
	for name, p := range map[string]reputation.Provider{"alone": new(service), "together": &bulk{most: 50}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				terms := Terms{Windows: day(1000), Burst: .2, Concurrency: 100, Timeout: time.Minute}
				g := New("a", p, terms, NewBudget(), memory(), quiet())
				var list []*Reservation
				for i := range 100 {
					if r, _, _ := g.Reserve("", of(2*i, 1), worthOf(.1), time.Now()); r != nil {
						list = append(list, r)
					}
				}
				if len(list) != 21 {
					t.Errorf("%d of the crowd may ask, want 21", len(list))
				}
				time.Sleep(2 * recheckClosed)
				if r, _, _ := g.Reserve("", of(1001, 1), worthOf(.5), time.Now()); r == nil {
					t.Error("nothing is left for who matters")
				} else {
					r.Cancel()
				}
				for i, r := range list {
					if i%2 == 0 {
						r.Cancel()
					} else if _, err := r.Check(context.Background(), reputation.Query{Addr: of(2*i, 1)}); err != nil {
						t.Error(err)
					}
				}
				if n := g.budget.uncounted.Load(); n != 0 {
					t.Errorf("%d calls are reserved in the end", n)
				}
			})
		})
	}
}
