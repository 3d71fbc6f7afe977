// Package runtime is a configuration at work: how it is opened, started, stopped and closed, and which one serves.
// Sites share it while they serve. With the packages below it, it is the part of the engine that knows Caddy.
package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history/recorder"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/limit"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/mmdb"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/policy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/privacy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/conduct"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/lists"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/tombstone"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Runtime is one configuration at work. The app fills its fields while it is provisioned; after Start none of them
// changes. What a configuration does without is nil.
type Runtime struct {
	Logger *slog.Logger
	Leases process.Leases // what it shares with other configurations

	Wait          time.Duration // how long a request waits, unless its site says otherwise
	LookupTimeout time.Duration // longer than any provider may take
	FirstCome     bool          // services are asked about whoever comes first
	Engine        *lookup.Engine

	Folder     *process.Folder
	Lists      lists.Lists
	Bots       *Bots // nil without bots to verify
	Databases  mmdb.Set
	Overrides  *ban.Store
	Tombstones *tombstone.Store // nil without Redis
	Memory     *Memory          // nil without providers
	Redis      *Redis           // nil: this instance is on its own
	Providers  []Provider
	Secrets    []*secret.Refresher
	Ledger     ledger.Ledger
	Limiter    *limit.Limiter // nil until a site limits
	LocalShare float64        // of what was left of a quota while Redis is away
	RedisPool  int            // connections to one server; zero for the default

	Database *Database          // nil: no history is stored
	Recorder *recorder.Recorder // likewise
	Spool    int64              // bytes that may wait on disk for the database
	Rows     int                // of the history, in a minute
	Digest   string             // names the configuration in the history

	// OpenHistory returns what answers questions about the history. Tests put a stand-in here.
	OpenHistory func(context.Context) (history.Reader, error)

	NAT64   address.NAT64   // the network's own prefixes
	Conduct conduct.Conduct // what clients do on the sites, and what follows

	// Whether anybody is protected, as far as the configuration shows.
	used     bool
	sites    *health.Sites // nil without HTTP app
	rules    []health.Rule // that can never hold
	forClean []string      // rules that hold for clean clients
	later    []laterRule   // checked at Start
	matchers []*policy.Conditions
	stakes   []lookup.Stakes // of the sites
	allKnown bool            // all sites are provisioned

	privacy  *privacy.Policy
	reporter atomic.Pointer[Reporter] // nil: errors go to the log only
	emitter  emitter
	stop     context.CancelFunc // ends what goes on beside requests; nil unless between Start and Stop
}

// New returns the runtime of the configuration that ctx belongs to. It logs, and does nothing else yet.
func New(ctx caddy.Context) *Runtime {
	rt := &Runtime{Logger: request.WithIDs(reported(ctx.Slogger().Handler(), "ip_reputation"))}
	rt.OpenHistory = rt.openHistory
	return rt
}

// maxWait is how long a request may be made to wait.
const maxWait = 10 * time.Second

// CheckWait reports whether a time to wait is out of range.
func CheckWait(wait time.Duration) error {
	if wait < 0 || wait > maxWait {
		return fmt.Errorf("wait %s is out of range: use 0 (never wait) to %s", wait, maxWait)
	}
	return nil
}

// OpenFolder finds or makes the data folder.
func (rt *Runtime) OpenFolder() (err error) {
	rt.Folder, err = process.OpenFolder(&rt.Leases, ProcessLogger("folder"))
	return err
}

// OpenEngine makes what looks addresses up, from what has been opened before.
func (rt *Runtime) OpenEngine(providers []lookup.Provider) (err error) {
	rt.Engine, err = lookup.New(lookup.Config{
		Lists:     rt.Lists.Set,
		Meanings:  rt.Lists.Meanings,
		Overrides: rt.Overrides,
		Databases: rt.Databases,
		Memory:    rt.Memory.engineMemory(),
		Shared:    rt.Redis.shared(),
		Providers: providers,
		Observer:  observer{},
		Tracer:    request.LookupTracer{},
		Logger:    rt.Logger,
		Timeout:   rt.LookupTimeout,
		FirstCome: rt.FirstCome,
	})
	if err != nil {
		return err
	}
	rt.Conduct.Engine = rt.Engine
	rt.checkASNLists()
	return nil
}

