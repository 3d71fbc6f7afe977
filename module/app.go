// Package module is the app ip_reputation: what all sites share. It holds configuration and wiring; what it
// configures is in the engine packages below internal, and what requests meet is in the package handler.
package module

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App finds out the reputation of the addresses that requests come from. It holds what all sites share:
// lists, providers and memory. Sites use it through the `ip_reputation` handler and matcher.
type App struct {
	// Addresses that are never judged and never sent to anyone: addresses, CIDR ranges, `private_ranges`, autonomous
	// systems such as `AS64500`, files, URLs, or presets. A list that needs options has its own block, or object. A range
	// is no wider than /8 or, in IPv6, /16. Exempt beats everything else, bans included. Default: none.
	Exempt []List `json:"exempt,omitempty"`

	// Addresses that always score 100 and are blocked by enforcing sites unless a rule says otherwise: addresses, CIDR
	// ranges, autonomous systems such as `AS64500`, files, URLs, or presets. A list that needs options has its own block,
	// or object. A range is no wider than /8 or, in IPv6, /16. Default: none.
	Deny []List `json:"deny,omitempty"`

	// Bots, such as Googlebot, that are verified if a client claims to be one. Default: none.
	VerifiedBots *VerifiedBots `json:"verified_bots,omitempty"`

	// Lists that speak against the addresses on them. Copies on disk, in Caddy's data folder, are in force at once after a
	// restart. Default: none.
	Feeds []Feed `json:"feeds,omitempty"`

	// What clients do on your sites and should not, such as failed log-ins, and what it costs. At most 64, with those that
	// are there already. Default: those that are there already.
	Violations []Violation `json:"violations,omitempty"`

	// What it costs a client that others of its network offended on your sites. Default: few points.
	Neighbourhood *Neighbourhood `json:"neighbourhood,omitempty"`

	// Files in the MaxMind DB format, which say of every address what they know: country, autonomous system and
	// nature. What the first of them knows stands, and the others fill in the rest. Their facts come before those of
	// services. Rules on `country`, `asn` and `nature` then hold for everybody. Default: none.
	Databases []Database `json:"mmdb,omitempty"`

	// Services that are asked about addresses one by one. At most 32. Default: none.
	Providers []provider.Provider `json:"providers,omitempty"`

	// Whom services are asked about while their quotas are short: `where_it_matters`, those whose answers are worth most,
	// or `first_come`, whoever comes first, and every service whatever its answer could change. See "Who is asked about
	// while a quota is short" in docs/sources.md. `burst` and `network_share` of a provider hold in any case. Default:
	// `where_it_matters`.
	Spend string `json:"spend,omitempty"`

	// How long a request waits for providers when nothing is known of its address yet. The question goes on in the
	// background and answers the next request. Zero never waits. Default: 25ms.
	Wait *caddy.Duration `json:"wait,omitempty"`

	// How many subjects (IPv4 addresses and IPv6 /64 networks) are remembered in this process, with what
	// providers said of them. It matters only with providers. So many subjects are all remembered; when there are
	// more, those that come back most often stay. They are saved every ten minutes, and when Caddy stops. The
	// table has half as many places again, which `status` shows as its capacity. Each place takes 48 bytes with
	// one provider and 24 more with every other: 216 with eight, 792 with 32. Default: 200000.
	Memory int `json:"memory,omitempty"`

	// The prefixes of NAT64 gateways of your own network (RFC 6052), such as `2001:db8:64::/96`: an address below one is
	// judged as the IPv4 address that it stands for. It matters where Caddy has IPv6 only, and IPv4 clients come through
	// such a gateway. The well-known `64:ff9b::/96` is always known. Lists name such clients by their IPv4 address.
	// Default: none.
	NAT64 []string `json:"nat64,omitempty"`

	// How long the bans of rules and violations last. Default: 15 minutes the first time, and twice as long each time.
	Bans *Bans `json:"bans,omitempty"`

	// The memory that several instances of Caddy share. Without it each is on its own. Default: none.
	Redis *Redis `json:"redis,omitempty"`

	// The database that stores verdicts and decisions. Default: none, nothing is stored.
	History *History `json:"history,omitempty"`

	// Where errors that somebody must act on are reported to, besides the log. Default: nowhere.
	Sentry *Sentry `json:"sentry,omitempty"`

	// How addresses are written in logs and elsewhere. Default: as they are.
	Privacy *Privacy `json:"privacy,omitempty"`

	runtime *runtime.Runtime
	ctx     caddy.Context // until Start
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
)

// Runtime is what sites share while they serve. It is there after Provision.
func (a *App) Runtime() *runtime.Runtime { return a.runtime }

