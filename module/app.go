// Package module is caddy-ip-reputation as Caddy modules: the app that all sites share, the handler and the matcher that
// sites use, the admin API and the commands. It holds configuration and lifecycle; what they configure is in the engine
// packages, which do not know Caddy.
package module

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/limit"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/privacy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App finds out the reputation of the addresses that requests come from. It holds what all sites share: lists, providers
// and memory. Sites use it through the `ip_reputation` handler and matcher.
type App struct {
	// Addresses that are never judged and never sent to anyone: addresses, CIDR ranges, `private_ranges`, files, URLs, or
	// presets. Exempt beats everything else, bans included. Default: none.
	Exempt []string `json:"exempt,omitempty"`

	// Addresses that always score 100 and are blocked by enforcing sites unless a rule says otherwise: addresses, CIDR
	// ranges, files, URLs, or presets. Default: none.
	Deny []string `json:"deny,omitempty"`

	// Lists that speak against the addresses on them. They are kept on disk, in Caddy's data folder, and are back at once
	// after a restart. Default: none.
	Feeds []Feed `json:"feeds,omitempty"`

	// Services that are asked about addresses one by one. At most 32. Default: none.
	Providers []Provider `json:"providers,omitempty"`

	// How long a request waits for providers when nothing is known of its address yet. The question goes on in the
	// background and answers the next request. Zero never waits. Default: 25ms.
	Wait *caddy.Duration `json:"wait,omitempty"`

	// How many subjects (IPv4 addresses and IPv6 /64 networks) are remembered in this process, with what providers said
	// of them. It matters only with providers. So many subjects are all remembered; when there are more, those that come
	// back most often stay. Each takes 45 bytes with one provider and 22 more with every other: 200 with eight, 740 with
	// 32. Default: 200000.
	Memory int `json:"memory,omitempty"`

	// The memory that several instances of Caddy share. Without it each is on its own. Default: none.
	Redis *Redis `json:"redis,omitempty"`

	// The database that keeps what was known of addresses and what was decided. Default: nothing is kept.
	History *History `json:"history,omitempty"`

	// Where errors that somebody must act on are reported to, besides the log. Default: nowhere.
	Sentry *Sentry `json:"sentry,omitempty"`

	// How addresses are written in logs and elsewhere. Default: as they are.
	Privacy *Privacy `json:"privacy,omitempty"`

	wait        time.Duration
	privacy     *privacy.Policy
	engine      *lookup.Engine
	lists       *pooledLists
	listNames   []string      // by position in the lists
	meanings    []lookup.List // likewise
	overrides   *pooledBans
	redis       *pooledRedis // nil: this instance is on its own
	forgets     *pooledForgets
	database    *pooledDatabase   // nil: no history is kept
	recorder    *history.Recorder // likewise
	config      string            // names this configuration, where a history is kept
	ledger      quota.Ledger
	limiter     *limit.Limiter // nil until a site limits
	memory      *pooledMemory
	sentry      *pooledReporter // nil: errors go to the log only
	stopSharing func()
	secrets     []*pooledSecret
	stopSecrets func()
	keepers     []*provider
	pools       releases
	suspects    suspects
	detach      func()
	emitter     emitter
	logger      *slog.Logger
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation",
		New: func() caddy.Module { return new(App) },
	}
}

// The defaults that config comments name.
const (
	defaultWait   = 25 * time.Millisecond
	defaultMemory = 200_000
	maxMemory     = 100_000_000
	maxWait       = 10 * time.Second
)

