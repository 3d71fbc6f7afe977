package lookup

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// blackboard is a shared memory without any cleverness. Each engine has its own, over the same board.
type blackboard struct {
	*board
	me string
}

type board struct {
	mu      sync.Mutex
	away    bool
	losing  int // exchanges that give an answer and are lost
	slow    time.Duration
	loads   []int // the number of subjects of each exchange
	claims  int
	records map[record.Key]record.Record
	holders map[string]holder
}

type holder struct {
	name   string
	until  time.Time
	failed bool
}

func newBoard() *board {
	return &board{records: map[record.Key]record.Record{}, holders: map[string]holder{}}
}

var errAway = errors.New("away")

// enter takes the time that an exchange takes.
func (b *board) enter() {
	time.Sleep(b.slow)
	b.mu.Lock()
}

func (b *board) reach() error {
	if b.away {
		return errAway
	}
	return nil
}

func (b blackboard) Load(_ context.Context, keys []record.Key, _ []string, found func(record.Key, *record.Record)) error {
	b.enter()
	defer b.mu.Unlock()
	b.loads = append(b.loads, len(keys))
	if err := b.reach(); err != nil {
		return err
	}
	for _, key := range keys {
		if rec, ok := b.records[key]; ok {
			found(key, &rec)
		}
	}
	return nil
}

func (b blackboard) Claim(_ context.Context, key record.Key, sources []string, lease time.Duration) (record.Record, []string, error) {
	b.enter()
	defer b.mu.Unlock()
	if err := b.reach(); err != nil {
		return record.Record{}, nil, err
	}
	b.claims++
	rec, now := b.records[key], time.Now()
	var mine []string
	for _, source := range sources {
		if a := rec.Find(record.IDOf(source)); a != nil && record.Seconds(now) < a.Due {
			continue
		}
		h := b.holders[source]
		switch {
		case h.until.Before(now):
			b.holders[source] = holder{name: b.me, until: now.Add(lease)}
			mine = append(mine, source)
		case h.failed:
			rec.Set(record.Answer{Source: record.IDOf(source), Failed: true, Due: record.Seconds(h.until)})
		}
	}
	return rec, mine, nil
}

func (b blackboard) Store(_ context.Context, key record.Key, source string, r reputation.Report, fetched, due time.Time) error {
	b.enter()
	defer b.mu.Unlock()
	if b.losing > 0 {
		b.losing--
		return errAway
	}
	if err := b.reach(); err != nil {
		return err
	}
	rec := b.records[key]
	rec.Learn(record.Pack(record.IDOf(source), r, fetched, due), r.Facts)
	b.records[key] = rec
	delete(b.holders, source)
	return nil
}

func (b blackboard) Fail(_ context.Context, _ record.Key, source string, retry time.Duration) error {
	b.enter()
	defer b.mu.Unlock()
	if err := b.reach(); err != nil {
		return err
	}
	if b.holders[source].name == b.me {
		b.holders[source] = holder{until: time.Now().Add(retry), failed: retry > 0}
	}
	return nil
}

func (b blackboard) Forget(_ context.Context, key record.Key, _ []string) (bool, error) {
	b.enter()
	defer b.mu.Unlock()
	_, found := b.records[key]
	delete(b.records, key)
	return found, b.reach()
}

// instances returns engines that share a board and a provider.
func instances(t *testing.T, b *board, p reputation.Provider, n int) []*Engine {
	t.Helper()
	list := make([]*Engine, n)
	for i := range list {
		list[i] = newEngine(t, Config{Providers: []Provider{asked("p", p)}, Shared: blackboard{b, string(rune('a' + i))}})
	}
	return list
}

