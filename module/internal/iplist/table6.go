package iplist

// table6 maps IPv6 addresses to set numbers.
type table6 struct {
	first, last []uint128
	sets        []uint32
}

// newTable6 returns an empty table that expects about n intervals.
func newTable6(n int) table6 {
	return table6{make([]uint128, 0, n), make([]uint128, 0, n), make([]uint32, 0, n)}
}

// add appends an interval. Intervals must come in ascending order.
func (t *table6) add(first, last uint128, set uint32) {
	t.first, t.last, t.sets = append(t.first, first), append(t.last, last), append(t.sets, set)
}

// finish makes the table ready for look-ups.
func (t *table6) finish() {
	t.first, t.last, t.sets = clip(t.first), clip(t.last), clip(t.sets)
}

func (t *table6) lookup(addr uint128) uint32 {
	if len(t.first) == 0 {
		return 0
	}
	var i uint
	for n := uint(len(t.first)); n > 1; {
		half := n / 2
		if !addr.less(t.first[i+half]) {
			i += half
		}
		n -= half
	}
	if addr.less(t.first[i]) || t.last[i].less(addr) {
		return 0
	}
	return t.sets[i]
}

func (t *table6) size() int { return 16*cap(t.first) + 16*cap(t.last) + 4*cap(t.sets) }
