package limit

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// shared is a store: buckets that several limiters use, answers that take time, and what can go wrong.
type shared struct {
	local   *Local
	latency time.Duration
	err     error
	panics  bool

	mu    sync.Mutex
	calls []string
	ctx   context.Context
}

func newShared() *shared { return &shared{local: NewLocal(1)} }

func (s *shared) TakeTokens(ctx context.Context, b Batch) (bool, time.Duration, error) {
	s.mu.Lock()
	s.calls, s.ctx = append(s.calls, b.Key), ctx
	s.mu.Unlock()
	time.Sleep(s.latency / 2)
	if s.panics {
		panic("store failed")
	}
	rule, err := NewRule(b.Rate)
	if err != nil || s.err != nil {
		return false, 0, errors.Join(err, s.err)
	}
	for range b.Tokens - 1 {
		s.local.Take(rule, Keyed(b.Key), time.Now().Add(-b.Age))
	}
	d := s.local.Take(rule, Keyed(b.Key), time.Now())
	time.Sleep(s.latency - s.latency/2)
	return d.Allowed, d.Reset, nil
}

func (s *shared) called() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

// passing counts how many of n requests pass, one after another.
func passing(l *Limiter, r Rule, n int, wait time.Duration) (passed int) {
	for range n {
		if l.Take(context.Background(), r, client(1), wait).Allowed {
			passed++
		}
	}
	return passed
}

func TestWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(NewLocal(1), nil, Options{})
		defer l.Close()
		r := rule("3/30s")
		equal(t, "passed", passing(l, r, 10, time.Second), 3)
		time.Sleep(10 * time.Second)
		equal(t, "passed after 10 s", passing(l, r, 10, time.Second), 1)
		equal(t, "a rule that limits nothing", l.Take(t.Context(), Rule{}, client(1), 0), Decision{Allowed: true})
		equal(t, "allocations", testing.AllocsPerRun(100, func() { l.Take(context.Background(), r, client(1), time.Second) }), 0)
	})
}

// Two instances with one store let together as many pass as one alone, and what is refused costs no calls.
func TestTwoInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, r := newShared(), rule("10/1m", "x")
		store.latency = time.Millisecond
		var instances [2]*Limiter
		for i := range instances {
			instances[i] = New(NewLocal(1), store, Options{})
			defer instances[i].Close()
		}
		passed := 0
		for i := range 100 {
			if instances[i%2].Take(t.Context(), r, client(1), 25*time.Millisecond).Allowed {
				passed++
			}
		}
		equal(t, "passed", passed, 10)
		if n := store.called(); n > 11 {
			t.Errorf("%d calls, want 11 at most: one beyond what passes, from which the other instance learns", n)
		}
		equal(t, "key", store.calls[0], r.storeKey(client(1)))
		equal(t, "a rule that limits nothing", instances[0].Take(t.Context(), Rule{}, client(1), time.Second), Decision{Allowed: true})
	})
}

// The decision is the store's, in all its parts.
func TestStoreDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, r := newShared(), rule("10/1m")
		one, other := New(NewLocal(1), store, Options{}), New(NewLocal(1), store, Options{})
		defer one.Close()
		defer other.Close()
		passing(one, r, 9, time.Second)
		equal(t, "last, counted with the next", other.Take(t.Context(), r, client(1), time.Second),
			Decision{Allowed: true, Remaining: 9, Reset: 6 * time.Second})
		equal(t, "refused here", other.Take(t.Context(), r, client(1), time.Second), Decision{Reset: time.Minute, RetryAfter: 6 * time.Second})
		equal(t, "refused there", one.Take(t.Context(), r, client(1), time.Second), Decision{Reset: time.Minute, RetryAfter: 6 * time.Second})
		equal(t, "calls", store.called(), 9)
		equal(t, "learnt", one.Take(t.Context(), r, client(1), time.Second).Allowed, false)
		equal(t, "calls", store.called(), 9)
		time.Sleep(6 * time.Second)
		equal(t, "six seconds later, here", other.Take(t.Context(), r, client(1), time.Second).Allowed, true)
		equal(t, "six seconds later, there", one.Take(t.Context(), r, client(1), time.Second).Allowed, false)
		equal(t, "calls", store.called(), 11)
	})
}

