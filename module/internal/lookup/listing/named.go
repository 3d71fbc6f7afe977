package listing

import (
	"net/netip"
	"slices"
)

// maxNamedMatches is how many combinations of lists by address and lists by name are stored at a
// time. There are few, unless somebody looks for more.
const maxNamedMatches = 256

// namedMatch is the result for a set of lists together with lists that name the network or the
// country of the address.
type namedMatch struct {
	Match
	set   uint32
	named []uint16
}

// MatchNamed is Match with the lists that name the network or the country of addr: see Contents.Named.
func (l *Lists) MatchNamed(addr netip.Addr, named []uint16) *Match {
	if len(named) == 0 {
		return l.Match(addr)
	}
	set := l.Lookup(addr)
	slot := &l.named[slotOf(set, named)]
	m := slot.Load()
	if m == nil || m.set != set || !slices.Equal(m.named, named) {
		all := slices.Concat(l.Members(set), named)
		slices.Sort(all)
		m = &namedMatch{Match: *l.matchOf(slices.Compact(all)), set: set, named: named}
		slot.Store(m)
	}
	return &m.Match
}

// slotOf returns where the result is stored. Combinations with the same slot replace each other.
func slotOf(set uint32, named []uint16) uint32 {
	h := set
	for _, list := range named {
		h = h*31 + uint32(list)
	}
	return h % maxNamedMatches
}
