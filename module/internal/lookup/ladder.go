package lookup

import (
	"math/bits"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Providers stand on the rungs of a ladder by what a call to them costs. A call climbs it: it asks all
// of a rung in parallel, and goes on once they have answered or failed, as long as something is open
// for a request that waits for it.

// group is a set of providers, by their place in Engine.sources: a bit for each.
type group uint32

func (g group) has(i int) bool { return g>>i&1 != 0 }

// cheapest is the number of calls a day from which a provider costs nothing that matters. Each tenth
// of it is a rung more.
const cheapest = 100_000

// paid is the last rung.
const paid = 10

// rungOf returns the rung of a provider, the cheapest first.
func rungOf(callsPerDay float64, isPaid bool) (rung int) {
	switch {
	case isPaid:
		return paid
	case callsPerDay <= 0:
		return 0
	}
	for most := float64(cheapest); callsPerDay < most && most >= 1; most /= 10 {
		rung++
	}
	return rung
}

// progress is how far a call has come.
type progress struct {
	passed group     // the rungs that were asked, or could not be
	others []Request // those that wait for the call, besides the one that started it
	placed bool      // the call has its place in Engine.running
	open   bool      // something is known to be open for the first rung
}

// mostOthers bounds the requests of a call that have different stakes. With more, everything is open.
const mostOthers = 8

// join adds a request to those that wait for the call. The caller holds the lock of its shard.
func (c *call) join(r Request) {
	if r == c.request {
		return
	}
	for _, other := range c.others {
		if r == other {
			return
		}
	}
	if len(c.others) == mostOthers {
		r.Stakes = nil
	} else if len(c.others) > mostOthers {
		return
	}
	c.others = append(c.others, r)
}

func (e *Engine) progressOf(c *call) progress {
	shard := e.calls.shard(c.key)
	shard.Lock()
	defer shard.Unlock()
	return progress{passed: c.passed, others: c.others, placed: !c.until.IsZero()}
}

// left returns the providers that the call has not passed, and whose answers are due; or all that it has not passed.
func (e *Engine) left(l *local, rec *record.Record, all bool, now uint32) (left group) {
	for i := range e.sources {
		p := &e.sources[i]
		if l.progress.passed.has(i) || !p.covers.Has(l.addr) || p.UnlessListed && l.match.Listed {
			continue
		}
		if a := rec.FindAt(i, p.id); all || a == nil || now >= a.Due {
			left |= 1 << i
		}
	}
	return left
}

// lowest returns the providers of the lowest rung. Where everything matters, or an operator asks, that is all of them.
func (e *Engine) lowest(l *local, left group, all bool) (rung group) {
	if all || e.allMatters(l) {
		return left
	}
	first := 0
	for rest := left; rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros32(uint32(rest))
		switch on := e.sources[i].rung; {
		case rung == 0 || on < first:
			first, rung = on, 1<<i
		case on == first:
			rung |= 1 << i
		}
	}
	return rung
}

// allMatters reports whether there is a request for which every answer matters.
func (e *Engine) allMatters(l *local) bool {
	if e.FirstCome || l.request.Stakes == nil {
		return true
	}
	for i := range l.progress.others {
		if l.progress.others[i].Stakes == nil {
			return true
		}
	}
	return false
}

// leavesOpen reports whether the answers of the providers that are left could still change something for a request that
// waits.
func (e *Engine) leavesOpen(l *local, rec *record.Record, left group, now uint32) bool {
	if l.progress.open || e.allMatters(l) {
		l.progress.open = false
		return true
	}
	s, _ := e.scratch.Get().(*scratch)
	defer e.scratch.Put(s)
	s.record = *rec
	for i := -1; i < len(l.progress.others); i++ {
		x := *l
		if i >= 0 {
			x.request = l.progress.others[i]
			x.claim = x.request.Claim
		}
		if e.override(&x) != nil {
			continue
		}
		e.see(&x, rec)
		if e.settles(&x, s, now) {
			continue
		}
		if _, open := e.weigh(&x, s, left, now, reputation.OriginNone); open {
			return true
		}
	}
	return false
}

// countNeedless counts calls that could change nothing.
func (e *Engine) countNeedless(needless group, count bool) {
	for i := range e.sources {
		if gate := e.sources[i].gate; count && gate != nil && needless.has(i) {
			gate.CountSkipped(reputation.ResultSkippedSettled)
		}
	}
}

// climb reserves calls to the providers of the next rung, if there is time for them, and room: nobody waits for them. While
// another instance asks providers, it climbs.
func (e *Engine) climb(c *call) []reservation {
	if c.passed == e.everybody || c.askedElsewhere || !time.Now().Before(c.until) {
		return nil
	}
	r := e.reserveAgain(c, new(record.Record), true)
	c.passed = r.passed
	return r.list
}
