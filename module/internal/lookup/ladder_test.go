package lookup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/worth"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// blockFrom are the stakes of a site that blocks from a score on, and passes whoever has none.
type blockFrom struct{ score uint8 }

func (s *blockFrom) Open(_ netip.Addr, v *reputation.Verdict, p *Prospect) bool {
	return p.High >= s.score && (p.Low < s.score || !v.Scored)
}

// everything are the stakes of a site for which something is always open.
type everything struct{}

func (*everything) Open(netip.Addr, *reputation.Verdict, *Prospect) bool { return true }

// diary notes who was asked, and when.
type diary struct {
	mu    sync.Mutex
	began time.Time
	lines []string
}

func newDiary() *diary { return &diary{began: time.Now()} }

func (d *diary) note(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf("%s %s", name, time.Since(d.began)))
}

func (d *diary) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.Sort(d.lines)
	return strings.Join(d.lines, ", ")
}

// service is a provider with a profile of its own, which answers after a while.
type service struct {
	diary  *diary
	name   string
	says   reputation.Capabilities
	takes  time.Duration
	answer func(netip.Addr) (reputation.Report, error)
}

func (s *service) Profile() reputation.Profile {
	return reputation.Profile{Name: s.name, Capabilities: s.says}
}

func (s *service) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	s.diary.note(s.name)
	select {
	case <-time.After(s.takes):
		return s.answer(q.Addr)
	case <-ctx.Done():
		return reputation.Report{}, ctx.Err()
	}
}

var saysAbuse = reputation.Capabilities{Categories: reputation.CategoriesOf(reputation.Abuse)}

// on returns a service with so many calls a day, which answers in a second.
func on(d *diary, name string, callsPerDay, weight float64, r reputation.Report, err error) Provider {
	s := &service{d, name, saysAbuse, time.Second, func(netip.Addr) (reputation.Report, error) { return r, err }}
	return Provider{
		Source: score.Source{Name: name, Trust: 1, Weight: weight, GoodWeight: 4, SelfAged: true}, Provider: s,
		ListedTTL: 6 * time.Hour, CleanTTL: 24 * time.Hour, CallsPerDay: callsPerDay,
	}
}

// reported is an answer that says nothing but abuse.
func reported(severity, confidence float64) reputation.Report {
	r := reputation.Report{Severity: severity, Confidence: confidence}
	if severity > 0 {
		r.Categories = saysAbuse.Categories
	}
	return r
}

func TestRungOf(t *testing.T) {
	for calls, want := range map[float64]int{
		0: 0, 1e6: 0, 1e5: 0, 64_800: 1, 1e4: 1, 1000: 2, 999: 3, 100: 3, 33: 4, 7: 5, .5: 6, .001: 6,
	} {
		if got := rungOf(calls, false); got != want || got >= rungOf(calls, true) {
			t.Errorf("%v calls a day are on rung %d, want %d", calls, got, want)
		}
	}
}

