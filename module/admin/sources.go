package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	// probeTimeout is how long all probes together may take.
	probeTimeout = time.Minute

	// probesAtOnce is how many sources are asked at the same time.
	probesAtOnce = 8

	roleDatabase = "database"
)

// serveSources answers GET sources.
func serveSources(rt *runtime.Runtime, _ *http.Request, _ string) (any, error) {
	return sourcesOf(rt, time.Now()), nil
}

// probing is held while sources are asked, so that impatient callers do not multiply the calls.
var probing sync.Mutex

// serveProbe answers POST sources/probe: it asks each source once, or the one that the parameter
// names. Services count it against their quotas; lists are fetched as by a refresh.
func serveProbe(rt *runtime.Runtime, r *http.Request, argument string) (any, error) {
	if argument != "probe" {
		return nil, adminError(http.StatusNotFound, fmt.Errorf("nothing is at %s: use %ssources/probe", r.URL.Path, adminapi.Path))
	}
	probes := probesOf(rt)
	only := r.URL.Query().Get("source")
	if _, ok := probes[only]; only != "" && !ok {
		return nil, adminError(http.StatusNotFound,
			fmt.Errorf("no source %q can be asked: see `caddy ip-reputation sources`", only))
	}
	if !probing.TryLock() {
		return nil, adminError(http.StatusTooManyRequests, errors.New("the sources are being asked already: wait for that to end"))
	}
	defer probing.Unlock()
	ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
	defer cancel()
	outcomes := runProbes(ctx, probes, only)
	rt.Logger.Info("sources asked by an operator", slog.Int("sources", len(outcomes)), slog.String("remote_addr", r.RemoteAddr))
	all := sourcesOf(rt, time.Now())
	answer := make([]adminapi.Source, 0, len(all))
	for _, s := range all {
		if only == "" || s.Name == only {
			if s.Role != roleDatabase { // it may have the name of a list
				s.Probe = outcomes[s.Name]
			}
			answer = append(answer, s)
		}
	}
	return answer, nil
}

// runProbes asks the sources, or only the one with the given name, and returns the outcomes by name.
func runProbes(
	ctx context.Context, probes map[string]func(context.Context) *adminapi.Probe, only string,
) map[string]*adminapi.Probe {
	outcomes := make(map[string]*adminapi.Probe, len(probes))
	var mu sync.Mutex
	var running errgroup.Group
	running.SetLimit(probesAtOnce)
	for name, probe := range probes {
		if only != "" && name != only {
			continue
		}
		running.Go(func() error {
			began := time.Now()
			outcome := guarded(ctx, probe)
			outcome.Seconds = time.Since(began).Seconds()
			mu.Lock()
			defer mu.Unlock()
			outcomes[name] = outcome
			return nil
		})
	}
	_ = running.Wait() // outcomes has the failures
	return outcomes
}

// guarded runs a probe. A panic is a failed probe.
func guarded(ctx context.Context, probe func(context.Context) *adminapi.Probe) (outcome *adminapi.Probe) {
	defer func() {
		if p := recover(); p != nil {
			outcome = &adminapi.Probe{Result: reputation.ResultError.String(), Error: fmt.Sprintf("asking it panicked; this is a bug: %v", p)}
		}
	}()
	return probe(ctx)
}

// probesOf returns how each source is asked, by name. There is nobody to ask for values in the configuration, and for a
// database, whose file is looked at every few seconds.
func probesOf(rt *runtime.Runtime) map[string]func(context.Context) *adminapi.Probe {
	probes := map[string]func(context.Context) *adminapi.Probe{}
	for _, p := range rt.Providers {
		probes[p.Name] = func(ctx context.Context) *adminapi.Probe { return probeProvider(ctx, rt, p) }
	}
	for _, l := range rt.Lists.Status() {
		if l.Kind != feed.KindValues {
			probes[l.Name] = func(ctx context.Context) *adminapi.Probe { return probeList(ctx, rt, l.Name) }
		}
	}
	return probes
}

func probeProvider(ctx context.Context, rt *runtime.Runtime, p runtime.Provider) *adminapi.Probe {
	err := p.Probe(ctx)
	result := reputation.ResultOf(err)
	outcome := &adminapi.Probe{Works: result.Answered(), Result: result.String()}
	var skipped *reputation.SkippedError
	switch now := time.Now(); {
	case errors.As(err, &skipped):
		why := providerProblem(p.Guard.Status(), rt.State(now).Keys, now)
		outcome.Error = "not asked: " + cmp.Or(why, "its `rate` or `concurrency` has no room at present")
	case err != nil:
		outcome.Error = err.Error()
	}
	return outcome
}

func probeList(ctx context.Context, rt *runtime.Runtime, name string) *adminapi.Probe {
	err := rt.Lists.Refresh(ctx, name)
	outcome := &adminapi.Probe{Works: err == nil}
	for _, l := range rt.Lists.Status() {
		if l.Name == name {
			outcome.Result = l.LastResult
		}
	}
	switch {
	case errors.Is(err, feed.ErrTooSoon):
		outcome.Works = outcome.Result == feed.ResultOK.String() || outcome.Result == feed.ResultUnchanged.String()
		outcome.Error = "not fetched again: the last time was a moment ago"
	case err != nil:
		outcome.Error = err.Error()
	}
	return outcome
}

// sourcesOf returns the state of all sources: providers first, then lists and databases, in the order written.
func sourcesOf(rt *runtime.Runtime, now time.Time) []adminapi.Source {
	state, all := rt.State(now), []adminapi.Source{}
	for i, status := range state.Providers {
		p := rt.Providers[i]
		all = append(all, adminapi.Source{
			Name: p.Name, Role: "provider", Kind: p.Service, Terms: p.Terms, Key: keyState(state.Keys, p.Name),
			Answered: status.Answered, NotAsked: status.NotAsked, Quota: status.Windows, Price: status.Price,
			Problem: providerProblem(status, state.Keys, now),
		})
	}
	for _, l := range state.Lists {
		all = append(all, adminapi.Source{
			Name: l.Name, Role: l.Role, Kind: string(l.Kind), From: l.Source, Terms: l.Terms,
			Key: keyState(state.Keys, l.Name), Answered: l.LastSuccess, Published: l.Published, Entries: new(l.Entries),
			NotAsked: l.LastAttempt.IsZero() && !l.Loaded, Problem: health.ListProblem(l, now),
		})
	}
	for _, d := range state.Databases {
		all = append(all, adminapi.Source{
			Name: d.Name, Role: roleDatabase, Kind: d.Type, From: d.File, Answered: d.LastLoad, Published: d.Built,
			Entries: new(d.Networks), Problem: d.Problem,
		})
	}
	return all
}

func providerProblem(s quota.Status, keys []health.Key, now time.Time) string {
	if problem := health.Problem(s, keys, now); problem != "" || s.Failures == 0 {
		return problem
	}
	return fmt.Sprintf("calls that failed in a row: %d, the last with: %s", s.Failures, cmp.Or(s.LastError, "see the log"))
}

// keyState returns the state of the key that a source is asked with, or of its first one while none is in use.
func keyState(keys []health.Key, source string) (state health.KeyState) {
	for _, k := range keys {
		switch {
		case k.Name != source:
		case k.State == health.KeyInUse:
			return k.State
		case state == "":
			state = k.State
		}
	}
	return state
}
