package quota

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	// maxTogether bounds the calls for one provider that are reserved, wait, or are in a request. It is less than the
	// number of calls that look-ups may have under way, so that one slow service leaves room for the others.
	maxTogether = 192

	// maxTaking is how many calls are taken from the ledger at the same time.
	maxTaking = 8

	// maxGather is the longest time that a call waits for the rate.
	maxGather = 10 * time.Second

	// concurrencyRecheck is how often calls that wait look for room, although no request of their own Guard has ended:
	// one that was replaced by a reload asks the same service.
	concurrencyRecheck = 100 * time.Millisecond
)

// batches gathers the calls for a reputation.Batcher. A call goes out at once if a request may be made. If as many are
// under way as may be, or if the rate has no room, it waits, and the next request is about all who wait by then. So
// nothing is slower than without, and the more calls there are, the more of them share a request.
type batches struct {
	guard   *Guard
	batcher reputation.Batcher
	most    int           // addresses of one request
	request Terms         // those of a request: its calls are counted before
	wait    time.Duration // the longest time that a call waits for its request
	taking  chan struct{} // has an element for each call that is being taken from the ledger

	mu       sync.Mutex
	places   int           // calls that are reserved or wait
	underWay int           // calls that are in a request, until their callers have the answer
	waiting  []*sharedCall // in the order in which they came
	timer    *time.Timer   // runs dispatch when there may be room; nil at first
	paced    time.Time     // until when the rate of all instances has no room
}

// sharedCall is a call that shares a request.
type sharedCall struct {
	addr    netip.Addr
	key     string
	ctx     context.Context
	until   time.Time    // when the call is skipped if it has not gone out
	request *request     // nil while the call waits
	left    bool         // its caller waits no longer
	ended   chan outcome // buffered: who has left reads nothing
}

// outcome is what has come of a call, and how long its request took.
type outcome struct {
	reputation.Answer
	took time.Duration
}

// request is one request for several calls.
type request struct {
	ctx    context.Context // ends when all of its calls were left by their callers
	cancel context.CancelFunc
	key    string
	calls  []*sharedCall
	left   int // calls whose callers have left
	done   func(error)
}

// newBatches returns nil for a provider that is asked about one address at a time.
func newBatches(g *Guard) *batches {
	batcher, ok := g.provider.(reputation.Batcher)
	if !ok {
		return nil
	}
	most := g.provider.Profile().Batch
	if most < 2 {
		return nil
	}
	terms := g.terms
	terms.Windows, terms.NetworkShare = nil, 1
	return &batches{
		guard: g, batcher: batcher, most: most, request: terms, wait: g.terms.waits(),
		taking: make(chan struct{}, maxTaking),
	}
}

// waits returns how long a call for a Batcher waits for its request: as long as the one before it
// may take, and until the rate has room.
func (t Terms) waits() time.Duration {
	wait := t.Timeout + concurrencyRecheck
	if t.Rate.Bounded() {
		wait += min(t.Rate.Per/time.Duration(t.Rate.Events), maxGather)
	}
	return wait
}

// Longest returns how long a call may take of a provider that is asked about up to batch addresses in one request.
func (t Terms) Longest(batch int) time.Duration {
	t = t.withDefaults()
	if batch < 2 {
		return t.Timeout
	}
	return t.waits() + t.Timeout
}

// callTerms returns the terms of one call of Check.
func (g *Guard) callTerms() Terms {
	terms := g.terms
	if g.batches != nil {
		terms.Rate, terms.shares = rate.Rate{}, true
	}
	return terms
}

// hasPlace reports whether another call may be reserved. Those who wait go out with the next requests.
func (b *batches) hasPlace() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hasPlaceLocked()
}

func (b *batches) hasPlaceLocked() bool {
	return b.places < b.most*b.request.Concurrency && b.places+b.underWay < maxTogether
}

func (b *batches) takePlace() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.hasPlaceLocked() {
		return false
	}
	b.places++
	return true
}

func (b *batches) freePlace() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.places--
}

// push adds a call that has a place, and sends it if a request may be made.
func (b *batches) push(ctx context.Context, q reputation.Query) *sharedCall {
	c := &sharedCall{
		addr: q.Addr, key: q.Key, ctx: ctx, until: time.Now().Add(b.wait), ended: make(chan outcome, 1),
	}
	b.mu.Lock()
	b.waiting = append(b.waiting, c)
	b.mu.Unlock()
	b.dispatch()
	return c
}

