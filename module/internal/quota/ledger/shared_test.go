package ledger

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
)

// pair is two instances with one store, each with its own link and its own clock.
type pair struct {
	t     *testing.T
	store *storeTwin
	links [2]*link
	ends  [2]*Shared
}

func newPair(t *testing.T, share float64, now func() time.Time) *pair {
	p := &pair{t: t, store: newStoreTwin(now)}
	for i := range p.ends {
		p.links[i] = &link{store: p.store}
		p.ends[i] = NewShared(p.links[i], memory(), share, slog.New(slog.DiscardHandler))
	}
	return p
}

// take returns what instance i was granted.
func (p *pair) take(i int, t Limits, n int, at time.Time) Grant {
	p.t.Helper()
	grant, err := p.ends[i].Take(context.Background(), "a", t, n, at)
	if err != nil {
		p.t.Fatal(err)
	}
	return grant
}

func (p *pair) want(i int, t Limits, n int, at time.Time, granted bool, used ...int) {
	p.t.Helper()
	grant := p.take(i, t, n, at)
	var got []int
	for _, u := range grant.Usage {
		got = append(got, u.Used)
	}
	if grant.Granted != granted || !slices.Equal(got, used) {
		p.t.Fatalf("instance %d: granted %t, used %v, want %t, %v", i, grant.Granted, got, granted, used)
	}
}

func TestInstancesShareTheWindow(t *testing.T) {
	at := mustTime(t, "2027-01-31T12:00:00Z")
	two := Limits{Windows: []Window{{3, Day}, {9, Month}}}
	p := newPair(t, 0, time.Now)
	p.want(0, two, 1, at, true, 1, 1)
	p.want(1, two, 2, at, true, 3, 3)
	p.want(0, two, 1, at, false, 3, 3)
	p.want(1, Limits{Windows: []Window{{9, Month}}}, 1, at, true, 4)
	p.want(0, two, 0, at.Add(24*time.Hour), true, 0, 0)
	if reset := p.take(0, two, 0, at).Usage; !reset[0].Reset.Equal(mustTime(t, "2027-02-02T00:00:00Z")) {
		t.Errorf("after a step back the day that goes on ends at %s", reset[0].Reset)
	}
}

func TestClocksThatDiffer(t *testing.T) {
	evening, tomorrow := mustTime(t, "2027-01-01T23:59:59Z"), mustTime(t, "2027-01-02T00:00:00Z")
	day := Limits{Windows: []Window{{3, Day}}}
	t.Run("one is ahead at midnight", func(t *testing.T) {
		p := newPair(t, 1, time.Now)
		p.links[1].set(cut)
		p.want(1, day, 2, evening, true, 2)
		p.links[1].set(up)
		p.want(0, day, 2, tomorrow, true, 2)
		p.want(1, day, 1, evening, true, 3) // in the day that the other has begun, and nothing is owed to it
		p.want(1, day, 1, evening, false, 3)
		p.want(1, day, -1, evening, true, 3) // was not taken in that day, as far as is known
		p.want(1, day, 1, tomorrow, false, 3)
		p.links[1].set(cut)
		p.want(1, day, 1, tomorrow, false, 3)
		p.want(1, day, 1, tomorrow.AddDate(0, 0, 1), true, 1)
	})
	t.Run("one is years ahead", func(t *testing.T) {
		p := newPair(t, 1, time.Now)
		for used := range 3 { // each counts for itself: what one replaces at the store, the other brings again
			p.want(0, day, 1, evening, true, used+1)
			p.want(1, day, 1, tomorrow.AddDate(9, 0, 0), true, used+1)
		}
		p.want(0, day, 1, evening, false, 3)
		p.want(1, day, 1, evening, false, 3) // set right
	})
	t.Run("a call of the day before yesterday is given back", func(t *testing.T) {
		p := newPair(t, 1, time.Now)
		p.want(0, day, 1, evening, true, 1)
		p.want(1, day, 2, tomorrow.AddDate(0, 0, 1), true, 2)
		p.want(0, day, -1, evening, true, 1) // in vain: it must not end the day of the others
		p.want(1, day, 0, tomorrow.AddDate(0, 0, 1), true, 2)
	})
	t.Run("a call of the minute before last is given back", func(t *testing.T) {
		p := newPair(t, 1, time.Now)
		two := Limits{Windows: []Window{{9, Minute}, {9, Month}}}
		later := evening.Add(2 * time.Minute)
		p.want(0, two, 1, evening, true, 1, 1)
		p.want(0, two, 3, later, true, 3, 4)
		p.take(0, two, -1, evening)
		p.links[0].set(cut) // What it knows of the present minute is still there.
		p.want(0, two, 0, later, true, 3, 3)
	})
}