// No request waits longer than it may, and what the store says too late counts for the next one.
func TestSlowStore(t *testing.T) {
	for _, wait := range []time.Duration{-1, 0, 25 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			store, r := newShared(), rule("10/1m")
			elsewhere := New(NewLocal(1), store, Options{})
			passing(elsewhere, r, 10, time.Second)
			elsewhere.Close()

			store.latency = time.Second
			l := New(NewLocal(1), store, Options{})
			defer l.Close()
			began := time.Now()
			equal(t, "first", l.Take(t.Context(), r, client(1), wait), Decision{Allowed: true, Remaining: 9, Reset: 6 * time.Second})
			equal(t, "waited", time.Since(began), 0)
			equal(t, "second", l.Take(t.Context(), r, client(1), wait), Decision{Allowed: true, Remaining: 8, Reset: 12 * time.Second})
			equal(t, "waited", time.Since(began), max(wait, 0))
			time.Sleep(time.Second - max(wait, 0))
			synctest.Wait()
			d := l.Take(t.Context(), r, client(1), wait)
			equal(t, "next", d.Allowed, false)
			equal(t, "calls", store.called(), 9)
			// The store took its token half a second after it was asked, and must be asked again as soon as it has another.
			there := store.local.Take(r, Keyed(r.storeKey(client(1))), time.Now())
			if d.RetryAfter > there.RetryAfter || d.RetryAfter < there.RetryAfter-time.Second {
				t.Errorf("stricter than the store: %+v, the store %+v", d, there)
			}
		})
	}
}

// A burst at an instance that never waits does not get more because the answers come one by one, and late.
func TestBurstWithoutWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, r := newShared(), rule("10/1h")
		store.latency = 5 * time.Millisecond
		l := New(NewLocal(1), store, Options{})
		defer l.Close()
		passed := 0
		for range 1000 {
			passed += passing(l, r, 3, 0)
			time.Sleep(time.Millisecond)
		}
		equal(t, "passed", passed, 10)
	})
}

func TestGivenUpRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, r := newShared(), rule("10/1m")
		store.latency = time.Second
		l := New(NewLocal(1), store, Options{})
		type key struct{}
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "trace"), 3*time.Millisecond)
		defer cancel()
		passing(l, r, 1, 0) // counted with the next
		began := time.Now()
		equal(t, "Allowed", l.Take(ctx, r, client(1), time.Minute).Allowed, true)
		equal(t, "waited", time.Since(began), 3*time.Millisecond)
		synctest.Wait()
		equal(t, "error of the call's context", store.ctx.Err(), nil)
		equal(t, "value of the call's context", store.ctx.Value(key{}), any("trace"))
		l.Close()
		equal(t, "Close waited for the call", time.Since(began), time.Second)
	})
}

func TestFailingStore(t *testing.T) {
	broken := errors.New("connection refused")
	for name, tt := range map[string]struct {
		store *shared
		want  string
	}{
		"error":          {&shared{err: broken}, "connection refused"},
		"error, at last": {&shared{err: broken, latency: time.Millisecond}, "connection refused"},
		"panic":          {&shared{panics: true}, "counting a request panicked; this is a bug: store failed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, r := tt.store, rule("3/1m")
				store.local = NewLocal(1)
				var errs []string
				l := New(NewLocal(1), store, Options{OnError: func(err error) { errs = append(errs, err.Error()) }})
				equal(t, "passed", passing(l, r, 10, time.Second), 3)
				equal(t, "calls", store.called(), 2) // for two and for one
				l.Close()
				equal(t, "errors", strings.Join(errs, "|"), strings.Join([]string{tt.want, tt.want}, "|"))

				silent := New(NewLocal(1), store, Options{})
				equal(t, "passed, with nobody to tell", passing(silent, r, 10, 0), 3)
				silent.Close()
			})
		})
	}
}

