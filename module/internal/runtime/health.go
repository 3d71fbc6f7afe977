package runtime

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/atomicfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// ServingFor returns the configuration that serves, or nil when none does for much longer: when Caddy, or the
// server of r, was told to stop, or is not started yet. A configuration that a reload has replaced is no
// reason, since another one serves.
func ServingFor(r *http.Request) *Runtime {
	if caddy.Exiting() {
		return nil
	}
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		if stopping, _ := repl.Get("http.shutting_down"); stopping == true {
			return nil
		}
	}
	return Serving()
}

// State returns the state of this instance.
func (rt *Runtime) State(now time.Time) health.State {
	s := health.State{
		Unused: !rt.used, Sites: rt.sites, Rules: rt.rules,
		Clients: health.Clients{
			Finding: rt.Conduct.Suspects.Finding(now), Chosen: rt.Conduct.Suspects.UnstrictServers(), Pseudo: rt.Conduct.Suspects.Pseudo(),
		},
		Keys: rt.Keys(now), LocalShare: rt.LocalShare, Bans: rt.Conduct.BansState(), Lists: rt.Lists.State(),
	}
	if rt.Folder != nil {
		s.Folder = rt.Folder.State()
	}
	for _, f := range atomicfile.Failing(process.DataFolder()) {
		s.Unwritten = append(s.Unwritten, health.Unwritten{Path: f.Path, Since: f.Since, Error: f.Err.Error()})
	}
	for _, p := range rt.Providers {
		s.Providers = append(s.Providers, p.Guard.Status())
	}
	for _, d := range rt.Databases {
		s.Databases = append(s.Databases, d.Status())
	}
	s.Bots = rt.Bots.status()
	if rt.Memory != nil {
		s.Memory = new(rt.Memory.status())
	}
	s.Violations = rt.Conduct.Status()
	if rt.Redis != nil {
		s.Redis = new(rt.Redis.Status())
	}
	if rt.Recorder != nil {
		s.History = &health.History{Database: rt.Database.Status(), Recorder: rt.Recorder.Status()}
	}
	if reporter := rt.reporter.Load(); reporter != nil {
		s.Sentry = new(reporter.Status())
	}
	return s
}

// Health returns the health of this instance.
func (rt *Runtime) Health(now time.Time) health.Report { return health.Judge(rt.State(now), now) }

// gauges shows a configuration to the metrics.
type gauges struct{ rt *Runtime }

// State implements metrics.Instance.
func (g gauges) State() health.State { return g.rt.State(time.Now()) }

// Panicked implements metrics.Instance.
func (g gauges) Panicked(with any) {
	g.rt.Logger.Error("showing the state in the metrics panicked; this is a bug", slog.Any("panic", with))
}

// observer counts and times look-ups.
type observer struct{}

func (observer) CountLookup(origin reputation.Origin) { metrics.CountLookup(origin) }

func (observer) ObserveLookup(origin reputation.Origin, took time.Duration) {
	metrics.ObserveLookup(origin, took)
}