// TestLadder holds who is asked, and when, against what is open for a site.
func TestLadder(t *testing.T) {
	failed := errors.New("away")
	for _, tc := range []struct {
		name      string
		stakes    Stakes
		firstCome bool
		providers func(*diary) []Provider
		asked     string
		status    reputation.Status
		coverage  float64
	}{
		{"the cheapest first, and those of a rung at a time", new(everything), false, func(d *diary) []Provider {
			return []Provider{
				on(d, "dear", 33, 24, clean, nil), on(d, "mid", 1000, 24, clean, nil),
				on(d, "free", 0, 24, clean, nil), on(d, "many", 1e6, 24, clean, nil),
			}
		}, "dear 2s, free 0s, many 0s, mid 1s", reputation.Fresh, 1},
		{"nobody in vain", &blockFrom{85}, false, func(d *diary) []Provider {
			return []Provider{on(d, "free", 0, 32, clean, nil), on(d, "dear", 33, 24, abusive, nil)}
		}, "free 0s", reputation.Fresh, 1},
		{"who can decide", &blockFrom{60}, false, func(d *diary) []Provider {
			return []Provider{on(d, "free", 0, 32, clean, nil), on(d, "dear", 33, 24, clean, nil)}
		}, "dear 1s, free 0s", reputation.Fresh, 1},
		{"nobody after a decision", &blockFrom{50}, false, func(d *diary) []Provider {
			return []Provider{on(d, "free", 0, 32, reported(1, .9), nil), on(d, "dear", 33, 24, clean, nil)}
		}, "free 0s", reputation.Fresh, 1},
		{"a failure leaves it to the others", &blockFrom{60}, false, func(d *diary) []Provider {
			return []Provider{on(d, "free", 0, 32, clean, failed), on(d, "dear", 33, 24, clean, nil)}
		}, "dear 1s, free 0s", reputation.Partial, .5},
		{"which decide for themselves", &blockFrom{85}, false, func(d *diary) []Provider {
			return []Provider{on(d, "free", 0, 32, clean, failed), on(d, "dear", 33, 24, clean, nil)}
		}, "free 0s", reputation.Unknown, 0},
		{"what two can only do together", &blockFrom{85}, false, func(d *diary) []Provider {
			return []Provider{on(d, "one", 33, 20, abusive, nil), on(d, "two", 33, 20, abusive, nil)}
		}, "one 0s, two 0s", reputation.Fresh, 1},
		{"nobody, if all together can do nothing", &blockFrom{99}, false, func(d *diary) []Provider {
			return []Provider{on(d, "one", 0, 10, abusive, nil), on(d, "two", 33, 10, abusive, nil)}
		}, "", reputation.Unknown, 0},
		{"everything matters", nil, false, func(d *diary) []Provider {
			return []Provider{on(d, "free", 0, 32, clean, nil), on(d, "dear", 33, 24, clean, nil)}
		}, "dear 0s, free 0s", reputation.Fresh, 1},
		{"first come", &blockFrom{85}, true, func(d *diary) []Provider {
			return []Provider{on(d, "free", 0, 32, clean, nil), on(d, "dear", 33, 24, clean, nil)}
		}, "dear 0s, free 0s", reputation.Fresh, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDiary()
				e := newEngine(t, Config{Providers: tc.providers(d), FirstCome: tc.firstCome})
				request := Request{Stakes: tc.stakes}
				for _, wait := range []time.Duration{time.Minute, 0} { // what is remembered changes nothing
					v := e.LookupRequest(t.Context(), client, request, wait)
					if v.Status != tc.status || v.Coverage != tc.coverage {
						t.Errorf("%s, coverage %v; want %s, %v", v.Status, v.Coverage, tc.status, tc.coverage)
					}
				}
				synctest.Wait()
				if got := d.text(); got != tc.asked {
					t.Errorf("asked %q, want %q", got, tc.asked)
				}
				x := e.ExplainRequest(client, request)
				for _, a := range x.Answers {
					if was := strings.Contains(tc.asked, a.Source); a.Needless == was || was != (a.Answered || a.Failed) {
						t.Errorf("asked %t, and explained as %+v", was, a)
					}
				}
				if x.Verdict.Status != tc.status {
					t.Errorf("explained as %s, want %s", x.Verdict.Status, tc.status)
				}
			})
		})
	}
}

// Sites share an engine: what one need not know is asked for another, by the same call if it still runs.
func TestLadderOfTwoSites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		e := newEngine(t, Config{Providers: []Provider{on(d, "free", 0, 32, clean, nil), on(d, "dear", 33, 24, clean, nil)}})
		strict, mild := Request{Stakes: &blockFrom{60}}, Request{Stakes: &blockFrom{85}}
		var both sync.WaitGroup
		for i, r := range []Request{mild, strict, mild} {
			both.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if v := e.LookupRequest(t.Context(), client, r, time.Minute); v.Status != reputation.Fresh {
					t.Errorf("site %d: %s", i, v.Status)
				}
			})
		}
		both.Wait()
		if got := d.text(); got != "dear 1s, free 0s" {
			t.Errorf("asked %q by one call", got)
		}

		other := netip.MustParseAddr("198.51.100.7")
		e.LookupRequest(t.Context(), other, mild, time.Minute)
		time.Sleep(time.Hour)
		e.LookupRequest(t.Context(), other, strict, time.Minute)
		if got := d.text(); !strings.Contains(got, "free 2s") || !strings.Contains(got, "dear 1h0m3s") {
			t.Errorf("asked %q, the dear one later", got)
		}
	})
}

// More sites with stakes of their own than a call can note ask for everything.
func TestLadderOfManySites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		e := newEngine(t, Config{Providers: []Provider{on(d, "free", 0, 32, clean, nil), on(d, "dear", 33, 24, clean, nil)}})
		for range 2 * mostOthers {
			e.LookupRequest(t.Context(), client, Request{Stakes: &blockFrom{85}}, time.Millisecond)
		}
		time.Sleep(time.Minute)
		if got := d.text(); got != "dear 1s, free 0s" {
			t.Errorf("asked %q", got)
		}
	})
}

