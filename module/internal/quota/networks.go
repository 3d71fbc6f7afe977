package quota

import (
	"hash/maphash"
	"net/netip"
	"time"

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
	for p, limit := range limits(terms.shared()) {
		if limit == 0 {
			continue
		}
		if b.networks[p] == nil {
			b.networks[p] = new(networks)
		}
		b.networks[p].add(network, Period(p).Start(now))
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
		n.remove(network, Period(p).Start(counted))
	}
}

// NetworkSpent reports whether calls about the network of addr have used its share of a window.
func (g *Guard) NetworkSpent(addr netip.Addr, now time.Time) bool {
	network := record.KeyOf(addr).Network()
	g.budget.mu.Lock()
	defer g.budget.mu.Unlock()
	return !g.budget.networkHasRoom(g.terms, network, now)
}
