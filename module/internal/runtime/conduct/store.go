package conduct

import (
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// UseViolations makes what sites and the look-up API need to count violations of these names, or of
// any if none is given. What is counted outlives reloads.
func (c *Conduct) UseViolations(names ...string) (err error) {
	c.used = append(c.used, names...)
	c.usesAny = c.usesAny || len(names) == 0
	if c.store != nil {
		return nil
	}
	path := filepath.Join(process.DataFolder(), "violations.bin")
	c.store, err = process.Share(c.Leases, "violations "+path, func() (*violation.Store, func() error, error) {
		store := violation.Open(path, violation.Options{Logger: c.LoggerOf("violations"), Detached: true})
		return store, c.Folder.Closing(store, store.Close), nil
	})
	if err != nil {
		return err
	}
	c.openOwn()
	if c.Redis != nil {
		stop := c.store.Share()
		c.Leases.Add(func() error { stop(); return nil })
	}
	if slices.ContainsFunc(c.terms, func(t violation.Terms) bool { return t.Ban > 0 }) {
		return c.UseBans()
	}
	return nil
}

// WarnUnused logs which of these violations nobody ever counts, such as one whose name is misspelt.
func (c *Conduct) WarnUnused(defined []string) {
	if c.usesAny {
		return
	}
	for _, name := range defined {
		if slices.Contains(c.used, name) {
			continue
		}
		c.Logger.Warn("a violation is never counted: no site and no token of the look-up API names it",
			slog.String("violation", name), slog.Any("counted", slices.Compact(slices.Sorted(slices.Values(c.used)))),
			slog.String("cure", "see its spelling, or write `violation "+name+" <condition>` into a site: docs/violations.md"))
	}
}

// Store is where violations are counted: nil until a site or the look-up API uses it.
func (c *Conduct) Store() *violation.Store { return c.store }

// Status returns what is remembered of violations, nil where none are counted.
func (c *Conduct) Status() *health.Violations {
	if c.store == nil {
		return nil
	}
	s := c.store.Status()
	return &health.Violations{
		Clients: s.Clients, Capacity: s.Capacity, Evictions: s.Evictions, LastHour: s.LastHour,
	}
}

// Share shares with the other instances what is counted, until ctx ends. Before anything is read from Redis, settle
// deletes there what was deleted here while it was away.
func (c *Conduct) Share(ctx context.Context, settle func(context.Context)) {
	if c.store != nil {
		c.Redis.FollowViolations(ctx, c.store, settle)
		return
	}
	<-ctx.Done()
}

// Forget deletes what is remembered of the violations of the subject of addr, here and in
// Redis, and reports whether there were any. An error means that Redis is away. In either case, the
// caller adds a tombstone.
func (c *Conduct) Forget(ctx context.Context, addr netip.Addr) (found bool, err error) {
	if reputation.IsReserved(addr) {
		return false, nil
	}
	if c.store != nil {
		found = c.store.Forget(addr)
	}
	if c.Redis == nil {
		return found, nil
	}
	shared, err := c.Redis.ForgetViolations(ctx, record.KeyOf(addr).Subject())
	return found || shared, err
}

// ForgetUntil deletes what another instance deleted at a time.
func (c *Conduct) ForgetUntil(addr netip.Addr, until time.Time) {
	if c.store != nil && !reputation.IsReserved(addr) {
		c.store.ForgetUntil(addr, record.Earlier(until, time.Now())) // the clock there may be ahead
	}
}
