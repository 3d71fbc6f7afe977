package quota

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/worth"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// of returns the i-th address of the n-th network: a /48, or for an odd n a /24.
func of(n, i int) netip.Addr {
	if n%2 == 1 {
		return netip.AddrFrom4([4]byte{198, 51, byte(n), byte(i)})
	}
	return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, byte(n >> 8), byte(n), byte(i >> 8), byte(i), 15: 1})
}

// callsAbout asks about each of the addresses, and returns how many calls were made. It asks as look-ups do, which reserve
// first, or in one go.
func callsAbout(t *testing.T, g *Guard, reserve bool, addresses ...netip.Addr) (calls int) {
	t.Helper()
	for _, addr := range addresses {
		if reserve {
			r, why, waits := g.Reserve("", addr, worthOf(1), time.Now())
			if r == nil {
				if why != reputation.ResultSkippedQuota || waits {
					t.Fatalf("no call, since %s, %t", why, waits)
				}
				continue
			}
			if _, err := r.Check(context.Background(), reputation.Query{Addr: addr}); err == nil {
				calls++
			}
			continue
		}
		_, err := g.Check(context.Background(), reputation.Query{Addr: addr})
		var skipped *reputation.SkippedError
		if err == nil {
			calls++
		} else if !errors.As(err, &skipped) {
			t.Fatal(err)
		}
	}
	return calls
}

func keyOf(addr netip.Addr) record.Key { return record.KeyOf(addr).Network() }

// crowd returns so many addresses of as many networks.
func crowd(n int) (list []netip.Addr) {
	for i := range n {
		list = append(list, of(2*i, 1))
	}
	return list
}

// A scan does not use up the day in a minute, nothing that is left is lost, and all is used in the end.
func TestPace(t *testing.T) {
	for name, reserve := range map[string]bool{"reserved": true, "at once": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				terms := Terms{Windows: windows("1000/day"), Burst: .1}
				g := New("a", new(service), terms, NewBudget(), memory(), quiet())
				if n := callsAbout(t, g, reserve, crowd(2000)...); n != 100 {
					t.Errorf("%d calls at midnight, want 100", n)
				}
				time.Sleep(8*time.Hour + time.Second) // the scan is over
				if n := callsAbout(t, g, reserve, crowd(2000)...); n != 300 {
					t.Errorf("%d calls at eight, want the 300 that were not used in the night", n)
				}
				calls := 100 + 300
				for range 16*60 - 1 { // and another is not
					time.Sleep(time.Minute)
					n := callsAbout(t, g, reserve, crowd(5)...)
					if calls += n; n > 1 {
						t.Errorf("%d calls in a minute at %s", n, time.Now().UTC())
					}
				}
				if calls < 999 || calls > 1000 || g.Status().Windows[0].Used != calls {
					t.Errorf("%d calls in the day", calls)
				}
			})
		})
	}
}

func TestWhatIsNotPaced(t *testing.T) {
	for name, tt := range map[string]struct {
		terms Terms
		want  int
	}{
		"few calls":          {Terms{Windows: windows("10/day"), Burst: .1, NetworkShare: .1}, 10},
		"a minute":           {Terms{Windows: windows("300/minute"), Burst: .1}, 300},
		"the operator's way": {Terms{Windows: windows("300/month"), Burst: 1, NetworkShare: 1}, 300},
		"no terms":           {Terms{Windows: windows("300/month")}, 300},
		"no quota":           {Terms{Burst: .1, NetworkShare: .1}, 400},
		"few calls, a share": {Terms{Windows: windows("10/week"), Burst: .25, NetworkShare: .02}, 10},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := New("a", new(service), tt.terms, NewBudget(), memory(), quiet())
				if n := callsAbout(t, g, true, crowd(400)...); n != tt.want {
					t.Errorf("%d calls, want %d", n, tt.want)
				}
			})
		})
	}
}

