package runtime

import (
	"context"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
)

// startSharing exchanges state with the other instances until ctx ends. What this configuration has not shared by then,
// the next one does.
func (rt *Runtime) startSharing(ctx context.Context) {
	if rt.Redis == nil {
		return
	}
	if rt.Redis.ready() {
		rt.Redis.Start()
	} else {
		process.Background.Keep(ctx, rt.Logger, "connecting to redis", func(ctx context.Context) {
			rt.Redis.start(ctx)
			<-ctx.Done()
		})
	}
	for _, work := range []func(context.Context){
		func(ctx context.Context) { rt.Redis.Follow(ctx, "bans", rt.Overrides) },
		func(ctx context.Context) { rt.Redis.Follow(ctx, "forgets", rt.Tombstones) },
		rt.catchUp,
		func(ctx context.Context) { rt.Conduct.Share(ctx, rt.settleTombstones) },
	} {
		process.Background.Keep(ctx, rt.Logger, "sharing with the other instances", work)
	}
}

// syncEvery is how often an instance looks what the others have spent, for its status and gauges.
const syncEvery = 10 * time.Second

// catchUp brings to Redis what this instance did without it, as soon as it comes back, and looks now and then
// what the others did.
func (rt *Runtime) catchUp(ctx context.Context) {
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		changed, pending := rt.Redis.Changed(), rt.Tombstones.PendingChanged()
		if rt.Redis.Up() {
			rt.settleTombstones(ctx)
			if shared, ok := rt.Ledger.(*ledger.Shared); ok {
				_ = shared.Settle(ctx) // what fails is owed, and settled with the next call
			}
			for _, p := range rt.Providers {
				p.Guard.Sync(ctx)
				if p.Reports != nil {
					p.Reports.Guard.Sync(ctx)
				}
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
