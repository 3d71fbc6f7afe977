package iplist

import (
	"fmt"
	"net/netip"
	"unsafe"
)

// Index answers which lists contain an address. It maps each interval of addresses to the number of
// a set of lists. It is immutable, and consists of a few slices without pointers for any number of
// prefixes, so that it costs the garbage collector nothing. A nil Index is empty.
type Index struct {
	lists   int
	v4      table4
	v6      table6
	members []uint16 // the members of all sets, one after the other
	ends    []uint32 // where the members of each set end
}

// MaxLists is the largest number of lists in an index: their numbers have 16 bits.
const MaxLists = 65_535

// Build returns the index of at most MaxLists lists. The number of a list is its position. The
// index does not share memory with the lists.
func Build(lists []Ranges) *Index {
	if len(lists) > MaxLists {
		panic(fmt.Sprintf("iplist: %d lists in one index, at most %d can be numbered", len(lists), MaxLists))
	}
	v4, v6 := make([][]range4, len(lists)), make([][]range6, len(lists))
	var n4, n6 int
	for i, r := range lists {
		v4[i], v6[i] = r.v4, r.v6
		n4, n6 = n4+len(r.v4), n6+len(r.v6)
	}
	x := &Index{lists: len(lists), v4: newTable4(n4), v6: newTable6(n6)}
	sets := newInterner()
	sweep(v4, sets, func(first, last uint128, set uint32) {
		x.v4.add(uint32(first.lo), uint32(last.lo), sets.use(set))
	})
	sweep(v6, sets, func(first, last uint128, set uint32) {
		x.v6.add(first, last, sets.use(set))
	})
	x.v4.finish()
	x.v6.finish()
	x.members, x.ends = sets.result()
	return x
}

// Lookup returns the number of the set of lists that contain addr, or 0 if none does. Zones are
// ignored and IPv4-mapped addresses count as IPv4. The zero Addr is in no list.
func (x *Index) Lookup(addr netip.Addr) uint32 {
	if x == nil {
		return 0
	}
	return lookup(&x.v4, &x.v6, addr)
}

func lookup(v4 *table4, v6 *table6, addr netip.Addr) uint32 {
	if addr.Is4() {
		return v4.lookup(number4(addr))
	}
	n := number6(addr)
	if n.hi == 0 && n.lo>>32 == 0xffff {
		return v4.lookup(uint32(n.lo))
	}
	if !addr.IsValid() {
		return 0
	}
	return v6.lookup(n)
}

// Members returns the numbers of the lists in a set, ascending. The slice is shared
// and must not be changed.
func (x *Index) Members(set uint32) []uint16 {
	if x == nil || set == 0 || int(set) >= len(x.ends) {
		return nil
	}
	from, to := x.ends[set-1], x.ends[set]
	return x.members[from:to:to]
}

// Lists returns the lists of which the index was built, so that they need not be stored beside it.
// It scans the whole index once, for any number of lists.
func (x *Index) Lists() []Ranges {
	if x == nil {
		return nil
	}
	lists := make([]Ranges, x.lists)
	x.v4.each(func(first, last, set uint32) {
		for _, list := range x.Members(set) {
			r := &lists[list].v4
			*r = extend(*r, range4(uint64(first)<<32|uint64(last)))
		}
	})
	x.v6.each(func(first, last uint128, set uint32) {
		for _, list := range x.Members(set) {
			r := &lists[list].v6
			*r = extend(*r, range6{first, last})
		}
	})
	return lists
}

// Sets returns the number of sets, including the empty set 0. The numbers that
// Lookup returns are below it.
func (x *Index) Sets() int {
	if x == nil {
		return 1
	}
	return len(x.ends)
}

// Size returns the memory of the index, in bytes.
func (x *Index) Size() int {
	if x == nil {
		return 0
	}
	return int(unsafe.Sizeof(*x)) + x.v4.size() + x.v6.size() + 2*cap(x.members) + 4*cap(x.ends)
}