// withdraw takes back a call that waits. It reports false if the call has gone out, or was refused.
func (b *batches) withdraw(c *sharedCall) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.withdrawLocked(c)
}

func (b *batches) withdrawLocked(c *sharedCall) bool {
	i := slices.Index(b.waiting, c)
	if i < 0 {
		return false
	}
	b.waiting = slices.Delete(b.waiting, i, i+1)
	b.places--
	if len(b.waiting) == 0 {
		b.stop()
	}
	return true
}

// leave is withdraw for a caller who does not wait for an answer either. If the call has gone out,
// the request goes on for the others, and ends if there are none.
func (b *batches) leave(c *sharedCall) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.withdrawLocked(c) {
		return true
	}
	c.left = true
	if r := c.request; r != nil {
		if r.left++; r.left == len(r.calls) {
			r.cancel()
		}
	}
	return false
}

// end frees what a call holds that has gone out. Its caller has the answer, or has left.
func (b *batches) end(c *sharedCall) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.request != nil {
		b.underWay--
	}
}

// dispatch sends requests for those who wait, as long as the terms allow one. It is called whenever that may have
// changed.
func (b *batches) dispatch() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.waiting) > 0 {
		now, key := time.Now(), b.waiting[0].key
		done, refused := b.admit(key, now)
		switch {
		case refused.reason == allowed:
			go b.send(b.next(key, done))
		case refused.reason == busy:
			b.again(concurrencyRecheck)
			return
		case refused.reason == spentOut && refused.until.Sub(now) <= b.wait:
			b.again(refused.until.Sub(now))
			return
		default:
			b.guard.close(refused, now)
			b.refuse(key, refused)
		}
	}
	b.stop()
}

// admit permits a request, or returns why none may be made.
func (b *batches) admit(key string, now time.Time) (func(error), refusal) {
	if left := b.paced.Sub(now); left > 0 && left <= b.wait {
		return nil, refusal{reason: spentOut, until: b.paced}
	}
	return b.guard.budget.admit(b.request, fingerprint(key), 0, refusal{}, 1, now)
}

// next takes the calls of the next request from those who wait. Who asks about an address that is in it already has to
// wait for the one after it.
func (b *batches) next(key string, done func(error)) *request {
	r := &request{key: key, done: done}
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(b.waiting[0].ctx))
	addrs := make(map[netip.Addr]bool)
	b.waiting = slices.DeleteFunc(b.waiting, func(c *sharedCall) bool {
		if len(r.calls) == b.most || c.key != key || addrs[c.addr] {
			return false
		}
		addrs[c.addr], c.request, r.calls = true, r, append(r.calls, c)
		return true
	})
	b.places -= len(r.calls)
	b.underWay += len(r.calls)
	return r
}

// refuse ends the waiting calls with a key.
func (b *batches) refuse(key string, why refusal) {
	b.waiting = slices.DeleteFunc(b.waiting, func(c *sharedCall) bool {
		if c.key != key {
			return false
		}
		b.places--
		c.ended <- outcome{Answer: reputation.Answer{Err: why.err()}}
		return true
	})
}

// postpone lets the calls of a request wait that the rate of all instances does not allow yet. Those that may not wait
// so long are skipped.
func (b *batches) postpone(r *request, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	stay := slices.DeleteFunc(r.calls, func(c *sharedCall) bool {
		if c.left || c.until.Before(until) {
			c.ended <- outcome{Answer: reputation.Answer{Err: refusal{reason: spentOut, until: until}.err()}}
			return true
		}
		c.request = nil
		return false
	})
	b.underWay -= len(stay)
	b.places += len(stay)
	b.waiting = append(stay, b.waiting...)
	b.paced, r.calls = until, nil
}

// again makes dispatch run after a time.
func (b *batches) again(after time.Duration) {
	if b.timer != nil {
		b.timer.Reset(after)
		return
	}
	b.timer = time.AfterFunc(after, b.dispatchSafely)
}

func (b *batches) stop() {
	if b.timer != nil {
		b.timer.Stop()
	}
}

// dispatchSafely is dispatch for goroutines that nobody else protects from a panic.
func (b *batches) dispatchSafely() {
	defer func() {
		if v := recover(); v != nil {
			b.logBug(v)
		}
	}()
	b.dispatch()
}

func (b *batches) logBug(v any) {
	b.guard.log.Error("sharing a request panicked; this is a bug", slog.Any("panic", v))
}