func TestInstancesShareTheRate(t *testing.T) {
	start := mustTime(t, "2027-01-01T12:00:00Z")
	now := start
	perSecond := Limits{Rate: rate.Rate{Events: 4, Per: 4 * time.Second}}
	p := newPair(t, 0.5, func() time.Time { return now })
	retry := func(i int, t Limits) time.Duration {
		p.t.Helper()
		grant := p.take(i, t, 1, now)
		if grant.Granted != grant.RetryAt.IsZero() {
			p.t.Fatalf("granted %t, to be tried again at %s", grant.Granted, grant.RetryAt)
		}
		if grant.Granted {
			return 0
		}
		return grant.RetryAt.Sub(now)
	}
	for i := range 4 {
		if d := retry(i%2, perSecond); d != 0 {
			t.Fatalf("call %d: to be tried again in %s", i, d)
		}
	}
	for i := range 2 {
		if d := retry(i, perSecond); d != time.Second {
			t.Errorf("instance %d: to be tried again in %s, want 1s", i, d)
		}
	}
	full := Limits{Rate: perSecond.Rate, Windows: []Window{{1, Day}}}
	now = now.Add(10 * time.Second)
	p.want(0, full, 1, now, true, 1)
	if grant := p.take(1, full, 1, now); grant.Granted || !grant.RetryAt.IsZero() {
		t.Errorf("the window is full, and the grant is %+v", grant)
	}

	p.links[0].set(cut) // From here on half of it, and from the beginning.
	for range 2 {
		if d := retry(0, perSecond); d != 0 {
			t.Fatalf("to be tried again in %s", d)
		}
	}
	if d := retry(0, perSecond); d != 2*time.Second {
		t.Errorf("to be tried again in %s, want 2s", d)
	}
	if grant := p.take(0, full, 1, now.Add(time.Hour)); grant.Granted || !grant.RetryAt.IsZero() {
		t.Errorf("the window is full, and the grant is %+v", grant)
	}
	if d := retry(0, Limits{Rate: rate.Rate{Events: 1, Per: time.Minute}}); d < time.Minute {
		t.Errorf("with a slower rate to be tried again in %s", d)
	}
	p.ends[0].share = 0
	if d := retry(0, perSecond); d != noShareRetry {
		t.Errorf("without a share to be tried again in %s", d)
	}
}

func TestCallsAreGivenBackToTheStore(t *testing.T) {
	at := mustTime(t, "2027-01-01T12:00:00Z")
	limits := Limits{Windows: []Window{{9, Day}, {9, Month}}}
	tests := map[string]struct {
		taken, given linkState
		asked        int // of the store, to give back
		stored       int // in the end, of one call
	}{
		"the store is up":                {up, up, 1, 0},
		"the store is away by now":       {up, cut, 0, 1},
		"the store cannot say so":        {up, deaf, 1, 0},
		"it was away, and is":            {cut, cut, 0, 0},
		"it was away, and does not know": {cut, up, 0, 0},
		"it knows, and could not say so": {deaf, up, 0, 1}, // granted by both, given back by one
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, 1, time.Now)
			p.want(0, limits, 0, at, true, 0, 0)
			p.links[0].set(tt.taken)
			p.want(0, limits, 1, at, true, 1, 1)
			before := len(p.links[0].asked)
			p.links[0].set(tt.given)
			p.take(0, limits, -1, at)
			if asked := len(p.links[0].asked) - before; asked != tt.asked {
				t.Errorf("the store was asked %d times, want %d", asked, tt.asked)
			}
			p.links[0].set(up)
			p.want(0, limits, 0, at, true, tt.stored, tt.stored)
			p.want(1, limits, 0, at, true, tt.stored, tt.stored)
		})
	}
}

func TestNobodyAsksForTheCallAnyMore(t *testing.T) {
	var said logtest.Log
	at := mustTime(t, "2027-01-01T12:00:00Z")
	ctx, cancel := context.WithCancel(context.Background())
	store := storeFunc(func(ctx context.Context, _ Count) (Counted, error) {
		cancel()
		return Counted{}, ctx.Err()
	})
	s := NewShared(store, memory(), 1, said.Logger())
	limits := Limits{Windows: []Window{{9, Day}}}
	if _, err := s.Take(ctx, "a", limits, 1, at); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	s.store = storeFunc(func(context.Context, Count) (Counted, error) { return Counted{}, context.DeadlineExceeded })
	if said.String() != "" {
		t.Errorf("says %q", said.String())
	}
	grant, err := s.Take(t.Context(), "a", limits, 1, at)
	if err != nil || !grant.Granted || grant.Usage[0].Used != 1 {
		t.Errorf("when only the store has run out of time: %+v, %v", grant, err)
	}
}

