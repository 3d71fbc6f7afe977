package report

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

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// world is what a queue meets, and may be changed while it runs.
type world struct {
	mu     sync.Mutex
	sent   []reputation.Incident
	at     []time.Time
	answer error
	spared string
	may    bool
	mayErr error
	counts map[string]int
}

func newWorld() *world { return &world{may: true, counts: map[string]int{}} }

func (w *world) service(name string) Service {
	return Service{Name: name, Takes: reputation.CategoriesOf(reputation.Scanner, reputation.BruteForce), Send: w.send}
}

func (w *world) send(_ context.Context, i reputation.Incident) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, i)
	w.at = append(w.at, time.Now())
	return w.answer
}

func (w *world) set(change func(*world)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

func (w *world) outlet(services ...Service) Outlet {
	return Outlet{
		Services: services,
		May: func(context.Context, string, netip.Prefix, time.Duration) (bool, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.may, w.mayErr
		},
		Spared: func(netip.Addr, []string) string {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.spared
		},
		Ended: func(r Report) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.counts[r.Service+" "+r.Outcome.String()]++
		},
		Logger: slog.New(slog.DiscardHandler),
	}
}

// wantSent checks how many reports were sent so far, and waits for the queue to be at rest before.
func (w *world) wantSent(t *testing.T, want int) {
	t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.sent) != want {
		t.Fatalf("%d reports were sent, want %d: %v", len(w.sent), want, w.counts)
	}
}

func (w *world) wantCounts(t *testing.T, want map[string]int) {
	t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if diff := cmp.Diff(want, w.counts); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
}

// run tells a story about a running queue.
func run(t *testing.T, services func(*world) []Service, story func(*testing.T, *Queue, *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		q, w := New(), newWorld()
		ctx, cancel := context.WithCancel(context.Background())
		var done sync.WaitGroup
		done.Go(func() { q.Run(ctx, w.outlet(services(w)...)) })
		defer done.Wait()
		defer cancel()
		story(t, q, w)
	})
}

func one(w *world) []Service { return []Service{w.service("a")} }

func scan(addr, path string) Violation {
	return Violation{Client: netip.MustParseAddr(addr), At: time.Now(), Category: reputation.Scanner, Path: path}
}

func TestOneReportForSeveralViolations(t *testing.T) {
	run(t, one, func(t *testing.T, q *Queue, w *world) {
		began := time.Now()
		for i := range 4 {
			q.Add(scan("203.0.113.7", fmt.Sprintf("/secret-of-%d", i)))
			time.Sleep(500 * time.Millisecond)
		}
		q.Add(scan("203.0.113.7", "/.env"))
		w.wantSent(t, 0)
		time.Sleep(gather)
		w.wantSent(t, 1)
		want := "caddy: 5 requests in 2 s (vulnerability scan), 5 paths, e.g. /.env"
		if i := w.sent[0]; i.Comment != want || i.Addr.String() != "203.0.113.7" || !i.At.Equal(began.Add(2*time.Second)) {
			t.Errorf("sent %q about %s at %s", i.Comment, i.Addr, i.At)
		}

		// another one in the same quarter of an hour is not sent, and one after it is
		for range 3 {
			q.Add(scan("203.0.113.7", "/.env"))
			time.Sleep(4 * time.Minute)
		}
		w.wantSent(t, 1)
		time.Sleep(4 * time.Minute)
		q.Add(scan("203.0.113.7", "/.env"))
		time.Sleep(gather)
		w.wantSent(t, 2)
		if between := w.at[1].Sub(w.at[0]); between < Quiet {
			t.Errorf("only %s lie between two reports", between)
		}
		w.wantCounts(t, map[string]int{"a sent": 2})
	})
}

func TestAnIPv6NetworkIsOneSubject(t *testing.T) {
	run(t, one, func(t *testing.T, q *Queue, w *world) {
		q.Add(scan("2001:db8:1:2::7", "/.env"))
		q.Add(scan("2001:db8:1:2::8", "/.git/config"))
		q.Add(scan("2001:db8:1:3::7", "/.env"))
		time.Sleep(gather)
		w.wantSent(t, 2)
		for _, i := range w.sent {
			if i.Addr != netip.MustParseAddr("2001:db8:1:2::8") && i.Addr != netip.MustParseAddr("2001:db8:1:3::7") {
				t.Errorf("%s is reported: it must be an address that was seen", i.Addr)
			}
		}
	})
}

