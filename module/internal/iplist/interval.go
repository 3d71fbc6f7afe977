package iplist

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
)

// uint128 is an address of either family as a number. An IPv4 address is in the low 32 bits.
type uint128 struct{ hi, lo uint64 }

var maxUint128 = uint128{math.MaxUint64, math.MaxUint64}

func (a uint128) less(b uint128) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

func (a uint128) next() uint128 {
	lo, carry := bits.Add64(a.lo, 1, 0)
	return uint128{a.hi + carry, lo}
}

func (a uint128) previous() uint128 {
	lo, borrow := bits.Sub64(a.lo, 1, 0)
	return uint128{a.hi - borrow, lo}
}

// trailingZeros returns the number of trailing zero bits, 128 for zero.
func (a uint128) trailingZeros() int {
	if a.lo != 0 {
		return bits.TrailingZeros64(a.lo)
	}
	return 64 + bits.TrailingZeros64(a.hi)
}

// withOnes returns a with its lowest n bits set.
func (a uint128) withOnes(n int) uint128 {
	if n < 64 {
		return uint128{a.hi, a.lo | (1<<n - 1)}
	}
	return uint128{a.hi | (1<<(n-64) - 1), math.MaxUint64}
}

// interval is common to both address families, so that they share the code for
// merging, subtracting and sweeping.
type interval[R any] interface {
	bounds() (first, last uint128)
	with(first, last uint128) R
	prefix(first uint128, hostBits int) netip.Prefix
}

// range4 is an interval of IPv4 addresses. The first address is in the upper half and the last in
// the lower, so that intervals sort as numbers.
type range4 uint64

func (r range4) bounds() (first, last uint128) {
	return uint128{lo: uint64(r >> 32)}, uint128{lo: uint64(r & math.MaxUint32)}
}

func (range4) with(first, last uint128) range4 { return range4(first.lo<<32 | last.lo) }

func (range4) prefix(first uint128, hostBits int) netip.Prefix {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(first.lo))
	return netip.PrefixFrom(netip.AddrFrom4(b), 32-hostBits)
}

// range6 is an interval of IPv6 addresses.
type range6 struct{ first, last uint128 }

func (r range6) bounds() (first, last uint128) { return r.first, r.last }

func (range6) with(first, last uint128) range6 { return range6{first, last} }

func (range6) prefix(first uint128, hostBits int) netip.Prefix {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], first.hi)
	binary.BigEndian.PutUint64(b[8:], first.lo)
	return netip.PrefixFrom(netip.AddrFrom16(b), 128-hostBits)
}

// number4 returns an IPv4 address as a number.
func number4(addr netip.Addr) uint32 {
	b := addr.As4()
	return binary.BigEndian.Uint32(b[:])
}

// number6 returns an IPv6 address as a number.
func number6(addr netip.Addr) uint128 {
	b := addr.As16()
	return uint128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// merge joins intervals that overlap or touch, in place. They must be sorted by
// their first address.
func merge[R interval[R]](sorted []R) []R {
	merged := sorted[:0]
	for _, r := range sorted {
		merged = extend(merged, r)
	}
	return merged
}

// extend appends r to merged intervals, or joins it with the last of them. None of
// them may begin after r.
func extend[R interval[R]](merged []R, r R) []R {
	if n := len(merged); n > 0 {
		first, last := r.bounds()
		before, end := merged[n-1].bounds()
		if !end.less(first) || end.next() == first {
			if end.less(last) {
				merged[n-1] = r.with(before, last)
			}
			return merged
		}
	}
	return append(merged, r)
}

// subtract returns the addresses of a that are not in b. Both must be merged.
func subtract[R interval[R]](a, b []R) []R {
	if len(a) == 0 || len(b) == 0 {
		return a
	}
	rest := make([]R, 0, len(a))
	for _, r := range a {
		first, last := r.bounds()
		for len(b) > 0 && endsBefore(b[0], first) {
			b = b[1:]
		}
		whole := true
		for _, hole := range b {
			from, to := hole.bounds()
			if last.less(from) {
				break
			}
			if first.less(from) {
				rest = append(rest, r.with(first, from.previous()))
			}
			if !to.less(last) {
				whole = false
				break
			}
			first = to.next()
		}
		if whole {
			rest = append(rest, r.with(first, last))
		}
	}
	return clip(rest)
}

func endsBefore[R interval[R]](r R, addr uint128) bool {
	_, last := r.bounds()
	return last.less(addr)
}

// contains reports whether addr is in merged intervals, by binary search.
func contains[R interval[R]](ranges []R, addr uint128) bool {
	low, high := 0, len(ranges)
	for low < high {
		middle := int(uint(low+high) / 2)
		if endsBefore(ranges[middle], addr) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low == len(ranges) {
		return false
	}
	first, _ := ranges[low].bounds()
	return !addr.less(first)
}

// prefixes yields the fewest prefixes that cover r, in ascending order. It returns
// false if yield did.
func prefixes[R interval[R]](r R, width int, yield func(netip.Prefix) bool) bool {
	first, last := r.bounds()
	for {
		hostBits := min(first.trailingZeros(), width)
		for last.less(first.withOnes(hostBits)) {
			hostBits--
		}
		if !yield(r.prefix(first, hostBits)) {
			return false
		}
		end := first.withOnes(hostBits)
		if end == last {
			return true
		}
		first = end.next()
	}
}

// clip returns a copy without unused capacity if more than an eighth is unused, otherwise s.
func clip[E any](s []E) []E {
	if cap(s)-len(s) <= len(s)/8 {
		return s
	}
	return append(make([]E, 0, len(s)), s...)
}