// A request gets what the cheap ones have said until its deadline.
func TestLadderAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		e := newEngine(t, Config{Providers: []Provider{on(d, "free", 0, 32, reported(.5, 1), nil), on(d, "dear", 33, 24, clean, nil)}})
		v := e.LookupRequest(t.Context(), client, Request{Stakes: new(everything)}, 1500*time.Millisecond)
		if v.Status != reputation.Pending || !v.Scored || len(v.Reasons) != 1 || v.Reasons[0].Source != "free" {
			t.Errorf("%+v", v)
		}
		time.Sleep(time.Minute)
		if v = e.LookupRequest(t.Context(), client, Request{Stakes: new(everything)}, 0); v.Status != reputation.Fresh || len(v.Reasons) != 2 {
			t.Errorf("%+v", v)
		}
	})
}

// Whoever is known does not wait because a cheap answer has expired: with it, nothing was open.
func TestLadderWithExpiredAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		e := newEngine(t, Config{Providers: []Provider{on(d, "free", 0, 32, clean, nil), on(d, "dear", 33, 24, clean, nil)}})
		r := Request{Stakes: &blockFrom{85}}
		e.LookupRequest(t.Context(), client, r, time.Minute)
		time.Sleep(25 * time.Hour)
		asked := time.Now()
		if v := e.LookupRequest(t.Context(), client, r, time.Minute); v.Status != reputation.Stale || time.Since(asked) != 0 {
			t.Errorf("%s after %s", v.Status, time.Since(asked))
		}
		time.Sleep(time.Minute)
		if got := d.text(); got != "free 0s, free 25h0m1s" {
			t.Errorf("asked %q", got)
		}
	})
}

// Providers that may not be asked leave it to the dearer ones, and a call that could change nothing is counted as such.
func TestLadderAtTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct {
			left  int64
			score uint8
			calls [2]int64
			dear  reputation.Result // why the dear one is not asked; ok if it is
		}{
			{9, 85, [2]int64{1, 0}, reputation.ResultSkippedSettled},
			{9, 60, [2]int64{1, 1}, reputation.ResultOK},
			{0, 60, [2]int64{0, 1}, reputation.ResultOK},
			{0, 85, [2]int64{0, 0}, reputation.ResultSkippedSettled},
		} {
			d := newDiary()
			cheap, dear := on(d, "free", 0, 32, clean, nil), on(d, "dear", 33, 24, clean, nil)
			gates := [2]*counted{{gated: gate(tc.left, 4, nil), check: cheap.Provider}, {gated: gate(9, 4, nil), check: dear.Provider}}
			cheap.Provider, dear.Provider = gates[0], gates[1]
			e := newEngine(t, Config{Providers: []Provider{cheap, dear}})
			for range 3 {
				e.LookupRequest(t.Context(), client, Request{Stakes: &blockFrom{tc.score}}, time.Minute)
			}
			for i, g := range gates {
				if int64(len(g.asked)) != tc.calls[i] {
					t.Errorf("%+v: provider %d was asked %d times", tc, i, len(g.asked))
				}
			}
			if got := gates[1].why; tc.dear != reputation.ResultOK && !slices.Equal(got, []reputation.Result{tc.dear}) ||
				tc.dear == reputation.ResultOK && len(got) > 0 {
				t.Errorf("%+v: the dear one was skipped: %v", tc, got)
			}
		}
	})
}

// A call does not wait for room on a further rung: the next request asks there.
func TestLadderWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		dear := on(d, "dear", 33, 24, clean, nil)
		busy := &counted{gated: gate(9, 0, nil), check: dear.Provider}
		dear.Provider = busy
		e := newEngine(t, Config{Providers: []Provider{on(d, "free", 0, 32, clean, nil), dear}})
		began := time.Now()
		v := e.LookupRequest(t.Context(), client, Request{Stakes: &blockFrom{60}}, time.Minute)
		if took := time.Since(began); v.Status != reputation.Partial || took != time.Second {
			t.Errorf("%s after %s", v.Status, took)
		}
		busy.concurrency = 1
		if v = e.LookupRequest(t.Context(), client, Request{Stakes: &blockFrom{60}}, time.Minute); v.Status != reputation.Fresh {
			t.Error(v.Status)
		}
		if got := d.text(); got != "dear 1s, free 0s" {
			t.Errorf("asked %q", got)
		}
	})
}

// counted is a gate before a provider, and notes why calls were not made.
type counted struct {
	*gated
	check reputation.Provider
	why   []reputation.Result
}

func (c *counted) Profile() reputation.Profile { return c.check.Profile() }

func (c *counted) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	return c.check.Check(ctx, q)
}

func (c *counted) CountSkipped(why reputation.Result) { c.why = append(c.why, why) }