// TestOutcomes: what becomes of a report that is tried once.
func TestOutcomes(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*world)
		v      Violation
		sent   int
		want   Outcome
	}{
		{name: "stored", sent: 1, want: Sent},
		{name: "a recent one", change: func(w *world) { w.answer = reputation.ErrDuplicate }, sent: 1, want: Duplicate},
		{name: "not taken", change: func(w *world) { w.answer = fmt.Errorf("x: %w", reputation.ErrRejected) }, sent: 1, want: Rejected},
		{name: "of another instance", change: func(w *world) { w.may = false }, want: Elsewhere},
		{name: "exempt by now", change: func(w *world) { w.spared = "exempt" }, want: Spared},
		{name: "Redis is away", change: func(w *world) { w.may, w.mayErr = false, errors.New("away") }, sent: 1, want: Sent},
		{name: "a category that it does not take", v: Violation{Category: reputation.Hosting}, want: Untaken},
		{name: "of a site that observes", v: Violation{Category: reputation.Scanner, Observed: true}, want: Shown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run(t, one, func(t *testing.T, q *Queue, w *world) {
				if tc.change != nil {
					w.set(tc.change)
				}
				v := tc.v
				if v.Category == 0 {
					v = scan("203.0.113.7", "/.env")
				}
				v.Client, v.At = netip.MustParseAddr("203.0.113.7"), time.Now()
				q.Add(v)
				time.Sleep(gather)
				w.wantSent(t, tc.sent)
				time.Sleep(2 * maxAge)
				w.wantSent(t, tc.sent)
				recent := append(q.Recent(), q.Shown()...)
				if len(recent) != 1 || recent[0].Outcome != tc.want || len(q.Waiting()) != 0 || len(q.networks) != 0 {
					t.Errorf("it became %+v, and %v waits", recent, q.Waiting())
				}
				if counted := w.counts["a "+tc.want.String()]; tc.want != Shown && (counted != 1 || q.Totals("a")[tc.want] != 1) {
					t.Errorf("counted: %v, in all %v", w.counts, q.Totals("a"))
				}
			})
		})
	}
}

func TestWithoutAServiceReportsAreShown(t *testing.T) {
	run(t, func(*world) []Service { return nil }, func(t *testing.T, q *Queue, w *world) {
		q.Add(scan("203.0.113.7", "/.env"))
		if waiting := q.Waiting(); len(waiting) != 1 || waiting[0].Outcome != Queued {
			t.Errorf("at first: %+v", waiting)
		}
		time.Sleep(gather)
		w.wantSent(t, 0)
		recent := q.Shown()
		if len(recent) != 1 || len(q.Recent()) != 0 || recent[0].Outcome != Shown || recent[0].Comment != "caddy: 1 request (vulnerability scan), e.g. /.env" {
			t.Errorf("it became %+v", recent)
		}
		w.wantCounts(t, map[string]int{})
	})
}

// TestRetries: what may pass is tried again, more and more rarely, and not for ever.
func TestRetries(t *testing.T) {
	run(t, one, func(t *testing.T, q *Queue, w *world) {
		w.set(func(w *world) { w.answer = errors.New("no answer") })
		q.Add(scan("203.0.113.7", "/.env"))
		time.Sleep(gather)
		w.wantSent(t, 1)
		if waiting := q.Waiting(); len(waiting) != 1 || waiting[0].Tries != 1 || waiting[0].Why != "no answer" {
			t.Errorf("it waits as %+v", waiting)
		}
		time.Sleep(2 * maxAge)
		w.wantSent(t, maxTries)
		for i := 1; i < len(w.at); i++ {
			if pause := w.at[i].Sub(w.at[i-1]); pause < 40*time.Second {
				t.Errorf("after %s it was tried again", pause)
			}
		}
		w.wantCounts(t, map[string]int{"a failed": 1})
	})
}

