package module

import (
	"context"
	"net/netip"
	"path/filepath"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/tombstone"
)

// pooledForgets are the subjects that operators deleted of late. They outlive reloads and restarts.
type pooledForgets struct{ *tombstone.Store }

// Destruct implements caddy.Destructor.
func (*pooledForgets) Destruct() error { return nil }

func (a *App) provisionForgets(dir string) (err error) {
	path := filepath.Join(dir, "forgets.json")
	a.forgets, err = acquire(a, "forgets "+path, func() (*pooledForgets, error) {
		store := tombstone.Open(path, tombstone.Options{Logger: processLogger("forgets"), OnMerge: forgetHere})
		return &pooledForgets{store}, nil
	})
	return err
}

// forgetHere drops what the serving configuration learnt of a subject before another instance deleted it.
func forgetHere(t tombstone.Tombstone) {
	if app := running.current(); app != nil {
		app.engine.ForgetUntil(record.KeyOf(t.Subject.Addr()), t.At)
	}
}

// settleForgets deletes from Redis what operators deleted while it was away.
func (a *App) settleForgets(ctx context.Context) {
	_ = a.forgets.Settle(ctx, func(ctx context.Context, subject netip.Prefix) error {
		_, err := a.redis.Forget(ctx, record.KeyOf(subject.Addr()), a.engine.Sources())
		return err
	}) // what fails stays pending until the next call
}
