package iplist

import "math/bits"

// runs holds many short runs of ascending, disjoint intervals with a value each. Each column is a
// slice of its own. A search touches few cache lines of first; a miss touches one of last, and none
// of values. With one million IPv4 prefixes, a miss takes half the time of interleaved columns.
type runs[K uint16 | uint32 | uint64] struct {
	starts      []uint32 // the start of each run, and the end of the last
	first, last []K
	values      values
}

// newRuns returns runs with capacity for about n intervals.
func newRuns[K uint16 | uint32 | uint64](n int) runs[K] {
	return runs[K]{first: make([]K, 0, n), last: make([]K, 0, n), values: values{low: make([]uint16, 0, n)}}
}

// open starts a run and returns its number.
func (r *runs[K]) open() uint32 {
	r.starts = append(r.starts, uint32(len(r.first)))
	return uint32(len(r.starts) - 1)
}

// add appends an interval to the run opened last.
func (r *runs[K]) add(first, last K, value uint32) {
	r.first, r.last = append(r.first, first), append(r.last, last)
	r.values.add(value)
}

// finish makes the runs ready for look-ups.
func (r *runs[K]) finish() {
	r.open()
	r.starts, r.first, r.last = clip(r.starts), clip(r.first), clip(r.last)
	r.values.low, r.values.high = clip(r.values.low), clip(r.values.high)
}

// find returns the value of the interval that contains key, or 0 if no interval of the run does.
func (r *runs[K]) find(run uint32, key K) uint32 {
	start := uint(r.starts[run])
	first := r.first[start:r.starts[run+1]]
	// The branch is mispredicted every other time. It is still faster than arithmetic without a
	// branch if the run is not in the cache: because of the prediction, the processor loads the
	// next cache line before this one has arrived.
	var i uint
	for n := uint(len(first)); n > 1; n -= n / 2 {
		if half := n / 2; first[i+half] <= key {
			i += half
		}
	}
	if first[i] <= key && key <= r.last[start+i] {
		return r.values.at(start + i)
	}
	return 0
}

// each calls f with every interval of a run, in ascending order.
func (r *runs[K]) each(run uint32, f func(first, last K, value uint32)) {
	for i := r.starts[run]; i < r.starts[run+1]; i++ {
		f(r.first[i], r.last[i], r.values.at(uint(i)))
	}
}

func (r *runs[K]) size() int {
	width := bits.Len64(uint64(^K(0))) / 8
	return 4*cap(r.starts) + width*(cap(r.first)+cap(r.last)) + 2*(cap(r.values.low)+cap(r.values.high))
}

// values is a column of numbers, which rarely need more than 16 bits. The upper halves are
// allocated with the first number that needs them.
type values struct {
	low, high []uint16
}

func (v *values) add(value uint32) {
	if value > 0xffff && v.high == nil {
		v.high = make([]uint16, len(v.low), cap(v.low))
	}
	v.low = append(v.low, uint16(value&0xffff))
	if v.high != nil {
		v.high = append(v.high, uint16(value>>16))
	}
}

func (v *values) at(i uint) uint32 {
	value := uint32(v.low[i])
	if len(v.high) > 0 {
		value |= uint32(v.high[i]) << 16
	}
	return value
}
