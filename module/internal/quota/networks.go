package quota

import (
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lossy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// networks counts the calls about each client network, for one period. A network that is new takes
// the place of one with few calls. So the counts that matter stay, and each replacement takes a
// call. It is not safe for concurrent use.
type networks struct {
	start time.Time // of the window that is counted
	calls *lossy.Numbers
}

// count returns the number of calls about a network in the window that begins at start.
func (n *networks) count(network record.Key, start time.Time) int {
	if n == nil || n.calls == nil || !n.start.Equal(start) {
		return 0
	}
	return int(n.calls.Get(uint64(network)))
}

// add counts a call about a network.
func (n *networks) add(network record.Key, start time.Time) {
	if n.calls == nil || !n.start.Equal(start) {
		n.start, n.calls = start, lossy.NewNumbers(512)
	}
	n.change(network, 1)
}

// remove takes back a call that was not made.
func (n *networks) remove(network record.Key, start time.Time) {
	if n.count(network, start) > 0 {
		n.change(network, -1)
	}
}

func (n *networks) change(network record.Key, by int) {
	calls := func(calls uint32) uint32 { return calls }
	n.calls.Change(uint64(network), calls, func(calls uint32) uint32 { return calls + uint32(by) })
}

// fewShare is the part of few calls that a network may use in any case, up to ledger.FewCalls. A small
// share of a small quota would be less than a call, and a network of a provider with thousands of
// customers deserves more than one.
const fewShare = 0.1

// networkLimit returns how many calls about one network may have been made in the window that began
// at start: a share of the calls that are released, or of few calls a tenth.
func (t Terms) networkLimit(w ledger.Window, start, at time.Time) int {
	released := w.Limit
	if len(t.Windows) > 0 {
		released = t.limits().Released(w, start, at)
	}
	if t.NetworkShare <= 0 || t.NetworkShare >= 1 || w.Limit <= ledger.FewCalls {
		return released
	}
	few := min(int(fewShare*float64(released)), ledger.FewCalls)
	return max(int(t.NetworkShare*float64(released)), few)
}

// unlimited stands for a service without a quota. A network that rotates must not fill the memory
// with answers about itself.
var unlimited = []ledger.Window{{Limit: 50_000, Period: ledger.Hour}}

// shared returns the windows of which a network has a share: none if there is no bound.
func (t Terms) shared() []ledger.Window {
	switch {
	case t.NetworkShare <= 0 || t.NetworkShare >= 1:
		return nil
	case len(t.Windows) == 0:
		return unlimited
	}
	return t.Windows
}

// networkHasRoom reports whether the network has used less than its share.
func (b *Budget) networkHasRoom(terms Terms, network record.Key, now time.Time) bool {
	for _, w := range terms.shared() {
		start := w.Period.Start(now)
		if b.networks[w.Period].count(network, start) >= terms.networkLimit(w, start, now) {
			return false
		}
	}
	return true
}

// countNetwork counts a call about the network, once for each period.
func (b *Budget) countNetwork(terms Terms, network record.Key, now time.Time) {
	var counted [ledger.NumPeriods]bool
	for _, w := range terms.shared() {
		if counted[w.Period] {
			continue
		}
		counted[w.Period] = true
		if b.networks[w.Period] == nil {
			b.networks[w.Period] = new(networks)
		}
		b.networks[w.Period].add(network, w.Period.Start(now))
	}
}

// refundNetwork takes back a call that was counted at a time and not made.
func (b *Budget) refundNetwork(terms Terms, network record.Key, counted time.Time) {
	if len(terms.shared()) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for p, n := range b.networks {
		n.remove(network, ledger.Period(p).Start(counted))
	}
}

// NetworkSpent reports whether calls about the network of addr have used its share of a window.
func (g *Guard) NetworkSpent(addr netip.Addr, now time.Time) bool {
	network := record.KeyOf(addr).Network()
	g.budget.mu.Lock()
	defer g.budget.mu.Unlock()
	return !g.budget.networkHasRoom(g.terms, network, now)
}