// TestASpentQuotaWaits: nothing is sent until the time that the terms name, and what is too old by then never is.
func TestASpentQuotaWaits(t *testing.T) {
	run(t, one, func(t *testing.T, q *Queue, w *world) {
		reset := time.Now().Add(30 * time.Minute)
		w.set(func(w *world) {
			w.answer = &reputation.SkippedError{Result: reputation.ResultSkippedQuota, Until: reset}
		})
		q.Add(scan("203.0.113.7", "/.env"))
		time.Sleep(29 * time.Minute)
		w.wantSent(t, 1) // which the terms skipped
		w.set(func(w *world) { w.answer = nil })
		time.Sleep(time.Minute)
		w.wantSent(t, 2)
		if w.at[1].Before(reset) {
			t.Errorf("it was sent at %s, before %s", w.at[1], reset)
		}

		w.set(func(w *world) {
			w.answer = &reputation.SkippedError{Result: reputation.ResultSkippedQuota, Until: time.Now().Add(5 * time.Hour)}
		})
		q.Add(scan("203.0.113.8", "/.env"))
		time.Sleep(6 * time.Hour)
		w.wantSent(t, 3)
		w.wantCounts(t, map[string]int{"a sent": 1, "a expired": 1})
	})
}

// TestEachServiceHasItsOwnTries: one that is away holds nothing back from another.
func TestEachServiceHasItsOwnTries(t *testing.T) {
	both := func(w *world) []Service {
		away := w.service("away")
		away.Send = func(context.Context, reputation.Incident) error { return errors.New("no answer") }
		return []Service{away, w.service("a")}
	}
	run(t, both, func(t *testing.T, q *Queue, w *world) {
		q.Add(scan("203.0.113.7", "/.env"))
		time.Sleep(gather)
		w.wantSent(t, 1)
		time.Sleep(2 * maxAge)
		w.wantCounts(t, map[string]int{"a sent": 1, "away failed": 1})
	})
}

func TestTheQueueIsBounded(t *testing.T) {
	run(t, func(*world) []Service { return nil }, func(t *testing.T, q *Queue, w *world) {
		for i := range 256 {
			if ok := q.Add(scan(fmt.Sprintf("203.0.113.%d", i), "/.env")); ok != (i < maxOfNetwork) {
				t.Fatalf("the %dth report about one network: %t", i, ok)
			}
		}
		for i := range 2 * maxWaiting {
			q.Add(scan(fmt.Sprintf("198.%d.%d.1", 18+i/256, i%256), "/.env"))
		}
		if n := len(q.Waiting()); n != maxWaiting {
			t.Errorf("%d reports wait", n)
		}
		time.Sleep(gather)
		synctest.Wait()
		if n := len(q.Shown()); n != maxRecent {
			t.Errorf("%d past reports are kept", n)
		}
		for i := range 2 * maxQuiet {
			q.Add(scan(fmt.Sprintf("%d.%d.%d.1", 20+i/65536, i/256%256, i%256), "/.env"))
			if i%maxWaiting == maxWaiting-1 {
				time.Sleep(gather)
				synctest.Wait()
			}
		}
		if n := len(q.quiet); n > maxQuiet {
			t.Errorf("%d subjects are remembered", n)
		}
		time.Sleep(Quiet)
		if !q.Add(scan("203.0.113.1", "/.env")) {
			t.Error("there is never room again")
		}
		if n := len(q.quiet); n != 0 {
			t.Errorf("%d subjects are remembered although their time is over", n)
		}
	})
}

// TestReload: the next configuration sends what the one before has not, and only one of them sends at a time.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, before, after := New(), newWorld(), newWorld()
		first, end := context.WithCancel(context.Background())
		before.set(func(w *world) { w.answer = errors.New("no answer") })
		var done sync.WaitGroup
		done.Go(func() { q.Run(first, before.outlet(before.service("a"))) })
		q.Add(scan("203.0.113.7", "/.env"))
		time.Sleep(gather)
		second, endSecond := context.WithCancel(context.Background())
		done.Go(func() { q.Run(second, after.outlet(after.service("a"))) })
		before.wantSent(t, 1)
		end()
		time.Sleep(2 * time.Minute)
		before.wantSent(t, 1)
		after.wantSent(t, 1)
		// one that is without the service shows what waits for it
		after.set(func(w *world) { w.answer = errors.New("no answer") })
		q.Add(scan("203.0.113.8", "/.env"))
		time.Sleep(gather)
		endSecond()
		third, endThird := context.WithCancel(context.Background())
		last := newWorld()
		done.Go(func() { q.Run(third, last.outlet()) })
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if shown := q.Shown(); shown[0].Outcome != Shown {
			t.Errorf("it became %+v", shown[0])
		}
		endThird()
		done.Wait()
	})
}
