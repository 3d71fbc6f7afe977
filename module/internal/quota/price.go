package quota

import (
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
)

// keptPart is the largest part of a quota that is reserved for calls that are worth more.
const keptPart = .25

// price returns how much the answer to a call must be worth, from 0 to 1, for the call to be made now. It is the most
// that one of the windows asks for.
//
// It follows from what is left alone, where calls that are reserved count as made. So it needs no memory, is the same on
// all instances that share a ledger, and nobody waits for a better bid: a client that was not asked about bids again with
// its next request.
//
//   - While the calls that are left of those released are at least kept, the price is 0, and everybody is asked about.
//   - Below that it rises evenly, up to 1 when none is left. A call of the worth w thus leaves 1 − w of kept for those
//     that are worth more: while they take less than becomes available, they always find some.
//   - While an instance counts alone, all of this holds for its share.
func (t Terms) price(usage []ledger.Usage, now time.Time) (price float64) {
	if t.FirstCome {
		return 0
	}
	for i, u := range usage {
		w := t.Windows[i]
		start := w.Period.Start(u.Reset.Add(-time.Nanosecond))
		left, kept := u.Left(t.limits().Released(w, start, now)), t.kept(w, start, now)
		if u.Share > 0 {
			kept *= u.Share
		}
		if left < kept {
			price = max(price, 1-left/kept)
		}
	}
	return price
}

// kept returns how many calls of the window that began at start are reserved for what is worth more. It is the least of
// three: the burst, a part of the quota, and what is still released until the window ends. By the last, the price falls
// towards the end: calls that are left then are lost. A small quota reserves none.
func (t Terms) kept(w ledger.Window, start, at time.Time) float64 {
	if w.Limit <= ledger.FewCalls {
		return 0
	}
	end := w.Period.End(start)
	left := min(max(float64(end.Sub(at))/float64(end.Sub(start)), 0), 1)
	most := max(keptPart*float64(w.Limit), ledger.FewCalls)
	return min(float64(t.limits().Released(w, start, start)), most, left*float64(w.Limit))
}

// keptOfRate is the part of the calls that the rate allows at once which is kept for calls that are worth more. A rate
// soon has room again, so that more than a moment is never at stake.
const keptOfRate = .5

// priceOfRate is price where the rate is what is short, and has room for so many calls. With none, it is 0: nobody can be
// asked about, whatever it is worth. A rate of one call at a time has nothing to keep.
func (t Terms) priceOfRate(left float64) float64 {
	kept := keptOfRate * float64(ledger.BurstOf(t.Rate)-1)
	if t.FirstCome || left < 1 || left >= 1+kept {
		return 0
	}
	return 1 - (left-1)/kept
}
