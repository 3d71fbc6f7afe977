package lookup

import (
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// queue holds the calls that wait for a provider to have room. The one whose answers are worth most comes first, and of
// equals the one that has waited longest. So a call may wait as long as others are worth more; its client raises it with
// each request. Engine.waiting bounds their number, and when there are too many, the one that is worth least makes room.
// A goroutine serves the queue while it is not empty.
type queue struct {
	mu        sync.Mutex
	calls     []*call // in the order in which they came
	trying    *call   // the one of them that is tried at the moment
	displaced []*call // have made room, and are still to be ended
	served    bool
	ended     chan struct{} // receives when a running call has ended
}

// rising is a number that only rises: what the answers of a call are worth. It is safe for concurrent use.
type rising struct{ bits atomic.Uint64 }

func (w *rising) get() float64 { return math.Float64frombits(w.bits.Load()) }

// raise raises it to at least v.
func (w *rising) raise(v float64) {
	for {
		old := w.bits.Load()
		if v <= math.Float64frombits(old) || w.bits.CompareAndSwap(old, math.Float64bits(v)) {
			return
		}
	}
}

// queueRecheck is how often the queue is served although none of this engine's calls has ended: an
// engine that was replaced asks the same providers, and pauses end.
const queueRecheck = 100 * time.Millisecond

// fewAhead is how many calls may be ahead of one that a request waits for. While there are more new
// clients than providers can answer, waiting would slow each of them down and bring nothing.
const fewAhead = 8

func newQueue() *queue { return &queue{ended: make(chan struct{}, 1)} }

func (q *queue) push(e *Engine, c *call) {
	q.mu.Lock()
	defer q.mu.Unlock()
	ahead := 0
	for _, other := range q.calls {
		if other.worth.get() >= c.worth.get() {
			ahead++
		}
	}
	if ahead >= fewAhead {
		close(c.far)
	}
	if q.calls = append(q.calls, c); !q.served {
		q.served = true
		e.background.Go(e.serveQueue)
	}
}

// wake makes the queue be served at once.
func (q *queue) wake() {
	select {
	case q.ended <- struct{}{}:
	default: // it will be
	}
}

// next returns the call that comes first, and those that have made room since the last time. Without a call, nobody serves
// the queue any more.
func (q *queue) next() (first *call, displaced []*call) {
	q.mu.Lock()
	defer q.mu.Unlock()
	displaced, q.displaced = q.displaced, nil
	for _, c := range q.calls {
		if first == nil || c.worth.get() > first.worth.get() {
			first = c
		}
	}
	if q.trying = first; first == nil {
		q.calls, q.served = nil, false
	}
	return first, displaced
}

// removeTried removes the call that is tried.
func (q *queue) removeTried() {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.calls, q.trying)
	q.calls = slices.Delete(q.calls, i, i+1)
}

// displace takes the call that is worth least from the queue, if it is worth less than v. Of equals, the last one goes.
// Unless network is 0, it must be of that network.
func (q *queue) displace(v float64, network record.Key) *call {
	q.mu.Lock()
	defer q.mu.Unlock()
	last := -1
	for i, c := range q.calls {
		w := c.worth.get()
		if c != q.trying && w < v && (network == 0 || c.key.Network() == network) &&
			(last < 0 || w <= q.calls[last].worth.get()) {
			last = i
		}
	}
	if last < 0 {
		return nil
	}
	c := q.calls[last]
	q.calls = slices.Delete(q.calls, last, last+1)
	q.displaced = append(q.displaced, c)
	return c
}

// takeWaiting takes a place in the queue for a subject, if need be that of a call that is worth less, and reports whether
// there was one. The goroutine of the queue ends the displaced call, since the caller may hold the lock of its shard.
func (e *Engine) takeWaiting(key record.Key, v float64) bool {
	taken, crowded := e.waiting.tryTake(key)
	if taken {
		return true
	}
	network := record.Key(0) // of any
	if crowded {
		network = key.Network()
	}
	displaced := e.queue.displace(v, network)
	if displaced == nil {
		return false
	}
	e.waiting.free(displaced.key)
	e.queue.wake()
	return e.waiting.take(key)
}

// serveQueue starts the waiting calls as soon as they may be made, until none is left.
func (e *Engine) serveQueue() {
	recheck := time.NewTicker(queueRecheck)
	defer recheck.Stop()
	var rec record.Record
	for {
		c, displaced := e.queue.next()
		for _, other := range displaced {
			e.finish(other)
		}
		if c == nil {
			return
		}
		if e.tryWaiting(c, &rec) {
			continue
		}
		select {
		case <-recheck.C:
		case <-e.queue.ended:
		}
	}
}

// tryWaiting lets the call that comes first go on or end, and reports whether it could. A waiting
// call ends when nobody may be asked any more.
func (e *Engine) tryWaiting(c *call, rec *record.Record) (gone bool) {
	r := e.reserveAgain(c, rec, false)
	if r.waits {
		return false
	}
	e.queue.removeTried()
	e.waiting.free(c.key)
	e.proceed(c, r)
	return true
}

// reserveAgain is reserve for a call that has begun. After Close, and if there is a bug, nobody may
// be asked.
func (e *Engine) reserveAgain(c *call, rec *record.Record, count bool) (r reserved) {
	defer func() {
		if v := recover(); v != nil {
			e.Logger.ErrorContext(c.ctx, "looking an address up in the background panicked; this is a bug",
				slog.Any("panic", v))
			r = reserved{}
		}
	}()
	if e.calls.closed.Load() {
		return reserved{}
	}
	now := time.Now()
	if c.until.IsZero() {
		e.get(c.key, rec, record.Seconds(now))
	} else { // Get could miss what this very call has found out
		e.update(c.key, func(known *record.Record) { *rec = *known })
	}
	l := e.local(c.addr, c.request.Claim)
	l.request, l.worth, l.progress = c.request, c.worth.get(), e.progressOf(c)
	return e.reserve(c.key, &l, rec, c.all, count, now)
}
