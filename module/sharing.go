package module

import (
	"context"
	"log/slog"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
)

// What the parts of the engine want from a memory that instances share, redis gives; neither knows the other.

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
		func(ctx context.Context) { a.redis.Follow(ctx, "bans", bansPeer{a.overrides.Store}) },
		func(ctx context.Context) { a.redis.Follow(ctx, "forgets", a.forgets) },
		a.catchUp,
	} {
		lingering.Go(func() { a.keepDoing(ctx, "sharing with the other instances", work) })
	}
}

// endSharing tells the work to end, and does not wait for it: an exchange with Redis that is under way may last as long as it
// may, and a reload must not. The next configuration tells the others what this one may not have got to.
func (a *App) endSharing() {
	if a.stopSharing == nil {
		return
	}
	a.stopSharing()
	a.overrides.Tell()
	a.forgets.tell()
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
		changed := a.redis.Changed()
		if a.redis.Up() {
			a.forgets.catchUp(ctx, a.redis.Client, a.engine.Sources())
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
		case <-a.forgets.pendingChanged:
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
