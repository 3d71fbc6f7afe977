package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/mmdb"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
)

// refreshTimeout is how long a refresh may keep the caller waiting.
const refreshTimeout = time.Minute

func serveStatus(rt *runtime.Runtime, _ *http.Request, _ string) (any, error) {
	now := time.Now()
	state := rt.State(now)
	report := health.Judge(state, now)
	s := adminapi.Status{
		Version:    adminapi.Versions{Plugin: metrics.Version(), Caddy: caddyVersion(), Go: goruntime.Version()},
		Health:     adminapi.Health{Status: report.Status, Warnings: append([]health.Warning{}, report.Warnings...)},
		DataFolder: process.DataFolder(),
		Sites:      state.Sites,
		Providers:  []adminapi.ProviderStatus{},
		Lists:      append([]health.List{}, state.Lists...),
		Databases:  append([]mmdb.Status{}, state.Databases...),
		Bots:       state.Bots,
		Redis:      state.Redis,
		History:    state.History,
		Sentry:     state.Sentry,
		Violations: state.Violations,
		Bans:       rt.Overrides.Len(ban.Ban),
		BansBy:     state.Bans.By,
		Exemptions: rt.Overrides.Len(ban.Exemption),
		Warnings:   []string{},
	}
	for i, overlaps := range rt.Lists.Overlaps() {
		s.Lists[i].Overlaps = overlaps
	}
	for i, p := range state.Providers {
		s.Providers = append(s.Providers, adminapi.ProviderStatus{
			Status: p, Problem: health.Problem(p, state.Keys, now), Terms: rt.Providers[i].Terms,
			Reports: reportStatus(rt, &rt.Providers[i], now),
		})
	}
	if state.Memory != nil {
		s.Memory = *state.Memory
	}
	for _, w := range report.Warnings {
		s.Warnings = append(s.Warnings, w.ForOperators())
	}
	return s, nil
}

// serveRefresh answers POST feeds/{name}/refresh.
func serveRefresh(rt *runtime.Runtime, r *http.Request, argument string) (any, error) {
	name, verb, _ := strings.Cut(argument, "/")
	if verb != "refresh" {
		return nil, adminError(http.StatusNotFound, fmt.Errorf("nothing is at %s: use %sfeeds/%s/refresh", r.URL.Path, adminapi.Path, name))
	}
	i := slices.Index(rt.Lists.Names, name)
	if i < 0 {
		return nil, adminError(http.StatusNotFound, fmt.Errorf("refreshing %q: %w: there are %s",
			name, feed.ErrNoSuchFeed, cmp.Or(strings.Join(rt.Lists.Names, ", "), "none")))
	}
	ctx, cancel := context.WithTimeout(r.Context(), refreshTimeout)
	defer cancel()
	accept := r.URL.Query().Has("accept")
	refresh := rt.Lists.Refresh
	if accept {
		refresh = rt.Lists.Accept
	}
	err := refresh(ctx, name)
	switch {
	case errors.Is(err, feed.ErrTooSoon):
		return nil, adminError(http.StatusTooManyRequests, err)
	case errors.Is(err, feed.ErrClosed):
		return nil, adminError(http.StatusServiceUnavailable, fmt.Errorf("%w: Caddy is reloading, try again", err))
	case err != nil:
		return nil, adminError(http.StatusBadGateway, fmt.Errorf("%w: what was last good of the list stays in force", err))
	}
	rt.Logger.Info("refreshed by an operator", slog.String("feed", name), slog.Bool("accept", accept),
		slog.String("remote_addr", r.RemoteAddr))
	return health.List{Role: rt.Lists.Meanings[i].Kind.String(), Status: rt.Lists.Status()[i]}, nil
}

func caddyVersion() string {
	simple, _ := caddy.Version()
	return simple
}
