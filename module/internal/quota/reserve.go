package quota

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/worth"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// refusal is why a call is not made. It is a value, since requests that cannot be answered cause
// many of them.
type refusal struct {
	reason reason
	until  time.Time // when to try again; zero if that is not known
	price  float64   // of a call that is tooDear
}

type reason uint8

const (
	allowed   reason = iota
	paused           // the breaker is open, or the self-test has not passed
	pausedKey        // the service refused or throttled the key
	spentOut         // a quota is spent or ahead of its pace, or the rate has no room
	tooDear          // the answer is worth less than the price
	ofNetwork        // the network has used its share
	busy             // as many calls as may run at the same time are running
)

// result returns the result that stands for the reason.
func (r reason) result() reputation.Result {
	switch r {
	case allowed:
		return reputation.ResultOK
	case paused, pausedKey:
		return reputation.ResultSkippedBreaker
	}
	return reputation.ResultSkippedQuota
}

// err returns the refusal as the error of a call.
func (r refusal) err() *reputation.SkippedError {
	return &reputation.SkippedError{Result: r.reason.result(), Until: r.until}
}

// Reservation is a call that the terms allow. Its owner ends it by Check or by Cancel.
type Reservation struct {
	guard   *Guard
	terms   Terms
	done    func(error)
	key     uint64
	network record.Key
	at      time.Time
}

// recheckClosed is how long a refusal is believed that concerns everybody: calls may be refunded,
// and the service may answer again.
const recheckClosed = time.Second

// Reserve reserves a call about addr with the given key, as far as this process knows that there is
// one. It asks nobody, and is cheap where the answer is no. The bid has to reach the price, unless it
// is an operator's: see price and Terms.urgent. Without a Reservation, the result says why; waits
// means that only running calls prevent it.
func (g *Guard) Reserve(
	key string, addr netip.Addr, bid worth.Bid, now time.Time,
) (r *Reservation, why reputation.Result, waits bool) {
	terms := g.callTerms()
	if bid.Operator {
		terms, bid.Worth = terms.urgent(), 1
	} else if why := g.closed(bid.Worth, now); why != allowed {
		return nil, why.result(), false
	}
	r, refused := g.reserve(terms, fingerprint(key), addr, bid.Worth, now, g.known)
	if refused.reason == allowed {
		return r, reputation.ResultOK, false
	}
	if !bid.Operator {
		g.close(refused, now)
	}
	return nil, refused.reason.result(), refused.reason == busy
}

// reserve asks the budget for one call. known, if set, returns why the counts that this process
// knows allow none.
func (g *Guard) reserve(
	terms Terms, key uint64, addr netip.Addr, worth float64, now time.Time,
	known func(Terms, float64, time.Time) refusal,
) (*Reservation, refusal) {
	network := record.KeyOf(addr).Network()
	var counts refusal
	if until := g.spentUntil(now); !until.IsZero() {
		counts = refusal{reason: spentOut, until: until}
	} else if known != nil {
		refused := g.budget.blocked(terms, key, network, now)
		if refused.reason == allowed && terms.shares && !g.batches.hasPlace() {
			refused = refusal{reason: busy, until: now.Add(busyRetry)}
		}
		if refused.reason != allowed && (refused.reason != busy || !g.looksAgain(now)) {
			return nil, refused
		}
		if counts = known(terms, worth, now); refused.reason == busy && counts.reason == allowed {
			return nil, refused
		}
	}
	done, refused := g.budget.admit(terms, key, network, counts, worth, now)
	if refused.reason != allowed {
		return nil, refused
	}
	if terms.shares && !g.batches.takePlace() {
		g.budget.refundNetwork(terms, network, now)
		return nil, refusal{reason: busy, until: now.Add(busyRetry)}
	}
	g.budget.uncounted.Add(1)
	return &Reservation{guard: g, terms: terms, done: done, key: key, network: network, at: now}, refusal{}
}

// looksAgain reports whether it is time to look at the counts although a call is refused because
// others are running: it need not wait for these if the counts will not allow it either.
func (g *Guard) looksAgain(now time.Time) bool {
	last := g.lookedBusy.Load()
	age := now.UnixNano() - last
	return (age < 0 || age >= int64(recheckClosed)) && g.lookedBusy.CompareAndSwap(last, now.UnixNano())
}