// TestOneInstanceAsks proves that of instances which want to know the same one asks, and that the requests to all of them
// have its answer within their patience.
func TestOneInstanceAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := after(20*time.Millisecond, abusive, nil)
		list := instances(t, newBoard(), p, 3)
		origins := map[reputation.Origin]int{}
		var mu sync.Mutex
		var all sync.WaitGroup
		for i := range 30 {
			all.Go(func() {
				v := list[i%3].Lookup(t.Context(), client, time.Second)
				mu.Lock()
				defer mu.Unlock()
				origins[v.Origin]++
				if v.Status != reputation.Fresh || v.Score < 85 || v.Facts.Country != "NL" {
					t.Errorf("request %d: %+v", i, v)
				}
			})
		}
		all.Wait()
		if n := p.calls.Load(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
		if origins[reputation.OriginProvider] != 10 || origins[reputation.OriginRedis] != 20 {
			t.Errorf("the answers came from %v", origins)
		}
		late := instances(t, list[0].Shared.(blackboard).board, p, 1)[0]
		if v := late.Lookup(t.Context(), client, time.Second); v.Origin != reputation.OriginRedis || v.Score < 85 || p.calls.Load() != 1 {
			t.Errorf("who comes later has %+v, after %d calls", v, p.calls.Load())
		}
	})
}

// TestAnAnswerIsOfferedAgain proves that an answer reaches the instances that wait for it, although some exchanges with the
// shared memory fail, and that an engine that is closed does not go on trying.
func TestAnAnswerIsOfferedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		b.losing = 3
		p := after(20*time.Millisecond, abusive, nil)
		list := instances(t, b, p, 2)
		var all sync.WaitGroup
		for _, e := range list {
			all.Go(func() {
				if v := e.Lookup(t.Context(), client, 5*time.Second); v.Status != reputation.Fresh || v.Score < 85 {
					t.Errorf("%+v", v)
				}
			})
		}
		all.Wait()
		if n := p.calls.Load(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}

		b.away = true
		list[0].Lookup(t.Context(), netip.MustParseAddr("203.0.113.98"), time.Second)
		start := time.Now()
		list[0].Close(t.Context())
		if took := time.Since(start); took > publishRetryFirst {
			t.Errorf("closing took %s", took)
		}
	})
}

// TestADeadInstanceIsReplaced proves that nobody waits longer for an instance that died while it was asking than its claim
// lasts.
func TestADeadInstanceIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		p := after(time.Millisecond, abusive, nil)
		list := instances(t, b, p, 2)
		if _, mine, _ := (blackboard{b, "dead"}).Claim(t.Context(), record.KeyOf(client), []string{"p"}, 3*time.Second); len(mine) != 1 {
			t.Fatal("the dead could not claim")
		}
		start := time.Now()
		if v := list[0].Lookup(t.Context(), client, 10*time.Millisecond); v.Status != reputation.Pending {
			t.Errorf("meanwhile: %+v", v)
		}
		impatient := newEngine(t, Config{
			Providers: []Provider{asked("p", p)}, Shared: blackboard{b, "c"}, Timeout: 100 * time.Millisecond,
		})
		if v := impatient.Lookup(t.Context(), client, time.Minute); v.Status != reputation.Pending {
			t.Errorf("when its own look-up has ended: %+v", v)
		}
		if v := list[1].Lookup(t.Context(), client, time.Minute); v.Status != reputation.Fresh {
			t.Errorf("in the end: %+v", v)
		}
		if took := time.Since(start); took < 3*time.Second || took > 4*time.Second {
			t.Errorf("it took %s, want the 3s of the claim and a moment", took)
		}
		if n := p.calls.Load(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

// TestAnInheritedClaimHasItsTime proves that who takes over from a dead instance, late in its own look-up, asks with all the time
// that a call may take, and does not call it a failure that there was little left.
func TestAnInheritedClaimHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		p := after(2*time.Second, abusive, nil)
		e := newEngine(t, Config{Providers: []Provider{asked("p", p)}, Shared: blackboard{b, "a"}, Timeout: 3 * time.Second})
		if _, mine, _ := (blackboard{b, "dead"}).Claim(t.Context(), record.KeyOf(client), []string{"p"}, 2*time.Second); len(mine) != 1 {
			t.Fatal("the dead could not claim")
		}
		if v := e.Lookup(t.Context(), client, time.Minute); v.Status != reputation.Fresh || p.calls.Load() != 1 {
			t.Errorf("%+v after %d calls", v, p.calls.Load())
		}
	})
}

