package limit

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
)

// TestFleet compares instances that share a store with one bucket that sees all requests. At any time they differ by
// what they may hold in batches; a single instance refuses nothing that the bucket lets pass.
func TestFleet(t *testing.T) {
	type visit struct {
		pause    int
		instance int
	}
	rapid.Check(t, func(rt *rapid.T) {
		events := rapid.IntRange(1, 60).Draw(rt, "events")
		instances := rapid.IntRange(1, 4).Draw(rt, "instances")
		visits := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) visit {
			return visit{rapid.IntRange(0, 4).Draw(t, "pause"), rapid.IntRange(0, instances-1).Draw(t, "instance")}
		}), 1, 300).Draw(rt, "visits")
		var wrong string
		synctest.Test(t, func(t *testing.T) {
			r, err := NewRule(rate.Rate{Events: events, Per: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			store, ideal := newShared(), NewLocal(1)
			fleet := make([]*Limiter, instances)
			for i := range fleet {
				fleet[i] = New(NewLocal(1), store, Options{})
				defer fleet[i].Close()
			}
			began, passed, least := time.Now(), 0, 0
			for i, v := range visits {
				time.Sleep(time.Duration(v.pause*v.pause) * 100 * time.Millisecond)
				if ideal.Take(r, client(1), time.Now()).Allowed {
					least++
				}
				if fleet[v.instance].Take(t.Context(), r, client(1), time.Second).Allowed {
					passed++
				}
				if passed+(instances-1)*max(events/4, 1) < least {
					wrong = fmt.Sprintf("request %d: one bucket has let pass %d, the fleet %d", i, least, passed)
					return
				}
			}
			refilled := int(time.Since(began) * time.Duration(events) / time.Minute)
			if most := events + refilled + 1 + instances*max(events/4, 1); passed > most {
				wrong = fmt.Sprintf("%d pass, want %d at most", passed, most)
			}
		})
		if wrong != "" {
			rt.Fatal(wrong)
		}
	})
}

// TestSlowClientsAtAllInstances proves that a client is limited that visits one instance after another so slowly that
// the bucket of each is full when it comes back.
func TestSlowClientsAtAllInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, r := newShared(), rule("10/1m")
		var fleet [3]*Limiter
		for i := range fleet {
			fleet[i] = New(NewLocal(1), store, Options{})
			defer fleet[i].Close()
		}
		passed := 0
		for i := range 300 { // ten minutes, three times as often as is allowed
			if fleet[i%3].Take(t.Context(), r, client(1), time.Second).Allowed {
				passed++
			}
			time.Sleep(2 * time.Second)
		}
		if passed < 100 || passed > 120 {
			t.Errorf("%d requests pass in ten minutes, want 10 and 10 a minute", passed)
		}
	})
}

// TestBatches proves how rarely a client far from its limit costs an exchange, and that one near it costs one for
// each request.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, r := newShared(), rule("100/1m")
		l := New(NewLocal(1), store, Options{})
		defer l.Close()
		for range 1000 {
			l.Take(t.Context(), r, client(1), time.Second)
			time.Sleep(time.Second) // 60 a minute
		}
		if n := store.called(); n > 1000/20 {
			t.Errorf("%d exchanges for 1000 requests of a client far from its limit", n)
		}
		time.Sleep(time.Minute)
		before := store.called()
		equal(t, "passed", passing(l, r, 200, time.Second), 100)
		if n := store.called() - before; n > 20 {
			t.Errorf("%d exchanges for a bucket of 100", n)
		}
	})
}

// TestRotatingClient proves that a client that changes its address for each request has a bucket in the store only where
// its first request may be its last one, and that the store's buckets are bounded then.
func TestRotatingClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newShared()
		l := New(NewLocal(0), store, Options{})
		defer l.Close()
		for i := range uint32(10_000) {
			l.Take(t.Context(), rule("10/24h"), client(1<<24+i), 0)
		}
		synctest.Wait()
		equal(t, "buckets in the store", store.called(), 0)

		for i := range uint32(50_000) { // twice each: 4.8 hours in the store
			for range 2 {
				l.Take(t.Context(), rule("10/24h"), client(i), 0)
			}
			synctest.Wait()
		}
		most := int(roomBurst * maxBuckets / (24 * time.Hour / 10 * 2))
		if n := store.called(); n < most-10 || n > most+10 {
			t.Errorf("%d buckets in the store, want about %d", n, most)
		}
		// a client near its limit still has room
		for range 20 {
			l.Take(t.Context(), rule("10/24h"), client(1<<20), time.Second)
		}
		before := store.called()
		if n := before - most; n < 3 {
			t.Errorf("%d exchanges for a client near its limit", n)
		}
		time.Sleep(roomBurst)
		for range 2 {
			l.Take(t.Context(), rule("10/24h"), client(1<<21), time.Second)
		}
		equal(t, "exchanges for a new client later", store.called()-before, 1)
	})
}

// A request may have read the clock before the one that began its batch. The
// batch is then new: one of three days ago would have been refilled, and its tokens be free.
func TestBatchOfOvertakenRequest(t *testing.T) {
	r := rule("40/1m")
	l := NewLocal(1)
	for _, earlier := range []time.Duration{time.Millisecond, time.Second, skew} {
		at := l.began.Add(time.Hour)
		_, p := l.take(r, client(1), at)
		if n, _ := l.addToBatch(p, at, 2); n != 0 {
			t.Fatalf("a batch of two was counted with %d", n)
		}
		if n, age := l.addToBatch(p, at.Add(-earlier), 2); n != 2 || age != 0 {
			t.Errorf("%s earlier: %d tokens since %s, want 2 since now", earlier, n, age)
		}
		l.counted(p, 2)
	}
}

// overtaking is a store whose answers overtake each other.
type overtaking struct {
	*shared
	calls atomic.Int64
}

func (s *overtaking) TakeTokens(ctx context.Context, b Batch) (bool, time.Duration, error) {
	allowed, ahead, err := s.shared.TakeTokens(ctx, b)
	time.Sleep(time.Duration(s.calls.Add(1)*7%5) * time.Millisecond)
	return allowed, ahead, err
}

// A client with several connections gets all of its tokens, although the answers about them overtake each other: no token
// is counted twice.
func TestOvertakingAnswers(t *testing.T) {
	for _, connections := range []int{1, 2, 4, 8, 16} {
		synctest.Test(t, func(t *testing.T) {
			store := &overtaking{shared: newShared()}
			l := New(NewLocal(1), store, Options{})
			defer l.Close()
			var passed atomic.Int64
			var clients sync.WaitGroup
			for range connections {
				clients.Go(func() {
					passed.Add(int64(passing(l, rule("20/1h"), 64/connections, time.Second)))
				})
			}
			clients.Wait()
			if passed.Load() != 20 {
				t.Errorf("%d connections: %d requests pass, want 20", connections, passed.Load())
			}
		})
	}
}
