package runtime

import (
	"context"
	"sync"
)

// Background is the work that goes on beside requests, in this process. A reload does not wait for the work of the
// configuration that it ends; the end of the process does.
var Background = newBackground()

// background is a group of goroutines that the end of the process waits for.
type background struct {
	working  sync.WaitGroup
	shutdown context.Context // ended when the process ends
	begin    context.CancelFunc
}

func newBackground() *background {
	b := new(background)
	b.shutdown, b.begin = context.WithCancel(context.Background())
	return b
}

// Go starts work, which must recover from its panics and end soon after shutdown has ended.
func (b *background) Go(work func(shutdown context.Context)) {
	b.working.Go(func() { work(b.shutdown) })
}

// Until starts work, whose context ends with ctx or with the process: another configuration may be about to
// serve when it does. The work must recover from its panics.
func (b *background) Until(ctx context.Context, work func(context.Context)) {
	b.Go(func(shutdown context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(shutdown, cancel)()
		work(ctx)
	})
}

// Shutdown tells all work that the process ends, and waits for it.
func (b *background) Shutdown() {
	b.begin()
	b.working.Wait()
}
