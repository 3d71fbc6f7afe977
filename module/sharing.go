package module

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
)

// What the parts of the engine want from a memory that instances share, redis gives; neither knows the other.

// startSharing keeps this instance and the others in agreement until the app stops.
func (a *App) startSharing() {
	if a.redis == nil {
		return
	}
	a.redis.Start()
	ctx, cancel := context.WithCancel(context.Background())
	a.follow.stop = cancel
	for _, work := range []func(context.Context){
		func(ctx context.Context) { a.redis.Follow(ctx, "bans", bansPeer{a.overrides.Store}) },
		func(ctx context.Context) { a.redis.Follow(ctx, "forgets", a.forgets) },
		a.settleWhenUp,
	} {
		a.follow.done.Go(func() {
			defer func() {
				if r := recover(); r != nil {
					a.logger.Error("sharing with the other instances panicked; this is a bug", slog.Any("panic", r))
				}
			}()
			work(ctx)
		})
	}
}

// settleWhenUp brings to Redis, each time it comes back, what this instance did without it.
func (a *App) settleWhenUp(ctx context.Context) {
	for ctx.Err() == nil {
		changed := a.redis.Changed()
		if a.redis.Up() {
			if shared, ok := a.ledger.(*quota.Shared); ok {
				_ = shared.Settle(ctx) // what fails is owed, and settled with the next call
			}
			a.forgets.catchUp(ctx, a.redis.Client)
		}
		select {
		case <-changed:
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

// forgetFor is how long an instance that was away is told what to forget.
const forgetFor = 24 * time.Hour

// pooledForgets are the subjects that operators had forgotten of late: what was learnt of them before must not come back
// from an instance that has not heard of it. It outlives reloads, as what it speaks of does.
type pooledForgets struct {
	mu      sync.Mutex
	notes   map[string]redis.Note
	pending map[record.Key]bool // Redis itself has not heard of it
	changed chan struct{}
}

func (a *App) provisionForgets() (err error) {
	a.forgets, err = acquire(a, "forgets", func() (*pooledForgets, error) {
		return &pooledForgets{
			notes: map[string]redis.Note{}, pending: map[record.Key]bool{}, changed: make(chan struct{}, 1),
		}, nil
	})
	return err
}

// Destruct implements caddy.Destructor.
func (*pooledForgets) Destruct() error { return nil }

// forgotten is what a note says, for people who look at Redis.
type forgottenNote struct {
	Subject netip.Prefix `json:"subject"`
	At      time.Time    `json:"forgotten"`
}

// say tells the other instances to forget a subject, and Redis, too, if it was away.
func (f *pooledForgets) say(subject netip.Prefix, now time.Time, away bool) {
	value, err := json.Marshal(forgottenNote{subject, now.UTC().Truncate(time.Second)})
	if err != nil {
		return // it has no value that cannot be encoded
	}
	f.mu.Lock()
	f.drop(now)
	f.notes[subject.String()] = redis.Note{
		Name: subject.String(), Version: now.UnixMilli(), Expires: now.Add(forgetFor).Truncate(time.Second), Value: value,
	}
	if away {
		f.pending[record.KeyOf(subject.Addr())] = true
	}
	f.mu.Unlock()
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// drop removes what is over.
func (f *pooledForgets) drop(now time.Time) {
	for name, n := range f.notes {
		if n.Expires.Before(now) {
			delete(f.notes, name)
		}
	}
}

// catchUp lets Redis forget what it was to forget while it was away.
func (f *pooledForgets) catchUp(ctx context.Context, client *redis.Client) {
	f.mu.Lock()
	var keys []record.Key
	for key := range f.pending {
		keys = append(keys, key)
	}
	f.mu.Unlock()
	for _, key := range keys {
		if _, err := client.Forget(ctx, key); err != nil {
			return
		}
		f.mu.Lock()
		delete(f.pending, key)
		f.mu.Unlock()
	}
}

// Notes implements redis.Peer.
func (f *pooledForgets) Notes() (list []redis.Note) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(time.Now())
	for _, n := range f.notes {
		list = append(list, n)
	}
	return list
}

// Changed implements redis.Peer.
func (f *pooledForgets) Changed() <-chan struct{} { return f.changed }

// Merge implements redis.Peer.
func (f *pooledForgets) Merge(notes []redis.Note) (better bool) {
	for _, n := range notes {
		subject, err := netip.ParsePrefix(n.Name)
		if err != nil {
			continue
		}
		f.mu.Lock()
		known := f.notes[n.Name].Version
		news := n.Version > known
		better = better || n.Version < known
		if news {
			f.notes[n.Name] = n
		}
		f.mu.Unlock()
		if app := running.current(); news && app != nil {
			app.engine.ForgetUntil(record.KeyOf(subject.Addr()), time.UnixMilli(n.Version))
		}
	}
	return better
}
