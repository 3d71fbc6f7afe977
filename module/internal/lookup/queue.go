package lookup

import (
	"log/slog"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// queue holds the calls that wait for a provider to have room, in the order in which they came.
// Engine.waiting bounds their number. A goroutine serves the queue while it is not empty.
type queue struct {
	mu     sync.Mutex
	calls  []*call
	served bool
	ended  chan struct{} // receives when a running call has ended
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
	if q.calls = append(q.calls, c); len(q.calls) > fewAhead && !c.isFar {
		c.isFar = true
		close(c.far)
	}
	if !q.served {
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

// first returns the call that has waited longest. Without any, nobody serves the queue any more.
func (q *queue) first() *call {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.calls) == 0 {
		q.calls, q.served = nil, false
		return nil
	}
	return q.calls[0]
}

func (q *queue) removeFirst() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls[0] = nil
	q.calls = q.calls[1:]
}

// serveQueue starts the waiting calls as soon as they may be made, until none is left.
func (e *Engine) serveQueue() {
	recheck := time.NewTicker(queueRecheck)
	defer recheck.Stop()
	var rec record.Record
	for c := e.queue.first(); c != nil; c = e.queue.first() {
		if e.tryWaiting(c, &rec) {
			continue
		}
		select {
		case <-recheck.C:
		case <-e.queue.ended:
		}
	}
}

// tryWaiting lets the first call of the queue go on or end, and reports whether it could. A waiting
// call ends when nobody may be asked any more.
func (e *Engine) tryWaiting(c *call, rec *record.Record) (gone bool) {
	r := e.reserveAgain(c, rec, false)
	if r.waits {
		return false
	}
	e.queue.removeFirst()
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
	e.get(c.key, rec, record.Seconds(now))
	l := e.local(c.addr, c.request.Claim)
	l.request, l.climb = c.request, e.waitingFor(c)
	return e.reserve(c.key, &l, rec, c.all, count, now)
}
