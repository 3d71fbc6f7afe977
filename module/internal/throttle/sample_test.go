package throttle

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSample proves that of the entries of a second the first are taken and then one in so many, and that none is left
// out without being counted.
func TestSample(t *testing.T) {
	var s Sample
	take := func(second int64, n int) (taken []int, counted uint64) {
		for i := range n {
			if leftOut, ok := s.Take(second, 3, 10); ok {
				taken, counted = append(taken, i+1), counted+leftOut
			}
		}
		return taken, counted
	}
	taken, counted := take(1, 30)
	if diff := cmp.Diff([]int{1, 2, 3, 13, 23}, taken); diff != "" || counted != 18 {
		t.Errorf("left out %d, want 18; taken (-want +got):\n%s", counted, diff)
	}
	taken, counted = take(2, 4)
	if diff := cmp.Diff([]int{1, 2, 3}, taken); diff != "" || counted != 7 {
		t.Errorf("the next second: left out %d, want the 7 of before; taken (-want +got):\n%s", counted, diff)
	}
}

func TestSampleOfMany(t *testing.T) {
	var s Sample
	var all, taken, counted atomic.Uint64
	var working sync.WaitGroup
	for range 8 {
		working.Go(func() {
			for i := range 10_000 {
				all.Add(1)
				if leftOut, ok := s.Take(int64(i/1000), 5, 100); ok {
					taken.Add(1)
					counted.Add(leftOut)
				}
			}
		})
	}
	working.Wait()
	if got := taken.Load() + counted.Load() + s.leftOut.Load(); got != all.Load() {
		t.Errorf("%d taken and %d left out of %d", taken.Load(), counted.Load()+s.leftOut.Load(), all.Load())
	}
}
