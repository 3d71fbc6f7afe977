package quota

import (
	"hash/maphash"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// networks counts the calls about each client network, for one period. Its size is fixed: a network
// that is new replaces the one with the fewest calls of the eight that it shares a place with. So
// the counts that matter stay, and each replacement takes a call. It is not safe for concurrent
// use.
type networks struct {
	start time.Time // of the window that is counted
	words [networkSets * networkWays]uint64
}

const (
	networkSets = 512
	networkWays = 8

	networkCountBits = 24
	networkCountMask = 1<<networkCountBits - 1
)

var networkSeed = maphash.MakeSeed()

// place returns the words that may hold a network, and its tag in them.
func (n *networks) place(network record.Key) (set []uint64, tag uint64) {
	h := maphash.Comparable(networkSeed, network)
	i := h % networkSets * networkWays
	return n.words[i : i+networkWays], h &^ networkCountMask
}

// count returns the number of calls about a network in the window that begins at start.
func (n *networks) count(network record.Key, start time.Time) int {
	if n == nil || !n.start.Equal(start) {
		return 0
	}
	set, tag := n.place(network)
	for _, w := range set {
		if w&^networkCountMask == tag {
			return int(w & networkCountMask)
		}
	}
	return 0
}

// add counts a call about a network.
func (n *networks) add(network record.Key, start time.Time) {
	if !n.start.Equal(start) {
		clear(n.words[:])
		n.start = start
	}
	set, tag := n.place(network)
	least := 0
	for i, w := range set {
		if w&^networkCountMask == tag {
			set[i] = tag | min(w&networkCountMask+1, networkCountMask)
			return
		}
		if w&networkCountMask < set[least]&networkCountMask {
			least = i
		}
	}
	set[least] = tag | 1
}

// remove takes back a call that was not made.
func (n *networks) remove(network record.Key, start time.Time) {
	if n == nil || !n.start.Equal(start) {
		return
	}
	set, tag := n.place(network)
	for i, w := range set {
		if w&^networkCountMask == tag && w&networkCountMask > 0 {
			set[i] = w - 1
		}
	}
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
