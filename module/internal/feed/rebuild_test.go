package feed

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// However often something is pushed, and however long a rebuild takes, rebuilds leave the processor alone.
func TestRebuildsAreSeldom(t *testing.T) {
	for took, most := range map[time.Duration]int{time.Millisecond: 500, time.Second: 10} {
		synctest.Test(t, func(t *testing.T) {
			s := mustOpen(t, Options{}, stream("stream"))
			var rebuilds atomic.Int32
			var running sync.WaitGroup
			running.Go(func() {
				s.rebuildOnRequest(func() {
					rebuilds.Add(1)
					time.Sleep(took)
				})
			})
			start := time.Now()
			<-s.builder.request()
			if first := time.Since(start); first != coalesce+took {
				t.Errorf("the first took %s", first)
			}
			for time.Since(start) < 100*time.Second {
				s.builder.request()
				time.Sleep(100 * time.Millisecond)
			}
			if n := int(rebuilds.Load()); n > most || n < most*9/10 {
				t.Errorf("%d rebuilds of %s in 100 seconds, want about %d", n, took, most)
			}
			s.cancel()
			running.Wait()
		})
	}
}
