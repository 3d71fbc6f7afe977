package process

import (
	"context"
	"log/slog"
	"sync"
	"time"
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

// Keep does the work until ctx or the process ends, also when it panics.
func (b *background) Keep(ctx context.Context, logger *slog.Logger, what string, work func(context.Context)) {
	b.Until(ctx, func(ctx context.Context) { Supervise(ctx, logger, what, work) })
}

// Supervise does the work until ctx ends, also when it panics.
func Supervise(ctx context.Context, logger *slog.Logger, what string, work func(context.Context)) {
	for ctx.Err() == nil {
		func() {
			defer func() {
				if r := recover(); r != nil {
					logger.Error("background work panicked and begins again; this is a bug",
						slog.String("work", what), slog.Any("panic", r))
				}
			}()
			work(ctx)
		}()
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// Every returns work that does something at each interval, until its context ends.
func Every(interval time.Duration, do func(ctx context.Context, now time.Time)) func(context.Context) {
	return func(ctx context.Context) {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case now := <-tick.C:
				do(ctx, now)
			case <-ctx.Done():
				return
			}
		}
	}
}