// Start makes this the configuration that serves, and starts what goes on beside requests.
func (rt *Runtime) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	rt.stop = cancel
	rt.Folder.Start()
	rt.reporter.Load().Start()
	rt.Lists.Start()
	rt.Memory.start(rt)
	rt.learnNetworks()
	rt.startDatabases(ctx)
	rt.checkLaterRules()
	if serving := Serving(); serving != nil {
		rt.Lists.Expect(&serving.Lists, time.Now())
	} else {
		rt.Lists.Expect(nil, time.Now())
		Events.Reset() // after Caddy was stopped, each event is news again
	}
	rt.attach()
	rt.startEvents()
	rt.startSecrets(ctx)
	rt.startSelfTests(ctx)
	rt.startSharing(ctx)
	rt.startHistory()
	rt.startSaving(ctx)
	rt.Conduct.Start(rt.asnOf)
	if len(rt.Lists.Names)+len(rt.Providers) == 0 && rt.Conduct.Own() == nil {
		rt.Logger.Warn("no list and no provider is configured, so nothing is known of anybody but whom you ban",
			slog.String("cure", "name feeds and providers in the global ip_reputation options"))
	}
	rt.warnUnprotected()
}

// Stop ends what Start began, and waits for none of it but events: an exchange with Redis may take its time, and a
// reload must not. More calls do nothing.
func (rt *Runtime) Stop() {
	if rt.stop == nil {
		return
	}
	stop := rt.stop
	rt.stop = nil
	rt.detach()
	if serving := Serving(); serving != nil {
		serving.resume()
	}
	rt.endEvents()
	stop()
	rt.Conduct.Stop()
}

// resume runs when another configuration has stopped: the one before, or one that could not be started to the end. What
// that one has set for all, and left behind, must not stay.
func (rt *Runtime) resume() {
	rt.startHistory()
	rt.forgetOthers()
}

// closeWithin is how long calls in progress may delay the end of the process.
const closeWithin = 500 * time.Millisecond

// Close releases what the configuration shares with others. Requests that outlive it still look addresses up:
// the engine stays, and knows less. Caddy does not stop a configuration that started and could not be set up to the end:
// it is stopped here.
func (rt *Runtime) Close() error {
	rt.checkLaterRules() // `caddy validate` starts nothing
	rt.Stop()
	switch {
	case rt.Engine == nil:
		return rt.release()
	case caddy.Exiting():
		closeEngine(context.Background(), rt.Engine, closeWithin)
		process.Background.Shutdown() // replaced configurations store what they learnt before memory is saved
		return rt.release()
	case !rt.Engine.Busy():
		closeEngine(context.Background(), rt.Engine, closeWithin)
		return rt.release()
	}
	// a reload does not wait for calls in progress; but they were paid for, so they end by themselves, and what they need
	// is released after them
	process.Background.Go(func(shutdown context.Context) {
		defer func() {
			if r := recover(); r != nil {
				rt.Logger.Error("ending look-ups panicked; this is a bug", slog.Any("panic", r))
			}
		}()
		closeEngine(shutdown, rt.Engine, rt.LookupTimeout)
		if err := rt.release(); err != nil {
			rt.Logger.Error("releasing shared state", slog.Any("error", err))
		}
	})
	return nil
}

// release releases what is shared, and then the configuration itself: that memory is saved depends on it.
func (rt *Runtime) release() error {
	defer rt.forget()
	err := rt.Leases.Release()
	if rt.Engine != nil {
		rt.Engine.ReleaseLists()
	}
	return err
}

// closeEngine closes an engine, giving its calls some time.
func closeEngine(ctx context.Context, engine *lookup.Engine, within time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	engine.Close(ctx)
}

// Known returns what this process knows of an address: nobody is asked.
func (rt *Runtime) Known(addr netip.Addr) reputation.Verdict { return rt.Engine.Explain(addr).Verdict }

// Facts returns what the databases say of an address. It is all there is of one that a site does not judge.
func (rt *Runtime) Facts(addr netip.Addr) reputation.Facts { return rt.Databases.Facts(addr) }

// SourceNames are the names that rules can ask for.
func (rt *Runtime) SourceNames() []string {
	names := []string{reputation.SourceDeny, reputation.SourceBan}
	if rt.Bots != nil {
		names = append(names, reputation.SourceVerifiedBots, reputation.SourceFakeBot)
	}
	for i, name := range rt.Lists.Names {
		if rt.Lists.Meanings[i].Kind == listing.Feed {
			names = append(names, name)
		}
	}
	for _, p := range rt.Providers {
		names = append(names, p.Name)
	}
	return append(names, conduct.Sources(rt.Conduct.ViolationNames())...)
}

// RepeatedName returns a name that two sources have, or the empty string.
func RepeatedName(names []string) string {
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return name
		}
	}
	return ""
}