func (c *counted) Reserve(addr netip.Addr, bid worth.Bid, now time.Time) (Reservation, reputation.Result, bool) {
	r, why, waits := c.gated.Reserve(addr, bid, now)
	if r == nil {
		return nil, why, waits
	}
	return countedCall{c, r}, why, waits
}

type countedCall struct {
	*counted
	Reservation
}

func (c countedCall) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	c.asked = append(c.asked, q.Addr)
	defer c.running.Add(-1)
	return c.check.Check(ctx, q)
}

func (c countedCall) Cancel() { c.Reservation.Cancel() }

// Two instances climb together: nobody is asked twice.
func TestLadderOfTwoInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, b := newDiary(), newBoard()
		var both sync.WaitGroup
		for _, name := range []string{"a", "b"} {
			e := newEngine(t, Config{
				Providers: []Provider{on(d, "free", 0, 32, clean, nil), on(d, "mid", 1000, 32, clean, nil), on(d, "dear", 33, 24, clean, nil)},
				Shared:    blackboard{b, name},
			})
			both.Go(func() {
				v := e.LookupRequest(t.Context(), client, Request{Stakes: &blockFrom{85}}, time.Minute)
				if v.Status != reputation.Fresh || len(v.Reasons) != 2 {
					t.Errorf("%s: %+v", name, v)
				}
			})
		}
		both.Wait()
		names := d.text()
		if strings.Count(names, "free") != 1 || strings.Count(names, "mid") != 1 || strings.Contains(names, "dear") {
			t.Errorf("asked %q", names)
		}
	})
}

// An operator who asks anew asks everybody.
func TestRefreshSkipsTheLadder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		e := newEngine(t, Config{Providers: []Provider{on(d, "free", 0, 32, clean, nil), on(d, "dear", 33, 24, clean, nil)}})
		e.LookupRequest(t.Context(), client, Request{Stakes: &blockFrom{85}}, time.Minute)
		e.Refresh(t.Context(), client)
		if got := d.text(); got != "dear 1s, free 0s, free 1s" {
			t.Errorf("asked %q", got)
		}
	})
}

// A call begins no further rung once its time is over.
func TestLadderEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		e := newEngine(t, Config{Timeout: 1500 * time.Millisecond, Providers: []Provider{
			on(d, "free", 0, 32, clean, nil), on(d, "mid", 1000, 24, clean, nil), on(d, "dear", 33, 24, clean, nil),
		}})
		e.LookupRequest(t.Context(), client, Request{Stakes: new(everything)}, time.Minute)
		if got := d.text(); got != "free 0s, mid 1s" {
			t.Errorf("asked %q", got)
		}
	})
}

// TestLadderSaves holds how many calls a day of 1,000 clients costs: most are clean, some are known to lists or to all.
func TestLadderSaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		kinds := make(map[netip.Addr]int, 1000)
		for i := range 1000 {
			kinds[of(i, 0)] = random.IntN(100)
		}
		answer := func(alarmed int, bad reputation.Report) func(netip.Addr) (reputation.Report, error) {
			return func(addr netip.Addr) (reputation.Report, error) {
				if kinds[addr] < alarmed {
					return bad, nil
				}
				return clean, nil
			}
		}
		count := func(stakes Stakes) (calls [3]int, blocked int) {
			d := newDiary()
			providers := []Provider{
				on(d, "dnsbl", 0, 22, clean, nil), on(d, "daily", 1000, 32, clean, nil), on(d, "monthly", 33, 24, clean, nil),
			}
			providers[0].Provider.(*service).answer = answer(8, reported(1, .9))
			providers[1].Provider.(*service).answer = answer(5, reported(1, .9))
			providers[2].Provider.(*service).answer = answer(6, reported(1, .9))
			e := newEngine(t, Config{Providers: providers, MaxInFlight: 1 << 20})
			for addr := range kinds {
				if v := e.LookupRequest(t.Context(), addr, Request{Stakes: stakes}, time.Minute); v.Scored && v.Score >= 85 {
					blocked++
				}
			}
			for _, line := range d.lines {
				for i, p := range providers {
					if strings.HasPrefix(line, p.Source.Name) {
						calls[i]++
					}
				}
			}
			return calls, blocked
		}
		all, blocked := count(nil)
		ours, same := count(&blockFrom{85})
		t.Logf("calls to a DNS list, a service of 1000/day and one of 1000/month: all %v, ours %v", all, ours)
		if all != [3]int{1000, 1000, 1000} || ours[0] != 1000 || ours[1] != 1000 || ours[2] > 100 || same != blocked {
			t.Errorf("%v calls in place of %v; %d are blocked, and %d were", ours, all, same, blocked)
		}
	})
}