// known returns why the counts that this process knows allow no call. The counts of other instances
// may be higher: the ledger decides whether there is a call. Whether the answer is worth it is
// decided here alone, and thus by counts that are as old as the last call of this instance.
func (g *Guard) known(terms Terms, worth float64, now time.Time) refusal {
	if len(terms.Windows) == 0 {
		return refusal{}
	}
	usage := g.ledger.Look(g.name, terms.limits(), now)
	if window, until := spentUntil(terms.Windows, usage); !until.IsZero() {
		g.recordSpent(context.Background(), now, window, until)
		return refusal{reason: spentOut, until: until}
	}
	if until := terms.limits().NextAt(usage, now); !until.IsZero() {
		return refusal{reason: spentOut, until: until}
	}
	reserved := int(g.budget.uncounted.Load())
	for i := range usage {
		usage[i].Used, usage[i].Alone = usage[i].Used+reserved, usage[i].Alone+reserved
	}
	if price := terms.price(usage, now); worth < price {
		return refusal{reason: tooDear, price: price}
	}
	return refusal{}
}

// closedPriceUnit is what the price is counted in beside the reason.
const closedPriceUnit = 1. / (1 << 16)

// closed returns the reason of a refusal that is still believed, if it concerns a call of that worth. One
// from a time when the clock was ahead is not believed.
func (g *Guard) closed(worth float64, now time.Time) reason {
	left := g.closedUntil.Load() - now.UnixNano()
	if left <= 0 || left > int64(recheckClosed) {
		return allowed
	}
	word := g.closedReason.Load()
	why := reason(word)
	if why == tooDear && worth >= float64(word>>8)*closedPriceUnit {
		return allowed
	}
	return why
}

// close makes Reserve refuse calls for a moment, if a refusal concerns everybody, or all that are
// worth less than the price.
func (g *Guard) close(r refusal, now time.Time) {
	if r.reason != paused && r.reason != spentOut && r.reason != tooDear {
		return
	}
	until := now.Add(recheckClosed)
	if !r.until.IsZero() && r.until.Before(until) {
		until = r.until
	}
	g.closedReason.Store(uint32(r.reason) | uint32(r.price/closedPriceUnit)<<8)
	g.closedUntil.Store(until.UnixNano())
}

// Cancel gives the reservation back. What the rate has granted refills by itself.
func (r *Reservation) Cancel() {
	r.guard.budget.uncounted.Add(-1)
	if r.terms.shares {
		r.guard.batches.freePlace()
	} else {
		r.guard.budget.release()
		r.guard.budget.record(r.done, r.key, errNoEvidence, r.at, r.at)
	}
	r.guard.budget.refundNetwork(r.terms, r.network, r.at)
}

// Check makes the call, as Guard.Check does. The query must have the key and the address of the
// reservation.
func (r *Reservation) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	return r.check(ctx, q, r.guard.provider.Check)
}

// check is Check with what stands for that of the provider.
func (r *Reservation) check(ctx context.Context, q reputation.Query, check checkFunc) (reputation.Report, error) {
	g := r.guard
	if err := ctx.Err(); err != nil {
		r.Cancel()
		return reputation.Report{}, fmt.Errorf("ask %s: %w", g.name, err)
	}
	began := g.now()
	if refused := g.take(ctx, r.terms, began); refused.reason != allowed {
		r.Cancel()
		if ctx.Err() == nil {
			g.close(refused, began)
		}
		skipped := refused.err()
		g.observe(g.name, skipped.Result, 0)
		return reputation.Report{}, skipped
	}
	g.budget.uncounted.Add(-1)
	if r.terms.shares {
		return r.checkTogether(ctx, q, began)
	}
	report, err := g.call(ctx, q, check)
	now := g.now()
	took := now.Sub(began)
	if callerLeft(ctx, err) && took < g.terms.Timeout {
		g.budget.record(r.done, r.key, errNoEvidence, began, now)
		return reputation.Report{}, err
	}
	if noRequestMade(err) {
		g.refund(ctx, r.terms, began)
		g.budget.refundNetwork(r.terms, r.network, r.at)
	}
	changed := g.budget.record(r.done, r.key, err, began, now)
	g.keepError(err, q)
	g.logOutcome(ctx, q, err, changed, now)
	g.notifyChange(changed, err, began)
	g.observe(g.name, reputation.ResultOf(err), took)
	return report, err
}
