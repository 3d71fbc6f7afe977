package iplist

import "math/bits"

// table4 maps IPv4 addresses to set numbers. Intervals are cut at the borders of /16 networks, so that an entry needs
// only the lower halves of its addresses: 8 bytes. A bitmap tells which of the 65,536 networks have entries at all; it
// fits into the first-level cache, and counting its bits gives the network's place in starts.
type table4 struct {
	networks []networks4 // 1,024, or none when the table is empty
	starts   []uint32    // where the entries of each network that has any begin, and the end of the last
	entries  []entry4
}

// networks4 is the state of 64 neighbouring /16 networks.
type networks4 struct {
	present uint64
	before  uint32 // how many are present in front of these
}

// entry4 is an interval inside a /16 network.
type entry4 struct {
	first, last uint16
	set         uint32
}

// newTable4 returns an empty table that expects about n intervals.
func newTable4(n int) table4 {
	if n == 0 {
		return table4{}
	}
	return table4{networks: make([]networks4, 1<<10), entries: make([]entry4, 0, n)}
}

// add appends an interval. Intervals must come in ascending order.
func (t *table4) add(first, last uint32, set uint32) {
	for network := first >> 16; network <= last>>16; network++ {
		n := &t.networks[network>>6]
		if bit := uint64(1) << (network & 63); n.present&bit == 0 {
			n.present |= bit
			t.starts = append(t.starts, uint32(len(t.entries))) //nolint:gosec // at most 2^32 addresses
		}
		from, to := max(first, network<<16), min(last, network<<16|0xffff)
		t.entries = append(t.entries, entry4{uint16(from & 0xffff), uint16(to & 0xffff), set})
	}
}

// finish makes the table ready for look-ups.
func (t *table4) finish() {
	if len(t.networks) == 0 {
		return
	}
	t.starts = clip(append(t.starts, uint32(len(t.entries)))) //nolint:gosec // at most 2^32 addresses
	t.entries = clip(t.entries)
	var before uint32
	for i := range t.networks {
		t.networks[i].before = before
		before += uint32(bits.OnesCount64(t.networks[i].present)) //nolint:gosec // at most 64
	}
}

func (t *table4) lookup(addr uint32) uint32 {
	if len(t.networks) == 0 {
		return 0
	}
	n := &t.networks[addr>>22]
	bit := uint64(1) << (addr >> 16 & 63)
	if n.present&bit == 0 {
		return 0
	}
	place := n.before + uint32(bits.OnesCount64(n.present&(bit-1))) //nolint:gosec // at most 64
	entries := t.entries[t.starts[place]:t.starts[place+1]]
	low := uint16(addr & 0xffff)
	var i uint
	for n := uint(len(entries)); n > 1; {
		half := n / 2
		if entries[i+half].first <= low {
			i += half
		}
		n -= half
	}
	if e := entries[i]; e.first <= low && low <= e.last {
		return e.set
	}
	return 0
}

func (t *table4) size() int { return 16*cap(t.networks) + 4*cap(t.starts) + 8*cap(t.entries) }
