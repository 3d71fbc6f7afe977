package runtime

import (
	"context"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
)

// What the parts of the engine want from a memory that instances share, redis gives; neither knows the other.

// startSharing keeps this instance and the others in agreement until the app stops.
func (rt *Runtime) startSharing() {
	if rt.Redis == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	rt.stopSharing = cancel
	if rt.Redis.ready() {
		rt.Redis.Start()
	} else {
		Background.Go(func(context.Context) {
			rt.supervise(ctx, "connecting to redis", func(ctx context.Context) {
				rt.Redis.start(ctx)
				<-ctx.Done()
			})
		})
	}
	for _, work := range []func(context.Context){
		func(ctx context.Context) { rt.Redis.Follow(ctx, "bans", bansPeer{rt.Overrides}) },
		func(ctx context.Context) { rt.Redis.Follow(ctx, "forgets", rt.Tombstones) },
		rt.catchUp,
	} {
		Background.Go(func(context.Context) { rt.supervise(ctx, "sharing with the other instances", work) })
	}
}

// endSharing tells the work to end, and does not wait for it: an exchange with Redis that is under way may last as long as it
// may, and a reload must not. The next configuration tells the others what this one may not have got to.
func (rt *Runtime) endSharing() {
	if rt.stopSharing == nil {
		return
	}
	rt.stopSharing()
	rt.Overrides.Tell()
	rt.Tombstones.tell()
}

// syncEvery is how often an instance looks what the others have spent, for its status and gauges.
const syncEvery = 10 * time.Second

// catchUp brings to Redis what this instance did without it, as soon as it comes back, and looks now and then what the others
// did.
func (rt *Runtime) catchUp(ctx context.Context) {
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		changed := rt.Redis.Changed()
		if rt.Redis.Up() {
			rt.Tombstones.catchUp(ctx, rt.Redis.Client, rt.Engine.Sources())
			if shared, ok := rt.Ledger.(*quota.Shared); ok {
				_ = shared.Settle(ctx) // what fails is owed, and settled with the next call
			}
			for _, p := range rt.Providers {
				p.Guard.Sync(ctx)
			}
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-rt.Tombstones.pendingChanged:
		case <-ctx.Done():
		}
	}
}

// sharedCounts counts calls to providers for all instances.
type sharedCounts struct{ *redis.Client }

// Count implements quota.Store.
func (s sharedCounts) Count(ctx context.Context, c quota.Count) (quota.Counted, error) {
	calls := redis.Calls{
		Account: c.Account, Instance: c.Instance, N: c.N, Interval: c.Interval, Burst: c.Burst,
		Windows: make([]redis.Window, len(c.Windows)),
	}
	for i, w := range c.Windows {
		calls.Windows[i] = redis.Window(w)
	}
	answer, err := s.CountCalls(ctx, calls)
	if err != nil {
		return quota.Counted{}, err
	}
	counted := quota.Counted{Granted: answer.Granted, RetryIn: answer.RetryIn, Windows: make([]quota.WindowCounted, len(answer.Windows))}
	for i, w := range answer.Windows {
		counted.Windows[i] = quota.WindowCounted(w)
	}
	return counted, nil
}

// sharedTokens limits requests for all instances.
type sharedTokens struct{ *redis.Client }

// TakeToken implements limit.Store.
func (s sharedTokens) TakeToken(ctx context.Context, key string, r rate.Rate) (bool, time.Duration, error) {
	return s.Client.TakeToken(ctx, key, r.Events, r.Per)
}

// bansPeer is this instance's side of the board of bans and exemptions.
type bansPeer struct{ *ban.Store }

// Notes implements redis.Peer.
func (p bansPeer) Notes() []redis.Note {
	changes := p.Changes()
	notes := make([]redis.Note, len(changes))
	for i, c := range changes {
		notes[i] = redis.Note(c)
	}
	return notes
}

// Merge implements redis.Peer. What cannot be written to disk is in force all the same, and the store tries again.
func (p bansPeer) Merge(notes []redis.Note) (better bool) {
	changes := make([]ban.Change, len(notes))
	for i, n := range notes {
		changes[i] = ban.Change(n)
	}
	_, newer, _ := p.Store.Merge(changes)
	return len(newer) > 0
}