func TestNothingToAskFor(t *testing.T) {
	at := mustTime(t, "2027-01-01T12:00:00Z")
	perSecond := rate.Rate{Events: 1, Per: time.Second}
	p := newPair(t, 0, time.Now)
	p.want(0, Limits{}, 1, at, true)
	p.want(0, Limits{Rate: perSecond}, 0, at, true)
	p.want(0, Limits{Rate: perSecond}, -1, at, true)
	if err := p.ends[0].settle(t.Context(), at); err != nil || len(p.links[0].asked) != 0 {
		t.Errorf("the store was asked %d times, %v", len(p.links[0].asked), err)
	}
}

func TestRestartWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "quota.json")
		limits := Limits{Windows: []Window{{10, Day}}}
		store := newStoreTwin(time.Now)
		l := &link{store: store}
		open := func() (*Shared, func()) {
			local := OpenLocal(path, slog.Default())
			return NewShared(l, local, 0.5, slog.New(slog.DiscardHandler)), func() { _ = local.Close() }
		}
		granted := func(s *Shared, n int) (granted int) {
			for range n {
				if g, _ := s.Take(t.Context(), "a", limits, 1, time.Now()); g.Granted {
					granted++
				}
			}
			return granted
		}
		s, end := open()
		if n := granted(s, 4); n != 4 {
			t.Fatalf("%d calls of 4", n)
		}
		end()
		s, end = open()
		if _, err := s.Take(t.Context(), "a", limits, 0, time.Now()); err != nil || s.local.unsaved {
			t.Errorf("a look writes to the disk, or %v", err)
		}
		l.set(deaf)
		if n := granted(s, 2); n != 2 {
			t.Fatalf("%d calls of 2, though half of what is left is 3", n)
		}
		instance := s.local.instance
		for range 2 {
			end()
			s, end = open()
		}
		if n := granted(s, 9); n != 1 || s.local.instance != instance {
			t.Errorf("%d calls after a restart, want the 1 that is left of a half; instance %q, before %q", n, s.local.instance, instance)
		}
		end()
		s, end = open()
		defer end()
		l.set(up)
		if err := s.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		k := store.window("a", Day, Day.Start(time.Now()))
		// Of the calls that the store could not answer, it counted its own 10 − 4, besides what it was told of.
		if k.owed[instance] != 3 || len(k.owed) != 1 {
			t.Errorf("the store knows of %v, want 3 calls of one instance", k.owed)
		}
		if data, err := os.ReadFile(path); err != nil || !strings.Contains(string(data), instance) {
			t.Errorf("the file %s, %v", data, err)
		}
	})
}

func TestConcurrentInstances(t *testing.T) {
	const limit, callers = 300, 64
	at := mustTime(t, "2027-01-01T12:00:00Z")
	limits := Limits{Windows: []Window{{limit, Day}, {2 * limit, Month}}}
	tests := map[string]func(l *link, i int){
		"in peace":        func(*link, int) {},
		"now and then":    func(l *link, i int) { l.set([]linkState{up, cut, deaf}[i%3]) },
		"more often away": func(l *link, i int) { l.set([]linkState{up, cut, cut, deaf, cut}[i%5]) },
	}
	for name, disturb := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, 0.5, time.Now)
			var granted atomic.Int64
			var wg sync.WaitGroup
			for caller := range callers {
				wg.Go(func() {
					for i := range 20 {
						disturb(p.links[caller%2], i)
						g, err := p.ends[caller%2].Take(context.Background(), "a", limits, 1, at)
						if err != nil {
							t.Error(err)
						}
						if g.Granted {
							granted.Add(1)
						}
						if i%10 == caller%10 {
							_ = p.ends[caller%2].settle(context.Background(), at)
						}
					}
				})
			}
			wg.Wait()
			for i := range p.ends {
				p.links[i].set(up)
				if err := p.ends[i].settle(t.Context(), at); err != nil {
					t.Fatal(err)
				}
				if c := p.ends[i].local.accounts["a"][Day]; c.unsettled() != 0 || p.store.window("a", Day, Day.Start(at)).owed[p.ends[i].local.instance] != c.owed {
					t.Errorf("instance %d: %+v", i, c)
				}
			}
			stored, made := p.store.window("a", Day, Day.Start(at)).used(), int(granted.Load())
			if stored < made || made > limit+limit/2 || name == "in peace" && (made != limit || stored != limit) {
				t.Errorf("%d calls were granted, the store has %d, the limit is %d", made, stored, limit)
			}
		})
	}
}
