package module

import (
	"context"
	"log/slog"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
)

// startSharing keeps this instance and the others in agreement until the app stops.
func (a *App) startSharing() {
	if a.redis == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.stopSharing = cancel
	if a.redis.ready() {
		a.redis.Start()
	} else {
		lingering.Go(func() {
			a.keepDoing(ctx, "connecting to redis", func(ctx context.Context) {
				a.redis.start(ctx)
				<-ctx.Done()
			})
		})
	}
	for _, work := range []func(context.Context){
		func(ctx context.Context) { a.redis.Follow(ctx, "bans", a.overrides) },
		func(ctx context.Context) { a.redis.Follow(ctx, "forgets", a.forgets) },
		a.catchUp,
	} {
		lingering.Go(func() { a.keepDoing(ctx, "sharing with the other instances", work) })
	}
}

// endSharing ends the work and does not wait for it: an exchange with Redis may take its time, and a reload must not. What
// this configuration has not shared yet, the next one does.
func (a *App) endSharing() {
	if a.stopSharing != nil {
		a.stopSharing()
	}
}

// keepDoing does the work until ctx ends, also when it panics.
func (a *App) keepDoing(ctx context.Context, what string, work func(context.Context)) {
	for ctx.Err() == nil {
		func() {
			defer func() {
				if r := recover(); r != nil {
					a.logger.Error("background work panicked and begins again; this is a bug", slog.String("work", what), slog.Any("panic", r))
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

// syncEvery is how often an instance looks what the others have spent, for its status and gauges.
const syncEvery = 10 * time.Second

// catchUp brings to Redis what this instance did without it, as soon as it comes back, and looks now and then what the others
// did.
func (a *App) catchUp(ctx context.Context) {
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		changed, pending := a.redis.Changed(), a.forgets.PendingChanged()
		if a.redis.Up() {
			a.settleForgets(ctx)
			if shared, ok := a.ledger.(*quota.Shared); ok {
				_ = shared.Settle(ctx) // what fails is owed, and settled with the next call
			}
			for _, p := range a.keepers {
				p.keeper.Sync(ctx)
			}
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-pending:
		case <-ctx.Done():
		}
	}
}