// A store that hangs is asked no more than so often at a time, and Take goes on with what this instance knows.
func TestHangingStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, r, once := newShared(), rule("1000/1h"), rule("1/1h")
		store.latency = time.Hour
		l := New(NewLocal(0), store, Options{MaxInFlight: 7})
		began := time.Now()
		each := func(clients uint32) (passed int) { // each is counted at once
			for i := range clients {
				if l.Take(context.Background(), once, client(100+i), 10*time.Millisecond).Allowed {
					passed++
				}
			}
			return passed
		}
		equal(t, "passed", each(7), 7)
		equal(t, "waited", time.Since(began), 70*time.Millisecond)
		equal(t, "passed", each(500), 493)
		equal(t, "passed", passing(l, r, 1500, 10*time.Millisecond), 1000)
		equal(t, "waited", time.Since(began), 70*time.Millisecond)
		equal(t, "calls", store.called(), 7)
		time.Sleep(time.Hour)
		synctest.Wait()
		equal(t, "passed an hour later", each(1), 1)
		synctest.Wait()
		equal(t, "calls", store.called(), 8)
		l.Close()
	})
}

// Close waits for what is under way, may be called again, and leaves a limiter that decides alone.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, r := newShared(), rule("10/1m")
		store.latency = time.Second
		l := New(NewLocal(1), store, Options{})
		equal(t, "passed", passing(l, r, 2, 0), 2)
		began := time.Now()
		var closed sync.WaitGroup
		for range 2 {
			closed.Go(l.Close)
		}
		synctest.Wait()
		equal(t, "passed while closing", passing(l, r, 3, time.Minute), 3)
		closed.Wait()
		l.Close()
		equal(t, "waited", time.Since(began), time.Second)
		equal(t, "passed after closing", passing(l, r, 10, time.Minute), 5)
		equal(t, "calls", store.called(), 1)

		New(NewLocal(1), store, Options{}).Close()
	})
}

func TestConcurrentLimiter(t *testing.T) {
	store, r := newShared(), rule("500/1h")
	var instances [2]*Limiter
	for i := range instances {
		instances[i] = New(NewLocal(1), store, Options{MaxInFlight: 1 << 20})
	}
	var passed atomic.Int64
	together(func(worker int) {
		passed.Add(int64(passing(instances[worker%2], r, 500, time.Minute)))
	})
	// Each may have let pass a quarter of what it believed to remain.
	if n := passed.Load(); n < 500 || n > 500+2*125 {
		t.Errorf("%d of 500 pass", n)
	}
	together(func(worker int) { instances[worker%2].Close() })
}

// Whoever follows requests is told of those that wait, and how that has ended; of others nothing.
func TestWaitsAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type end struct {
			d      Decision
			shared bool
		}
		var began int
		var ends []end
		store, r := newShared(), rule("2/1m")
		l := New(NewLocal(1), store, Options{OnWait: func(context.Context) func(Decision, bool) {
			began++
			return func(d Decision, shared bool) { ends = append(ends, end{d, shared}) }
		}})
		defer l.Close()
		l.Take(t.Context(), r, client(1), time.Second) // is counted with the next
		synctest.Wait()
		equal(t, "began", began, 0)
		store.latency = 10 * time.Millisecond
		d := l.Take(t.Context(), r, client(1), time.Second)
		l.Take(t.Context(), r, client(1), time.Second) // refused here
		l.Take(t.Context(), r, client(2), time.Millisecond)
		late := l.Take(t.Context(), r, client(2), time.Millisecond)
		synctest.Wait()
		equal(t, "began", began, 2)
		equal(t, "ended", len(ends), 2)
		equal(t, "in time", ends[0], end{d, true})
		equal(t, "too late", ends[1], end{late, false})
	})
}
