package lookup

import (
	"sync"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// bound bounds how many subjects are in a state at the same time, together and for each network, so
// that one network cannot take all places.
type bound struct {
	most, ofNetwork int

	mu    sync.Mutex
	taken int
	by    map[record.Key]int // never more than most entries
}

// fewPlaces is what a network may always have.
const fewPlaces = 16

func newBound(most int) *bound {
	return &bound{most: most, ofNetwork: max(most/8, fewPlaces), by: make(map[record.Key]int)}
}

// take takes a place for a subject, and reports whether there was one.
func (b *bound) take(key record.Key) bool {
	taken, _ := b.tryTake(key)
	return taken
}

// tryTake is take, and reports whether the subject's network has all its places.
func (b *bound) tryTake(key record.Key) (taken, crowded bool) {
	network := key.Network()
	b.mu.Lock()
	defer b.mu.Unlock()
	crowded = b.by[network] >= b.ofNetwork
	if b.taken >= b.most || crowded {
		return false, crowded
	}
	b.taken++
	b.by[network]++
	return true, false
}

// free returns the place of a subject.
func (b *bound) free(key record.Key) {
	network := key.Network()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken--
	if b.by[network]--; b.by[network] <= 0 {
		delete(b.by, network)
	}
}