// TestAFailureIsShared proves that a provider which does not answer is not asked by each instance in turn, and that what is an
// instance's own affair keeps no other from asking.
func TestAFailureIsShared(t *testing.T) {
	for name, tc := range map[string]struct {
		err   error
		calls int64
	}{
		"no answer":   {errors.New("connection refused"), 1},
		"throttled":   {&reputation.ThrottledError{RetryAfter: time.Hour}, 1},
		"garbage":     {reputation.ErrBadAnswer, 1},
		"its own key": {reputation.ErrRefused, 3},
		"its breaker": {&reputation.SkippedError{Result: reputation.ResultSkippedBreaker}, 3},
		"no room":     {&reputation.SkippedError{Result: reputation.ResultSkippedQuota}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := after(time.Millisecond, reputation.Report{}, tc.err)
				for _, e := range instances(t, newBoard(), p, 3) {
					if v := e.Lookup(t.Context(), client, time.Second); v.Scored || v.Status != reputation.Unknown {
						t.Errorf("a failure became %+v", v)
					}
					synctest.Wait()
				}
				if n := p.calls.Load(); n != tc.calls {
					t.Errorf("%d calls, want %d", n, tc.calls)
				}
			})
		})
	}
}

// TestASharedMemoryThatIsAway proves that an instance goes on by itself, and that a request does not wait for a memory that
// does not answer.
func TestASharedMemoryThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		b.away = true
		p := after(time.Millisecond, abusive, nil)
		list := instances(t, b, p, 2)
		for _, e := range list {
			if v := e.Lookup(t.Context(), client, time.Second); v.Status != reputation.Fresh || v.Origin != reputation.OriginProvider {
				t.Errorf("alone: %+v", v)
			}
		}
		if n := p.calls.Load(); n != 2 {
			t.Errorf("%d calls, want one of each instance", n)
		}
		synctest.Wait()
		b.slow = 250 * time.Millisecond
		start := time.Now()
		v := list[0].Lookup(t.Context(), netip.MustParseAddr("203.0.113.99"), 25*time.Millisecond)
		if took := time.Since(start); took != 25*time.Millisecond || v.Status != reputation.Pending {
			t.Errorf("after %s: %+v", took, v)
		}
	})
}

// TestForgettingEverywhere proves that what is forgotten is forgotten by all, and that what was learnt afterwards stays.
func TestForgettingEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		p := after(time.Millisecond, abusive, nil)
		list := instances(t, b, p, 2)
		for _, e := range list {
			e.Lookup(t.Context(), client, time.Second)
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		forgotten := time.Now()
		if found, err := list[0].Forget(t.Context(), client); !found || err != nil {
			t.Errorf("forget: %v, %v", found, err)
		}
		list[1].ForgetUntil(record.KeyOf(client), forgotten)
		for _, e := range list {
			if x := e.Explain(client); x.Answers[0].Answered {
				t.Errorf("it still knows %+v", x.Answers)
			}
		}
		time.Sleep(2 * time.Second)
		list[0].Lookup(t.Context(), client, time.Second)
		synctest.Wait()
		list[0].ForgetUntil(record.KeyOf(client), forgotten)
		if x := list[0].Explain(client); !x.Answers[0].Answered {
			t.Error("what was learnt afterwards is forgotten, too")
		}
		list[1].Recall(t.Context(), client)
		if x := list[1].Explain(client); !x.Answers[0].Answered || p.calls.Load() != 2 {
			t.Errorf("it cannot explain what the other learnt: %+v, %d calls", x.Answers, p.calls.Load())
		}
		b.away = true
		if found, err := list[0].Forget(t.Context(), client); !found || !errors.Is(err, errAway) {
			t.Errorf("forget while it is away: %v, %v", found, err)
		}
	})
}

// broken is a shared memory with a bug.
type broken struct{ Shared }

func (broken) Claim(context.Context, record.Key, []string, time.Duration) (record.Record, []string, error) {
	panic("a bug")
}

// TestABugEndsNothing proves that a look-up which panics is over, for those who wait for it too, and that the next one is made.
func TestABugEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		e := newEngine(t, Config{
			Providers: []Provider{asked("p", after(time.Millisecond, abusive, nil))}, Shared: broken{blackboard{newBoard(), "a"}},
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		for range 2 {
			start := time.Now()
			if v := e.Lookup(t.Context(), client, time.Second); v.Scored || time.Since(start) != 0 {
				t.Errorf("after %s: %+v", time.Since(start), v)
			}
		}
		synctest.Wait()
		if n := strings.Count(log.String(), "panicked"); n != 2 {
			t.Errorf("it is said %d times:\n%s", n, log.String())
		}
	})
}
