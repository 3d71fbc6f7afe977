package iplist

import "math/bits"

// table4 maps IPv4 addresses to values. Intervals are split at the boundaries of /16 networks, so
// that only the lower halves of their addresses are stored: 6 bytes an interval. A bitmap has the
// networks with intervals, out of 65,536. It fits into the first-level cache, and counting its bits
// gives the number of a network's run.
type table4 struct {
	networks []networks4 // 1,024, or none when the table is empty
	hosts    runs[uint16]
}

// networks4 is the state of 64 neighbouring /16 networks.
type networks4 struct {
	present uint64
	before  uint32 // the number of networks with intervals before these
}

// newTable4 returns an empty table with capacity for about n intervals.
func newTable4(n int) table4 { return table4{hosts: newRuns[uint16](n)} }

// add appends an interval. Intervals must come in ascending order.
func (t *table4) add(first, last, value uint32) {
	if t.networks == nil {
		t.networks = make([]networks4, 1<<10)
	}
	for network := first >> 16; network <= last>>16; network++ {
		n := &t.networks[network>>6]
		if bit := uint64(1) << (network & 63); n.present&bit == 0 {
			n.present |= bit
			t.hosts.open()
		}
		from, to := max(first, network<<16), min(last, network<<16|0xffff)
		t.hosts.add(uint16(from&0xffff), uint16(to&0xffff), value)
	}
}

// finish makes the table ready for look-ups.
func (t *table4) finish() {
	t.hosts.finish()
	var before uint32
	for i := range t.networks {
		t.networks[i].before = before
		before += uint32(bits.OnesCount64(t.networks[i].present))
	}
}

// lookup returns the value of addr, or 0 if it has none.
func (t *table4) lookup(addr uint32) uint32 {
	if len(t.networks) == 0 {
		return 0
	}
	n := &t.networks[addr>>22]
	bit := uint64(1) << (addr >> 16 & 63)
	if n.present&bit == 0 {
		return 0
	}
	run := n.before + uint32(bits.OnesCount64(n.present&(bit-1)))
	return t.hosts.find(run, uint16(addr&0xffff))
}

// each calls f with every interval, in ascending order.
func (t *table4) each(f func(first, last, value uint32)) {
	var run uint32
	for i, n := range t.networks {
		for present := n.present; present != 0; present &= present - 1 {
			network := uint32(i<<6+bits.TrailingZeros64(present)) << 16
			t.hosts.each(run, func(first, last uint16, value uint32) {
				f(network|uint32(first), network|uint32(last), value)
			})
			run++
		}
	}
}

func (t *table4) size() int { return 16*cap(t.networks) + t.hosts.size() }
