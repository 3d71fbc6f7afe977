// Package iplist answers which of many lists contain an address, with one look-up
// for all of them. Lists are flat, sorted intervals without pointers, so that
// millions of prefixes cost the garbage collector nothing.
package iplist

import (
	"iter"
	"net/netip"
)

// The IPv4-mapped addresses, ::ffff:0:0/96. They are stored as IPv4 addresses, never as IPv6 ones.
var mappedFirst, mappedLast = uint128{0, 0xffff_0000_0000}, uint128{0, 0xffff_ffff_ffff}

// Ranges are the addresses of one list, as sorted, disjoint, merged intervals without pointers.
// They are immutable. The zero Ranges is the empty list.
type Ranges struct {
	v4 []range4
	v6 []range6
}

// NewRanges returns the addresses that the prefixes cover. The prefixes may be unsorted and may
// overlap. Host bits are ignored, IPv4-mapped prefixes count as IPv4, and invalid prefixes are left
// out. An IPv6 prefix that is wider than the mapped addresses, such as ::/0, does not include IPv4.
// NewRanges takes ownership of the slice.
func NewRanges(prefixes []netip.Prefix) Ranges {
	var n4 int
	for _, p := range prefixes {
		if isIPv4(p) {
			n4++
		}
	}
	var r Ranges
	r.v4 = make([]range4, 0, n4)
	r.v6 = make([]range6, 0, len(prefixes)-n4)
	for _, p := range prefixes {
		r.add(p)
	}
	return r.finish()
}

// isIPv4 reports whether p is an IPv4 prefix or an IPv4-mapped one.
func isIPv4(p netip.Prefix) bool {
	return p.Addr().Is4() && p.IsValid() || p.Addr().Is4In6() && p.Bits() >= 96
}

func newRange4(p netip.Prefix) range4 {
	hostBits := p.Addr().BitLen() - p.Bits()
	hosts := uint32(uint64(1)<<hostBits - 1)
	first := number4(p.Addr().Unmap()) &^ hosts
	return range4(uint64(first)<<32 | uint64(first|hosts))
}

// appendRange6 appends the addresses of p without the IPv4-mapped ones.
func appendRange6(ranges []range6, p netip.Prefix) []range6 {
	first := number6(p.Masked().Addr())
	last := first.withOnes(128 - p.Bits())
	if last.less(mappedFirst) || mappedLast.less(first) {
		return append(ranges, range6{first, last})
	}
	// A prefix that overlaps them is wider. It begins before them, and ends with
	// them or after them.
	ranges = append(ranges, range6{first, mappedFirst.previous()})
	if mappedLast.less(last) {
		ranges = append(ranges, range6{mappedLast.next(), last})
	}
	return ranges
}

// Without returns the addresses of r that are not in other.
func (r Ranges) Without(other Ranges) Ranges {
	return Ranges{subtract(r.v4, other.v4), subtract(r.v6, other.v6)}
}

// Len returns the number of intervals.
func (r Ranges) Len() int { return len(r.v4) + len(r.v6) }

// IsMost reports whether the list covers more than half of all IPv4 addresses, or of the IPv6
// addresses that networks are given, 2000::/3.
func (r Ranges) IsMost() bool {
	const half4, half6 = 1 << 31, 1 << 60 // addresses, and /64s
	var in4, in6 uint64
	for _, i := range r.v4 {
		first, last := i.bounds()
		in4 += last.lo - first.lo + 1
	}
	for _, i := range r.v6 {
		first, last := i.bounds()
		in6 += last.hi - first.hi // one less at each end, which matters nothing
	}
	return in4 > half4 || in6 > half6
}

// Contains reports whether addr is in the list. Zones are ignored and IPv4-mapped
// addresses count as IPv4.
func (r Ranges) Contains(addr netip.Addr) bool {
	switch addr = addr.Unmap(); {
	case addr.Is4():
		return contains(r.v4, uint128{lo: uint64(number4(addr))})
	case addr.Is6():
		return contains(r.v6, number6(addr))
	}
	return false
}

// Prefixes returns the fewest prefixes that cover the list, IPv4 first, in ascending order.
// NewRanges of them returns the same list.
func (r Ranges) Prefixes() iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for _, r := range r.v4 {
			if !prefixes(r, 32, yield) {
				return
			}
		}
		for _, r := range r.v6 {
			if !prefixes(r, 128, yield) {
				return
			}
		}
	}
}