// Whatever rotates inside a network, it has its share of each window, and the others have the rest.
func TestOneNetworkHasItsShare(t *testing.T) {
	for name, network := range map[string]int{"a /48": 4, "a /24": 5} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				terms := Terms{Windows: windows("1000/day", "5000/month"), NetworkShare: .1}
				g := New("a", new(service), terms, NewBudget(), memory(), quiet())
				var rotating []netip.Addr
				for i := range 3000 {
					rotating = append(rotating, of(network, i))
				}
				if n := callsAbout(t, g, true, rotating...); n != 100 {
					t.Errorf("the network has used %d calls of 1000, want 100", n)
				}
				if n := callsAbout(t, g, true, crowd(200)...); n < 199 { // one of them may be of that network
					t.Errorf("the others had %d calls, want 200", n)
				}
				if addr := of(network, 3500); !g.NetworkSpent(addr, time.Now()) || g.NetworkSpent(of(800, 1), time.Now()) {
					t.Error("the network has used its share, and another one has not")
				}
				time.Sleep(24 * time.Hour)
				if g.NetworkSpent(of(network, 1), time.Now()) {
					t.Error("the share of the day before is used")
				}
				if n := callsAbout(t, g, false, rotating...); n != 100 {
					t.Errorf("the next day it has used %d", n)
				}
				for range 10 {
					time.Sleep(24 * time.Hour)
					callsAbout(t, g, true, rotating...)
				}
				if n := g.budget.networks[ledger.Month].count(keyOf(of(network, 0)), ledger.Month.Start(time.Now())); n != 500 {
					t.Errorf("it has used %d calls in the month, want 500 of 5000", n)
				}
			})
		})
	}
}

// A service without a quota is not asked about one network for ever.
func TestShareWithoutAQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New("a", new(service), Terms{Burst: .25, NetworkShare: .02}, NewBudget(), memory(), quiet())
		var rotating []netip.Addr
		for i := range 5000 {
			rotating = append(rotating, of(4, i))
		}
		for hour := range 2 {
			if n := callsAbout(t, g, true, rotating...); n != 1000 {
				t.Errorf("hour %d: %d calls, want 1000", hour, n)
			}
			time.Sleep(time.Hour)
		}
	})
}

// With the pace, the share is that of the calls that there are by then: no network has the beginning of the day to itself.
func TestShareOfThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		terms := Terms{Windows: windows("10000/day"), Burst: .1, NetworkShare: .1}
		g := New("a", new(service), terms, NewBudget(), memory(), quiet())
		var rotating []netip.Addr
		for i := range 5000 {
			rotating = append(rotating, of(4, i))
		}
		if n := callsAbout(t, g, true, rotating...); n != 100 {
			t.Errorf("%d calls at midnight, want 100 of 1000", n)
		}
		time.Sleep(12 * time.Hour)
		if n := callsAbout(t, g, true, rotating...); n != 450 {
			t.Errorf("%d calls by noon, want a tenth of the 4500", n)
		}
	})
}

// What one network may use of the quotas that free plans have, with the defaults: at the beginning of the window,
// and in all.
func TestShareOfFreePlans(t *testing.T) {
	for quota, want := range map[string]struct{ first, all int }{
		"5/month": {5, 5}, "10/week": {10, 10}, "50/week": {1, 5}, "100/day": {2, 10}, "120/month": {3, 10}, "500/day": {10, 10},
		"1000/day": {10, 20}, "5000/month": {25, 100}, "300/minute": {10, 10}, "60/minute": {6, 6},
	} {
		terms := Terms{Windows: windows(quota), Burst: .25, NetworkShare: .02}
		w := terms.Windows[0]
		start := w.Period.Start(time.Unix(1_796_000_000, 0))
		first, all := terms.networkLimit(w, start, start), terms.networkLimit(w, start, w.Period.End(start))
		if first != want.first || all != want.all {
			t.Errorf("%s: %d calls at first and %d in all, want %+v", quota, first, all, want)
		}
	}
}

// The table of networks has one size. Many networks with a call each do not make it forget the one with many.
func TestNetworksAreBounded(t *testing.T) {
	n, start := new(networks), ledger.Day.Start(time.Now())
	heavy := keyOf(of(4, 0))
	for range 50 {
		n.add(heavy, start)
	}
	for i := range 200_000 {
		n.add(keyOf(of(2*i, 0))+1<<40, start)
	}
	if got := n.count(heavy, start); got != 50 {
		t.Errorf("%d calls are counted, want 50", got)
	}
	n.remove(heavy, start)
	if got := n.count(heavy, start); got != 49 {
		t.Errorf("%d calls are counted after one was taken back", got)
	}
	if got := n.count(heavy, start.Add(24*time.Hour)); got != 0 {
		t.Errorf("%d calls are counted the next day", got)
	}
}

func TestReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		p := providerFunc(func(context.Context, reputation.Query) (reputation.Report, error) {
			<-hold
			return reputation.Report{}, nil
		})
		var results []reputation.Result
		o := Options{Logger: slog.New(slog.DiscardHandler), Observe: func(_ string, r reputation.Result, _ time.Duration) {
			results = append(results, r)
		}}
		terms := Terms{Windows: windows("12/day"), Burst: .1, Concurrency: 2}
		g := New("a", p, terms, NewBudget(), memory(), o)
		reserve := func(bid worth.Bid) (*Reservation, bool) {
			r, _, waits := g.Reserve("", addr4, bid, time.Now())
			return r, waits
		}
		first, _ := reserve(worthOf(1))
		second, _ := reserve(worthOf(1))
		if third, waits := reserve(worthOf(1)); first == nil || second == nil || third != nil || !waits {
			t.Fatalf("two of three may run, and the third may wait: %v, %v, %v, %t", first, second, third, waits)
		}
		first.Cancel()
		if g.Status().InFlight != 1 || g.Status().Windows[0].Used != 0 {
			t.Errorf("a canceled reservation counts: %+v", g.Status())
		}
		close(hold)
		for range 10 {
			_, _ = second.Check(t.Context(), query(""))
			second, _ = reserve(worthOf(1))
		}
		if second != nil {
			t.Fatal("an eleventh call at midnight")
		}
		if n := testing.AllocsPerRun(10, func() { reserve(worthOf(1)) }); n != 0 {
			t.Errorf("a refusal allocates %v times", n)
		}
		for range 2 { // the operator's calls
			r, _ := reserve(operator)
			if r == nil {
				t.Fatal("an urgent call waits for its time")
			}
			_, _ = r.Check(t.Context(), query(""))
		}
		if r, _ := reserve(operator); r != nil || g.Status().Windows[0].Used != 12 {
			t.Errorf("an urgent call beyond the quota: %+v", g.Status())
		}
		if len(results) != 12 {
			t.Errorf("observed %v; refusals are counted by the caller", results)
		}
	})
}

// A refusal is believed for a second at most: what ends it early is noticed soon.
func TestReserveNoticesWhatIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counts := &counted{Ledger: memory()}
		var notices []Notice
		o := quiet()
		o.Notify = func(n Notice) { notices = append(notices, n) }
		g := New("a", new(service), Terms{Windows: windows("1/month")}, NewBudget(), counts, o)
		if n := callsAbout(t, g, true, crowd(1000)...); n != 1 {
			t.Fatalf("%d calls, want 1", n)
		}
		if counts.takes != 1 || len(notices) != 2 || notices[1].Kind != NoticeSpent {
			t.Errorf("the ledger was asked %d times; notices %+v", counts.takes, notices)
		}
		counts.Ledger = memory()
		time.Sleep(recheckSpent)
		if n := callsAbout(t, g, true, crowd(10)...); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

// A refusal from a time when the clock was ahead does not last until that time.
func TestReserveAfterTheClockStepsBack(t *testing.T) {
	now := mustTime(t, "2027-11-30T12:00:00Z")
	g := New("a", new(service), Terms{Windows: windows("1/day")}, NewBudget(), memory(), quiet())
	first, _, _ := g.Reserve("", addr4, worthOf(1), now)
	if _, err := g.ledger.Take(t.Context(), "a", g.terms.limits(), 1, now); first == nil || err != nil {
		t.Fatal(first, err)
	}
	if r, _, _ := g.Reserve("", addr4, worthOf(1), now); r != nil {
		t.Fatal("a second call")
	}
	if r, why, _ := g.Reserve("", addr4, worthOf(1), now.AddDate(-1, 0, 0)); r == nil {
		t.Errorf("a year earlier: %s", why)
	}
}

func BenchmarkReserveRefused(b *testing.B) {
	for name, share := range map[string]float64{"network": .1, "all": 1} {
		b.Run(name, func(b *testing.B) {
			terms := Terms{Windows: windows("1000/month"), Burst: .1, NetworkShare: share}
			g, now := New("a", new(service), terms, NewBudget(), memory(), quiet()), time.Now()
			for r, _, _ := g.Reserve("", addr6, worthOf(1), now); r != nil; r, _, _ = g.Reserve("", addr6, worthOf(1), now) {
				_, _ = r.Check(context.Background(), reputation.Query{Addr: addr6})
			}
			b.ReportAllocs()
			for b.Loop() {
				g.Reserve("", addr6, worthOf(1), now)
			}
		})
	}
	b.Run("price", func(b *testing.B) {
		terms := Terms{Windows: windows("1000/month"), Burst: .1}
		g, now := New("a", new(service), terms, NewBudget(), memory(), quiet()), time.Now()
		for r, _, _ := g.Reserve("", addr6, worthOf(.5), now); r != nil; r, _, _ = g.Reserve("", addr6, worthOf(.5), now) {
			_, _ = r.Check(context.Background(), reputation.Query{Addr: addr6})
		}
		b.ReportAllocs()
		for b.Loop() {
			g.Reserve("", addr6, worthOf(.1), now)
		}
	})
}
