package lookup

import (
	"context"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/worth"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Gate is a provider that knows beforehand whether it may be asked. One that is no Gate is always
// asked.
type Gate interface {
	// Reserve reserves a call about addr. It is called while a request waits, and mostly when the
	// answer is no: it must be quick, ask nobody, and not allocate then. While the budget is short, calls
	// that are worth little are refused. If the call may not be made, the Reservation is nil, why is the reason, and
	// waits means that the call may be made as soon as another one ends.
	Reserve(addr netip.Addr, bid worth.Bid, now time.Time) (r Reservation, why reputation.Result, waits bool)
	// CountSkipped counts a call that was not made, once for each subject and minute.
	CountSkipped(why reputation.Result)
}

// Reservation is a call that a provider allows. It is ended by one call of either method.
type Reservation interface {
	// Check makes the call.
	Check(ctx context.Context, q reputation.Query) (reputation.Report, error)
	// Cancel gives the reservation back.
	Cancel()
}

// reservation is a call to one provider that may be made.
type reservation struct {
	p    *provider
	call Reservation // nil if it is over, or the provider is no Gate: it then decides when it is asked
}

// take returns the reservation for the one who makes the call. What is left cancels nothing.
func (r *reservation) take() reservation {
	taken := *r
	r.call = nil
	return taken
}

func (r *reservation) cancel() {
	if call := r.take().call; call != nil {
		call.Cancel()
	}
}

func (r *reservation) check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	if r.call == nil {
		return r.p.Provider.Provider.Check(ctx, q)
	}
	return r.call.Check(ctx, q)
}

// reserved is whether providers may be asked about a subject. If it is the zero value, none may, or
// none has to be.
type reserved struct {
	// list are the calls that may be made. With any, the subject has a place in Engine.running.
	list []reservation

	// waits means that there are none, but will be when other calls end.
	waits bool

	// passed are the providers that this call need not try again.
	passed group
}

// reserve reserves calls to providers whose answers are due, or to all of them: to those of the lowest
// rung where one may be asked. count counts those that may not.
func (e *Engine) reserve(
	key record.Key, l *local, rec *record.Record, all, count bool, now time.Time,
) (r reserved) {
	waits, opinion := false, e.opinions(rec)
	e.matchNamed(l, rec)
	left := e.left(l, rec, all, record.Seconds(now))
	r.passed = l.progress.passed
	for len(r.list) == 0 && left != 0 {
		if !all && !e.leavesOpen(l, rec, left, record.Seconds(now)) {
			e.countNeedless(left, count)
			break
		}
		rung := e.lowest(l, left, all)
		for i := range e.sources {
			p := &e.sources[i]
			if !rung.has(i) {
				continue
			}
			bid := worth.Bid{Operator: all}
			if !all {
				bid.Worth = e.worthOf(l, i, opinion)
			}
			call, why, busy := p.reserve(l.addr, bid, now)
			if why != reputation.ResultOK {
				waits = waits || busy
				if count && !busy {
					p.gate.CountSkipped(why)
				}
				continue
			}
			if len(r.list) == 0 && !l.progress.placed && !e.running.take(key) {
				call.cancel()
				return reserved{}
			}
			r.list = append(r.list, call)
		}
		if r.waits = waits && len(r.list) == 0; r.waits {
			break // for this rung
		}
		left, r.passed = left&^rung, r.passed|rung
	}
	if len(r.list) > 0 && left == 0 {
		r.passed = e.everybody
	}
	return r
}

// reserve reserves a call.
func (p *provider) reserve(addr netip.Addr, bid worth.Bid, now time.Time) (reservation, reputation.Result, bool) {
	if p.gate == nil {
		return reservation{p: p}, reputation.ResultOK, false
	}
	call, why, waits := p.gate.Reserve(addr, bid, now)
	return reservation{p, call}, why, waits
}
