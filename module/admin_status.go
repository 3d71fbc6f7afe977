package module

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
)

// noKeyYet is why a provider is not asked before a key has come from its store.
const noKeyYet = "it has no key yet"

// refreshTimeout is how long a refresh may keep the caller waiting.
const refreshTimeout = time.Minute

func (a *App) adminStatus(r *http.Request, _ string) (any, error) {
	s := adminapi.Status{
		Version:    adminapi.Versions{Plugin: metrics.Version(), Caddy: caddyVersion(), Go: runtime.Version()},
		DataFolder: dataDir(),
		Providers:  []adminapi.ProviderStatus{},
		Lists:      []adminapi.ListStatus{},
		Bans:       a.overrides.Len(ban.Ban),
		Exemptions: a.overrides.Len(ban.Exemption),
		Warnings:   []string{},
	}
	now := time.Now()
	for _, p := range a.keepers {
		status := p.keeper.Status()
		why := problem(status, now)
		if why == "" && a.waitsForKey(p.name) {
			why = noKeyYet
		}
		s.Providers = append(s.Providers, adminapi.ProviderStatus{Status: status, Problem: why})
	}
	for i, status := range a.lists.Status() {
		s.Lists = append(s.Lists, a.listStatus(i, status))
	}
	if a.memory != nil {
		records := a.memory.records
		s.Memory = adminapi.MemoryStatus{Records: records.Len(), Capacity: records.Cap(), Evictions: records.Evictions()}
	}
	if a.redis != nil {
		status := a.redis.Status()
		s.Redis = &status
	}
	if a.recorder != nil {
		s.History = &adminapi.HistoryStatus{Database: a.database.Status(), Recorder: a.recorder.Status()}
	}
	report := a.health(now)
	s.Health = adminapi.Health{Status: report.Status, Warnings: append([]health.Warning{}, report.Warnings...)}
	if a.sentry != nil {
		status := a.sentry.Status()
		s.Sentry = &status
	}
	a.warn(&s)
	return s, nil
}

// warn collects what is wrong: what the judgement says, in more words where the reader is an operator, and what is no matter
// of health.
func (a *App) warn(s *adminapi.Status) {
	say := func(format string, args ...any) { s.Warnings = append(s.Warnings, fmt.Sprintf(format, args...)) }
	if servers := a.suspects.unstrictServers(); len(servers) > 0 {
		say("visitors of server %s can choose the address they are judged by: add trusted_proxies_strict beside trusted_proxies",
			strings.Join(servers, ", "))
	}
	if a.suspects.found() {
		say("nearly all requests come from one address that looks like a proxy, so that all visitors are judged as one, or none is: " +
			"name the proxy in trusted_proxies, and add trusted_proxies_strict")
	}
	switch r := s.Redis; {
	case r == nil:
	case r.Deaf != "":
		say("bans of other instances arrive after seconds only, since this one cannot subscribe: %s", r.Deaf)
	case !r.Up:
		if len(s.Providers) > 0 {
			say("while redis is away, this instance uses at most %v of what was left of each quota (local_share)", a.Redis.localShare())
		}
		say("redis is away since %s, and this instance goes on by itself: %s; %s", adminapi.FormatTime(r.Since),
			cmp.Or(r.Error, "it has not answered yet"), cmp.Or(r.Cure, "see whether it can be reached from here"))
	}
	if h := s.History; h != nil {
		if d := h.Database; !d.Up {
			say("the database of the history is away since %s, and %d entries wait: %s; %s", adminapi.FormatTime(d.Since), h.Recorder.Waiting, d.Error, d.Cure)
		}
		if h.Database.Upkeep != "" {
			say("the days of the history cannot be looked after: %s", h.Database.Upkeep)
		}
		if f := h.Recorder.Store; f != nil && h.Database.Up {
			say("the database of the history does not take what waits, %d entries: %s", h.Recorder.Waiting, f.Error)
		}
		if d := h.Recorder.Disk; d != nil {
			say("the history waits in memory, since it cannot be written to disk: %s; %s", d.Error, d.Cure)
		}
	}
	if s.Sentry != nil && s.Sentry.Problem != "" {
		say("errors cannot be reported to sentry, %d got lost: %s", s.Sentry.Undelivered, s.Sentry.Problem)
	}
	for _, p := range s.Providers {
		if p.Problem != "" && p.Problem != noKeyYet { // which the judgement says, with what to do
			say("provider %s is not asked: %s", p.Name, p.Problem)
		}
	}
	for _, l := range s.Lists {
		switch {
		case !l.Loaded && l.LastError == "":
			say("list %s has no contents yet", l.Name)
		case !l.Loaded:
			say("list %s has no contents: %s", l.Name, l.LastError)
		case l.LastResult == feed.ResultNotStored.String():
			say("list %s is in force but cannot be kept on disk, so a restart fetches it again: %s", l.Name, l.LastError)
		case l.LastError != "":
			say("list %s is not the newest, what was last good of it is in force: %s", l.Name, l.LastError)
		case l.FirstIgnored != "" && l.Role != "feed":
			say("list %s: %d wrong lines are not in force, the first is %s", l.Name, l.Ignored, l.FirstIgnored)
		}
	}
	for _, w := range s.Health.Warnings {
		switch w.Reason {
		case health.NothingConfigured, health.ClientsMissing, health.QuotaLow, health.HistoryLost,
			health.KeyMissing, health.KeyRefused, health.KeyEnds, health.KeyEnded, health.KeyTooShort: // of these nothing was said yet
			say("%s", w.Text)
		}
	}
}

// adminRefresh answers POST feeds/{name}/refresh.
func (a *App) adminRefresh(r *http.Request, argument string) (any, error) {
	name, verb, _ := strings.Cut(argument, "/")
	if verb != "refresh" {
		return nil, adminError(http.StatusNotFound, fmt.Errorf("nothing is at %s: use %sfeeds/%s/refresh", r.URL.Path, adminapi.Path, name))
	}
	i := slices.Index(a.listNames, name)
	if i < 0 {
		return nil, adminError(http.StatusNotFound, fmt.Errorf("refreshing %q: %w: there are %s",
			name, feed.ErrNoSuchFeed, cmp.Or(strings.Join(a.listNames, ", "), "none")))
	}
	ctx, cancel := context.WithTimeout(r.Context(), refreshTimeout)
	defer cancel()
	err := a.lists.Refresh(ctx, name)
	switch {
	case errors.Is(err, feed.ErrTooSoon):
		return nil, adminError(http.StatusTooManyRequests, err)
	case errors.Is(err, feed.ErrClosed):
		return nil, adminError(http.StatusServiceUnavailable, fmt.Errorf("%w: Caddy is reloading, try again", err))
	case err != nil:
		return nil, adminError(http.StatusBadGateway, fmt.Errorf("%w: what was last good of the list stays in force", err))
	}
	a.logger.Info("refreshed by an operator", slog.String("feed", name), slog.String("remote_addr", r.RemoteAddr))
	return a.listStatus(i, a.lists.Status()[i]), nil
}

func (a *App) listStatus(i int, status feed.Status) adminapi.ListStatus {
	return adminapi.ListStatus{Role: kindWord(a.meanings[i].Kind), Status: status}
}

func caddyVersion() string {
	simple, _ := caddy.Version()
	return simple
}
