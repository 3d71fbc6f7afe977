package iplist

import "math"

// table6 maps IPv6 addresses to set numbers, in three levels: allocations (/32, which a registry
// gives to a provider), networks (/64) and hosts. An interval is stored at the highest level that
// it fits, and split if necessary. Prefixes up to /64, which are most, take 10 bytes each. A search
// through a million of them touches a few megabytes.
type table6 struct {
	allocations table4       // by the upper 32 bits
	networks    runs[uint32] // by the next 32 bits
	hosts       runs[uint64] // by the lower 64 bits

	// The prefixes of the open runs while the table is filled. Without an open run, they are those
	// of the last address.
	allocation, network uint64
}

// runBit distinguishes the values in allocations and networks: with it, a value is the number of a
// run of the next level, otherwise the number of a set.
const runBit = 1

// newTable6 returns an empty table with capacity for about n intervals.
func newTable6(n int) table6 {
	return table6{networks: newRuns[uint32](n), allocation: math.MaxUint64, network: math.MaxUint64}
}

// add appends an interval. Intervals must come in ascending order.
func (t *table6) add(first, last uint128, set uint32) {
	cut(first, last, math.MaxUint64,
		func(first, last uint64) { t.addNetworks(first, last, set<<1) },
		func(network, first, last uint64) {
			if t.network != network || len(t.hosts.starts) == 0 {
				t.network = network
				t.addNetworks(network, network, t.hosts.open()<<1|runBit)
			}
			t.hosts.add(first, last, set)
		})
}

// addNetworks appends an interval of /64 networks.
func (t *table6) addNetworks(first, last uint64, value uint32) {
	cut(uint128{first >> 32, first & math.MaxUint32}, uint128{last >> 32, last & math.MaxUint32},
		math.MaxUint32,
		func(first, last uint64) { t.allocations.add(uint32(first), uint32(last), value) },
		func(allocation, first, last uint64) {
			if t.allocation != allocation {
				t.allocation = allocation
				a := uint32(allocation)
				t.allocations.add(a, a, t.networks.open()<<1|runBit)
			}
			t.networks.add(uint32(first), uint32(last), value)
		})
}

// cut splits an interval of two-digit numbers, whose lower digit is 0 to top, into at most three
// parts: the upper digits that are in it with all their lower digits, and before and after them a
// part of one upper digit.
func cut(
	first, last uint128, top uint64, whole func(first, last uint64), part func(upper, first, last uint64),
) {
	head, tail := first.lo != 0, last.lo != top
	if first.hi == last.hi && (head || tail) {
		part(first.hi, first.lo, last.lo)
		return
	}
	from, to := first.hi, last.hi
	if head {
		part(from, first.lo, top)
		from++
	}
	if tail {
		to--
	}
	if from <= to {
		whole(from, to)
	}
	if tail {
		part(last.hi, 0, last.lo)
	}
}

// finish makes the table ready for look-ups.
func (t *table6) finish() {
	t.allocations.finish()
	t.networks.finish()
	t.hosts.finish()
}

// lookup returns the number of the set of addr, or 0 if it has none.
func (t *table6) lookup(addr uint128) uint32 {
	value := t.allocations.lookup(uint32(addr.hi >> 32))
	if value&runBit == 0 {
		return value >> 1
	}
	value = t.networks.find(value>>1, uint32(addr.hi&math.MaxUint32))
	if value&runBit == 0 {
		return value >> 1
	}
	return t.hosts.find(value>>1, addr.lo)
}

// each calls f with every interval, in ascending order.
func (t *table6) each(f func(first, last uint128, set uint32)) {
	// follow calls f with an interval of /64 networks, or with the intervals of a network's run.
	follow := func(first, last uint64, value uint32) {
		if value&runBit == 0 {
			f(uint128{first, 0}, uint128{last, math.MaxUint64}, value>>1)
			return
		}
		t.hosts.each(value>>1, func(from, to uint64, set uint32) {
			f(uint128{first, from}, uint128{first, to}, set)
		})
	}
	t.allocations.each(func(first, last, value uint32) {
		allocation := uint64(first) << 32
		if value&runBit == 0 {
			follow(allocation, uint64(last)<<32|math.MaxUint32, value)
			return
		}
		t.networks.each(value>>1, func(from, to, value uint32) {
			follow(allocation|uint64(from), allocation|uint64(to), value)
		})
	})
}

func (t *table6) size() int { return t.allocations.size() + t.networks.size() + t.hosts.size() }