// Provision makes the engine from what is on this machine: nothing is called, so that whatever is slow or dead outside
// delays neither a start nor a reload.
func (a *App) Provision(ctx caddy.Context) error {
	a.logger = slog.New(correlated{reported(ctx.Slogger().Handler(), "ip_reputation")})
	if err := a.settings(); err != nil {
		return err
	}
	if err := a.provisionPrivacy(ctx); err != nil { // first: whatever is said is said its way
		return err
	}
	if err := a.provisionSentry(ctx); err != nil { // next: it reports what goes wrong with the others, until they have ended
		return err
	}
	if err := a.emitter.provision(ctx); err != nil {
		return err
	}
	if err := metrics.Register(ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	dir := dataDir()
	if err := a.provisionLists(ctx, dir); err != nil {
		return err
	}
	if err := a.provisionBans(dir); err != nil {
		return err
	}
	if err := a.provisionRedis(ctx); err != nil {
		return err
	}
	if err := a.provisionHistory(ctx, dir); err != nil {
		return err
	}
	providers, err := a.provisionProviders(ctx, dir)
	if err != nil {
		return err
	}
	if err := a.provisionMemory(dir, len(providers)); err != nil {
		return err
	}

	if err := distinct(a.sourceNames()); err != nil {
		return err
	}
	a.engine, err = lookup.New(lookup.Config{
		Lists:     a.lists,
		Meanings:  a.meanings,
		Overrides: a.overrides,
		Memory:    a.memory.table(),
		Shared:    a.redis.shared(),
		Providers: providers,
		Observer:  observer{},
		Tracer:    followed{},
		Logger:    a.logger,
		Timeout:   a.lookupTimeout(),
	})
	if err != nil {
		return fmt.Errorf("setting up look-ups: %w", err)
	}
	return nil
}

// lookupTimeout is longer than any provider may take, so that a slow one is found out by its own time limit and its
// circuit breaker learns of it.
func (a *App) lookupTimeout() time.Duration {
	longest := quota.DefaultTimeout
	for i := range a.Providers {
		longest = max(longest, time.Duration(a.Providers[i].Timeout))
	}
	return longest + time.Second
}

// settings applies defaults and checks ranges. Where a history names the configuration, that is done before raw modules are
// gone from it.
func (a *App) settings() (err error) {
	if a.History != nil {
		if a.config, err = hashOf(a); err != nil {
			return fmt.Errorf("naming the configuration: %w", err)
		}
	}
	a.wait = defaultWait
	if a.Wait != nil {
		a.wait = time.Duration(*a.Wait)
	}
	if err := CheckWait(caddy.Duration(a.wait)); err != nil {
		return err
	}
	if a.Memory == 0 {
		a.Memory = defaultMemory
	}
	return CheckMemory(a.Memory)
}

// CheckWait reports whether a time to wait is out of range.
func CheckWait(wait caddy.Duration) error {
	if d := time.Duration(wait); d < 0 || d > maxWait {
		return fmt.Errorf("wait %s is out of range: use 0 (never wait) to %s", d, maxWait)
	}
	return nil
}

// CheckMemory reports whether a number of subjects is out of range.
func CheckMemory(subjects int) error {
	if subjects < 1 || subjects > maxMemory {
		return fmt.Errorf("memory %d is out of range: use 1 to %d subjects", subjects, maxMemory)
	}
	return nil
}

// Start lets the lists refresh and makes this the app that the admin API speaks of.
func (a *App) Start() error {
	a.sentry.start()
	a.lists.start()
	a.memory.start()
	a.detach = metrics.Attach(a.instance())
	if running.current() == nil {
		events.Reset() // what was said before Caddy was stopped is said again
	}
	running.push(a)
	a.startEvents()
	a.startSecrets()
	a.startSharing()
	a.startHistory()
	if len(a.listNames)+len(a.keepers) == 0 {
		a.logger.Warn("no list and no provider is configured, so nothing is known of anybody but whom you ban",
			slog.String("cure", "name feeds and providers in the global ip_reputation options"))
	}
	return nil
}

// Stop ends what Start began.
func (a *App) Stop() error {
	latestPrivacy.Store(a.privacy)
	running.remove(a)
	if serving := running.current(); serving != nil {
		serving.startHistory() // whose settings this one has replaced, should it be the one that failed
	}
	a.endEvents()
	a.endSharing()
	if a.stopSecrets != nil {
		a.stopSecrets()
	}
	if a.detach != nil {
		a.detach()
		a.detach = nil
	}
	return nil
}

// closeWithin is how long look-ups under way may delay the end of the process.
const closeWithin = 500 * time.Millisecond

// lingering are the configurations that were replaced while look-ups were under way. When the process ends, they are told
// to hurry: what they share is saved when the last of its users lets go.
var (
	lingering      sync.WaitGroup
	hurry, doHurry = context.WithCancel(context.Background())
)

// Cleanup gives up what Provision acquired. It also runs after a Provision that failed.
func (a *App) Cleanup() error {
	// requests that outlive their configuration still look addresses up: the engine stays, and knows less
	engine, pools := a.engine, a.pools
	a.pools = nil
	if engine == nil {
		return pools.release()
	}
	if caddy.Exiting() {
		finish(engine, closeWithin)
		doHurry()
		endDeliveries()
		lingering.Wait() // they hand over what they learnt before it is saved
		return pools.release()
	}
	if !engine.Busy() {
		finish(engine, closeWithin)
		return pools.release()
	}
	// a reload does not wait for the look-ups under way; but they were paid for, so they end by themselves, and what they
	// need is released after them
	lingering.Go(func() {
		defer func() {
			if r := recover(); r != nil {
				a.logger.Error("ending look-ups panicked; this is a bug", slog.Any("panic", r))
			}
		}()
		finish(engine, a.lookupTimeout())
		if err := pools.release(); err != nil {
			a.logger.Error("releasing shared state", slog.Any("error", err))
		}
	})
	return nil
}

// finish closes an engine, giving its look-ups some time.
func finish(engine *lookup.Engine, within time.Duration) {
	ctx, cancel := context.WithTimeout(hurry, within)
	defer cancel()
	engine.Close(ctx)
}

// releases are the shared values that an app holds, each to be given back once.
type releases []func() error

// release gives them back in reverse order: what was acquired later may use what was acquired earlier.
func (r releases) release() error {
	var all error
	for _, release := range slices.Backward(r) {
		all = errors.Join(all, release())
	}
	return all
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
