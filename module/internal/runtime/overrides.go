package runtime

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/tombstone"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// OpenOverrides finds or loads the bans and exemptions made at run time.
func (rt *Runtime) OpenOverrides() (err error) {
	path := filepath.Join(process.DataFolder(), "bans.json")
	rt.Overrides, err = process.Share(&rt.Leases, "bans "+path, func() (*ban.Store, func() error, error) {
		store, err := ban.Open(path, ban.Options{Logger: ProcessLogger("bans"), Detached: true})
		if err != nil {
			return nil, nil, err
		}
		return store, rt.Folder.Closing(store, store.Close), nil
	})
	return err
}

// openTombstones finds or loads which subjects operators deleted of late.
func (rt *Runtime) openTombstones() (err error) {
	path := filepath.Join(process.DataFolder(), "forgets.json")
	rt.Tombstones, err = process.Share(&rt.Leases, "forgets "+path, func() (*tombstone.Store, func() error, error) {
		store := tombstone.Open(path, tombstone.Options{Logger: ProcessLogger("forgets"), OnMerge: forgetHere, Detached: true})
		return store, rt.Folder.Closing(store, func() error { return nil }), nil
	})
	return err
}

// ForgetClient deletes on all instances what providers said of the subject of addr, and its violations. It reports
// whether there was any of each.
func (rt *Runtime) ForgetClient(ctx context.Context, addr netip.Addr) (answers, violations bool) {
	answers, err := rt.Engine.Forget(ctx, addr)
	violations, away := rt.Conduct.Forget(ctx, addr)
	rt.addTombstone(addr, errors.Join(err, away))
	return answers, violations
}

// Pardon deletes on all instances the violations of a client whose ban an operator ends: they would lead to the next
// one. It reports whether there were any.
func (rt *Runtime) Pardon(ctx context.Context, client netip.Addr) (found bool) {
	found, err := rt.Conduct.Forget(ctx, client)
	rt.addTombstone(client, err)
	return found
}

// addTombstone tells the other instances that the subject of addr was deleted here. An error means that Redis is away:
// the subject is deleted there later.
func (rt *Runtime) addTombstone(addr netip.Addr, err error) {
	if rt.Tombstones != nil && !reputation.IsReserved(addr) {
		rt.Tombstones.Add(reputation.Subject(addr), time.Now(), err != nil)
	}
}

// forgetHere drops what the serving configuration learnt of a subject before another instance deleted it.
func forgetHere(t tombstone.Tombstone) {
	if rt := Serving(); rt != nil {
		rt.Engine.ForgetUntil(record.KeyOf(t.Subject.Addr()), t.At)
		rt.Conduct.ForgetUntil(t.Subject.Addr(), t.At)
	}
}

// settleTombstones deletes from Redis what operators deleted while it was away.
func (rt *Runtime) settleTombstones(ctx context.Context) {
	_ = rt.Tombstones.Settle(ctx, func(ctx context.Context, subject netip.Prefix) error {
		_, err := rt.Redis.Forget(ctx, record.KeyOf(subject.Addr()), rt.Engine.Sources())
		if err == nil {
			_, err = rt.Redis.ForgetViolations(ctx, subject)
		}
		return err
	}) // what fails stays pending until the next call
}
