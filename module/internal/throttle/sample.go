package throttle

import "sync/atomic"

// Sample picks which entries of one kind are logged: in each second the first few, and then one in so many. The zero
// value is ready. It holds no lock: where two entries begin a second together, a few more are logged, and none is left
// out without being counted.
type Sample struct {
	second  atomic.Int64
	count   atomic.Uint64 // in this second
	leftOut atomic.Uint64 // since the last one that was logged
}

// Take reports whether an entry is to be logged, and how many were left out before it.
func (s *Sample) Take(second int64, first, oneIn uint64) (leftOut uint64, ok bool) {
	if last := s.second.Load(); last != second && s.second.CompareAndSwap(last, second) {
		s.count.Store(0)
	}
	if n := s.count.Add(1); n <= first || (n-first)%oneIn == 0 {
		return s.leftOut.Swap(0), true
	}
	s.leftOut.Add(1)
	return 0, false
}
