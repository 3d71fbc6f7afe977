package process

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestTheEndOfTheProcessEndsTheWorkOfAllConfigurations proves that the end of the process waits for nobody for ever: a reload
// can have started a configuration that is not stopped before the one that it replaces has ended.
func TestTheEndOfTheProcessEndsTheWorkOfAllConfigurations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackground()
		ended := false
		serving, stopServing := context.WithCancel(t.Context())
		b.Until(serving, func(ctx context.Context) {
			<-ctx.Done()
			ended = true
		})
		stopped, stop := context.WithCancel(t.Context())
		b.Until(stopped, func(ctx context.Context) { <-ctx.Done() })
		stop()
		done := make(chan struct{})
		go func() {
			b.Shutdown()
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Error("the end of the process waits for the work of a configuration that nobody has stopped")
		}
		stopServing()
		<-done
		if !ended {
			t.Error("the work has not ended")
		}
	})
}
