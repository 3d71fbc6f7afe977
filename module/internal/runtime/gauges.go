package runtime

import (
	"log/slog"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

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
