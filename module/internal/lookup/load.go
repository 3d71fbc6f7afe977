package lookup

import (
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lossy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// loads holds the calls whose subjects are to be looked for in the shared memory. Engine.loading
// bounds their number. One goroutine does so for several at a time, while there are any: the more
// subjects are new, the more of them share an exchange.
type loads struct {
	mu     sync.Mutex
	calls  []*call
	served bool
}

const (
	// maxBatch is the largest number of subjects in one exchange.
	maxBatch = 64

	// After an exchange for a crowd, the next one waits a moment for more subjects. With 32 clients
	// at a time, all of them new, that halves the processor time of each: 5 µs instead of 10.
	crowded = 4
	gather  = time.Millisecond
)

func (l *loads) push(e *Engine, c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, c)
	if !l.served {
		l.served = true
		e.background.Go(e.serveLoads)
	}
}

// next moves the calls of the next exchange to into. If it returns none, nobody serves them any
// more.
func (l *loads) next(into []*call) []*call {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.calls), maxBatch)
	into = append(into[:0], l.calls[:n]...)
	clear(l.calls[:n])
	if l.calls = l.calls[n:]; n == 0 {
		l.calls, l.served = nil, false
	}
	return into
}

// serveLoads loads subjects, and lets their calls go on, until none is left.
func (e *Engine) serveLoads() {
	batch := make([]*call, 0, maxBatch)
	keys := make([]record.Key, 0, maxBatch)
	var rec record.Record
	for {
		if len(batch) >= crowded {
			time.Sleep(gather)
		}
		if batch = e.loads.next(batch); len(batch) == 0 {
			return
		}
		keys = keys[:0]
		for _, c := range batch {
			keys = append(keys, c.key)
		}
		e.loadShared(keys)
		for _, c := range batch {
			e.afterLoad(c, &rec)
		}
	}
}

// loadShared brings what other instances have learnt of some subjects into the memory. If the
// shared memory is away, it knows nothing: its implementation counts and logs that.
func (e *Engine) loadShared(keys []record.Key) {
	defer func() {
		if v := recover(); v != nil {
			e.Logger.Error("loading what other instances know panicked; this is a bug", slog.Any("panic", v))
		}
	}()
	_ = e.Shared.Load(e.base, keys, e.names, e.mergeShared)
}

// afterLoad lets a call go on, if answers are still due.
func (e *Engine) afterLoad(c *call, rec *record.Record) {
	e.loading.free(c.key)
	r := e.reserveAgain(c, rec, true)
	r.waits = r.waits && e.takeWaiting(c.key, c.worth.get())
	e.proceed(c, r)
}

// seen remembers which subjects were looked for in the last minute, in the memory that instances
// share. Most requests of unknown clients ask it. A subject that is displaced is looked for once more.
type seen struct{ at *lossy.Numbers } // seconds since 1970

const seenFor = uint32(time.Minute / time.Second)

func newSeen() *seen { return &seen{lossy.NewNumbers(1 << 14)} }

// first reports whether the subject was not seen in the last minute, and notes that it is now.
func (s *seen) first(key record.Key, now uint32) (first bool) {
	// whoever was seen first makes room, but before that, what a clock that was ahead has left
	late := func(at uint32) uint32 { return math.MaxUint32 - (now - at) }
	s.at.Change(uint64(key), late, func(at uint32) uint32 {
		// a clock that has stepped back must not make it last
		if first = at == 0 || now-at >= seenFor; first {
			return now
		}
		return at
	})
	return first
}
