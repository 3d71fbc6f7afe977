package runtime

import (
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// UseViolations makes what sites and the look-up API need to count violations of these names, or of
// any if none is given. What is counted outlives reloads.
func (rt *Runtime) UseViolations(names ...string) (err error) {
	rt.usedViolations = append(rt.usedViolations, names...)
	rt.anyViolation = rt.anyViolation || len(names) == 0
	if rt.violations != nil {
		return nil
	}
	path := filepath.Join(process.DataFolder(), "violations.bin")
	rt.violations, err = process.Share(&rt.Leases, "violations "+path, func() (*violation.Store, func() error, error) {
		store := violation.Open(path, violation.Options{Logger: ProcessLogger("violations"), Detached: true})
		return store, rt.Folder.Closing(store, store.Close), nil
	})
	if err != nil {
		return err
	}
	rt.openOwn()
	if rt.Redis != nil {
		stop := rt.violations.Share()
		rt.Leases.Add(func() error { stop(); return nil })
	}
	if slices.ContainsFunc(rt.violationTerms, func(t violation.Terms) bool { return t.Ban > 0 }) {
		return rt.UseBans()
	}
	return nil
}

// WarnUnusedViolations logs which of these violations nobody ever counts, such as one whose name is misspelt.
func (rt *Runtime) WarnUnusedViolations(defined []string) {
	if rt.anyViolation {
		return
	}
	for _, name := range defined {
		if slices.Contains(rt.usedViolations, name) {
			continue
		}
		rt.Logger.Warn("a violation is never counted: no site and no token of the look-up API names it",
			slog.String("violation", name), slog.Any("counted", slices.Compact(slices.Sorted(slices.Values(rt.usedViolations)))),
			slog.String("cure", "see its spelling, or write `violation "+name+" <condition>` into a site: docs/violations.md"))
	}
}

// ViolationStore is where violations are counted: nil until a site or the look-up API uses it.
func (rt *Runtime) ViolationStore() *violation.Store { return rt.violations }

// shareViolations shares with the other instances what is counted, until ctx ends.
func (rt *Runtime) shareViolations(ctx context.Context) {
	if rt.violations != nil {
		rt.Redis.FollowViolations(ctx, rt.violations, rt.settleTombstones)
		return
	}
	<-ctx.Done()
}

// forgetViolations deletes what is remembered of the violations of the subject of addr, here and in
// Redis, and reports whether there were any. An error means that Redis is away. In either case, the
// caller adds a tombstone.
func (rt *Runtime) forgetViolations(ctx context.Context, addr netip.Addr) (found bool, err error) {
	if reputation.IsReserved(addr) {
		return false, nil
	}
	if rt.violations != nil {
		found = rt.violations.Forget(addr)
	}
	if rt.Redis == nil {
		return found, nil
	}
	shared, err := rt.Redis.ForgetViolations(ctx, record.KeyOf(addr).Subject())
	return found || shared, err
}

// forgetViolationsUntil deletes what another instance deleted at a time.
func (rt *Runtime) forgetViolationsUntil(addr netip.Addr, until time.Time) {
	if rt.violations != nil && !reputation.IsReserved(addr) {
		rt.violations.ForgetUntil(addr, record.Earlier(until, time.Now())) // the clock there may be ahead
	}
}
