package iplist

import (
	"math"
	"net/netip"
)

// MaxValue is the largest value in a Table.
const MaxValue = math.MaxUint32 >> 1

// Table maps addresses to values, in a few slices without pointers. It is filled with Add, and
// immutable after Finish. The zero Table is not usable: see NewTable.
type Table struct {
	v4        table4
	v6        table6
	last4     neighbours
	last6     neighbours
	intervals int
}

// NewTable returns an empty table.
func NewTable() *Table { return &Table{v6: newTable6(0)} }

// neighbours are adjacent addresses with the same value, which become one interval.
type neighbours struct {
	first, last uint128
	value       uint32
}

// join adds an interval, and reports whether it continues n. If not, it replaces n.
func (n *neighbours) join(first, last uint128, value uint32) bool {
	if n.value == value && n.last.next() == first {
		n.last = last
		return true
	}
	*n = neighbours{first, last, value}
	return false
}

// Add gives the addresses of p a value from 1 to MaxValue. The prefixes of each family must be
// disjoint and come in ascending order. IPv4-mapped prefixes are IPv6 here: nobody asks for them.
func (t *Table) Add(p netip.Prefix, value uint32) {
	if p.Addr().Is4() {
		before := t.last4
		if first, last := newRange4(p).bounds(); !t.last4.join(first, last, value) {
			t.flush4(before)
		}
		return
	}
	before, first := t.last6, number6(p.Masked().Addr())
	if !t.last6.join(first, first.withOnes(128-p.Bits()), value) {
		t.flush6(before)
	}
}

func (t *Table) flush4(n neighbours) {
	if n.value != 0 {
		t.intervals++
		t.v4.add(uint32(n.first.lo), uint32(n.last.lo), n.value)
	}
}

func (t *Table) flush6(n neighbours) {
	if n.value != 0 {
		t.intervals++
		t.v6.add(n.first, n.last, n.value)
	}
}

// Finish makes the table ready for look-ups.
func (t *Table) Finish() {
	t.flush4(t.last4)
	t.flush6(t.last6)
	t.v4.finish()
	t.v6.finish()
}

// Lookup returns the value of addr, or 0 if it has none, as Index.Lookup does.
func (t *Table) Lookup(addr netip.Addr) uint32 { return lookup(&t.v4, &t.v6, addr) }

// Len returns the number of intervals.
func (t *Table) Len() int { return t.intervals }

// Size returns the memory of the table, in bytes.
func (t *Table) Size() int { return t.v4.size() + t.v6.size() }
