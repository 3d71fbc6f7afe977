package runtime

import (
	"log/slog"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// gauges shows a configuration to the metrics.
type gauges struct{ rt *Runtime }

// Providers implements metrics.Instance.
func (g gauges) Providers() []metrics.ProviderState {
	states := make([]metrics.ProviderState, 0, len(g.rt.Providers))
	for _, p := range g.rt.Providers {
		status := p.Guard.Status()
		state := metrics.ProviderState{Name: p.Name, Up: status.Up}
		for _, w := range status.Windows {
			state.Windows = append(state.Windows, metrics.WindowState{Name: w.Period, Limit: w.Limit, Remaining: w.Remaining()})
		}
		states = append(states, state)
	}
	return states
}

// Feeds implements metrics.Instance.
func (g gauges) Feeds() []metrics.FeedState {
	var states []metrics.FeedState
	for _, s := range g.rt.Lists.Status() {
		if s.Kind == feed.KindValues {
			continue
		}
		states = append(states, metrics.FeedState{Name: s.Name, Entries: s.Entries, LastSuccess: s.LastSuccess, Patience: s.Patience})
	}
	return states
}

// Keys implements metrics.Instance. A lease ends soon all the time, and is no reason for an alert.
func (g gauges) Keys() (keys []metrics.KeyState) {
	for _, s := range g.rt.Secrets {
		if status := s.Status(); !status.Expires.IsZero() && !status.Lease {
			keys = append(keys, metrics.KeyState{Provider: status.Name, Key: status.Fingerprint, Expires: status.Expires})
		}
	}
	return keys
}

// Redis implements metrics.Instance.
func (g gauges) Redis() (shared, up bool) {
	return g.rt.Redis != nil, g.rt.Redis != nil && g.rt.Redis.Up()
}

// History implements metrics.Instance.
func (g gauges) History() *metrics.HistoryState {
	if g.rt.Recorder == nil {
		return nil
	}
	s := g.rt.Recorder.Status()
	state := &metrics.HistoryState{
		Up: g.rt.Database.Up(), Queued: s.Waiting, Written: s.Written, Dropped: s.Dropped, Spool: s.Spool.Bytes,
	}
	if s.Oldest != nil {
		state.Oldest = *s.Oldest
	}
	return state
}

// Memory implements metrics.Instance.
func (g gauges) Memory() (records int, evictions uint64) {
	if g.rt.Memory == nil {
		return 0, 0
	}
	table := g.rt.Memory.Records
	return table.Len(), table.Evictions()
}

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