// Provision makes the engine from what is on this machine. It calls nobody: a slow or dead service delays
// neither a start nor a reload.
func (a *App) Provision(ctx caddy.Context) error {
	rt := runtime.New(ctx)
	a.runtime, a.ctx = rt, ctx
	if a.History != nil {
		var err error
		if rt.Digest, err = process.Hash(a); err != nil { // before defaults are applied and raw modules are gone from it
			return fmt.Errorf("naming the configuration: %w", err)
		}
	}
	if err := a.settings(); err != nil {
		return err
	}
	for _, step := range []func(caddy.Context) error{
		a.provisionFolder,
		a.provisionPrivacy, // first: all later log entries go through it
		a.provisionSentry,  // next: it reports what fails in the others
		a.provisionEvents,
		a.provisionLists,
		a.provisionBots,
		a.provisionDatabases,
		a.provisionOverrides,
		a.provisionRedis,
		a.provisionHistory,
		a.provisionViolations,
		a.provisionEngine,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// provisionEvents finds the handlers of events, and registers the metrics.
func (a *App) provisionEvents(ctx caddy.Context) error {
	if err := a.runtime.UseEvents(ctx); err != nil {
		return err
	}
	if err := metrics.Register(ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return nil
}

func (a *App) provisionFolder(caddy.Context) error { return a.runtime.OpenFolder() }

func (a *App) provisionOverrides(caddy.Context) error { return a.runtime.OpenOverrides() }

// provisionEngine loads the services, and makes what looks addresses up.
func (a *App) provisionEngine(ctx caddy.Context) error {
	providers, err := a.openProviders(ctx)
	if err != nil {
		return err
	}
	if err := a.runtime.OpenMemory(a.Memory, len(providers)); err != nil {
		return err
	}
	if name := runtime.RepeatedName(a.runtime.SourceNames()); name != "" {
		return fmt.Errorf("two sources are named %q: give one of them another name, with the option `name`", name)
	}
	if err := a.runtime.OpenEngine(providers); err != nil {
		return fmt.Errorf("setting up look-ups: %w", err)
	}
	return nil
}

// openProviders loads the service modules and holds them to their terms.
func (a *App) openProviders(ctx caddy.Context) ([]lookup.Provider, error) {
	if len(a.Providers) == 0 {
		return nil, nil
	}
	if err := a.runtime.OpenLedger(); err != nil {
		return nil, err
	}
	list := make([]lookup.Provider, len(a.Providers))
	for i := range a.Providers {
		p := &a.Providers[i]
		label := p.Label(i) // the raw service is gone once it is loaded
		var err error
		if list[i], err = p.Open(ctx, a.runtime); err != nil {
			return nil, fmt.Errorf("provider %s: %w", label, err)
		}
	}
	logTermsOfServices(a.runtime.Logger, a.runtime.Providers)
	return list, nil
}

// lookupTimeout is longer than any provider may take, so that a slow one is found out by its own time limit and its
// circuit breaker learns of it.
func (a *App) lookupTimeout() time.Duration {
	longest := quota.DefaultTimeout
	for i := range a.Providers {
		longest = max(longest, a.Providers[i].Longest())
	}
	return longest + time.Second
}

// settings applies defaults and checks ranges.
func (a *App) settings() error {
	a.runtime.Wait, a.runtime.LookupTimeout = defaultWait, a.lookupTimeout()
	if a.Wait != nil {
		a.runtime.Wait = time.Duration(*a.Wait)
	}
	if err := runtime.CheckWait(a.runtime.Wait); err != nil {
		return err
	}
	var err error
	if a.runtime.FirstCome, err = firstCome(a.Spend); err != nil {
		return err
	}
	if a.runtime.NAT64, err = address.ParseNAT64(a.NAT64); err != nil {
		return err
	}
	if a.runtime.Conduct.Bans, err = a.Bans.terms(); err != nil {
		return fmt.Errorf("bans: %w", err)
	}
	if a.Memory == 0 {
		a.Memory = defaultMemory
	}
	return CheckMemory(a.Memory)
}

// firstCome returns what the word of `spend` means.
func firstCome(word string) (bool, error) {
	switch word {
	case "", "where_it_matters":
		return false, nil
	case "first_come":
		return true, nil
	}
	return false, fmt.Errorf("unknown spend %q: use where_it_matters or first_come", word)
}

// CheckWait reports whether a time to wait is out of range.
func CheckWait(wait caddy.Duration) error { return runtime.CheckWait(time.Duration(wait)) }

// CheckNAT64 reports what is wrong with the prefixes of a network's NAT64.
func CheckNAT64(words []string) error {
	_, err := address.ParseNAT64(words)
	return err
}

// CheckMemory reports whether a number of subjects is out of range.
func CheckMemory(subjects int) error {
	if subjects < 1 || subjects > maxMemory {
		return fmt.Errorf("memory %d is out of range: use 1 to %d subjects", subjects, maxMemory)
	}
	return nil
}

// Start makes this the app that serves.
func (a *App) Start() error {
	a.runtime.FindSites(a.ctx)
	a.ctx = caddy.Context{}
	a.warnUnusedViolations()
	a.runtime.Start()
	return nil
}

// Stop ends what Start began.
func (a *App) Stop() error {
	a.runtime.Stop()
	return nil
}

// Cleanup releases what Provision acquired. It also runs after a Provision that failed.
func (a *App) Cleanup() error {
	if a.runtime == nil {
		return nil
	}
	return a.runtime.Close()
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
