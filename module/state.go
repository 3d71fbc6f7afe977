package module

import (
	"log/slog"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
)

// instance shows an app to the metrics.
type instance struct{ app *App }

func (a *App) instance() instance { return instance{a} }

// Providers implements metrics.Instance.
func (i instance) Providers() []metrics.ProviderState {
	states := make([]metrics.ProviderState, 0, len(i.app.keepers))
	for _, p := range i.app.keepers {
		status := p.keeper.Status()
		state := metrics.ProviderState{Name: p.name, Up: status.Up}
		for _, w := range status.Windows {
			state.Windows = append(state.Windows, metrics.WindowState{Name: w.Period, Limit: w.Limit, Remaining: w.Remaining()})
		}
		states = append(states, state)
	}
	return states
}

// Feeds implements metrics.Instance.
func (i instance) Feeds() []metrics.FeedState {
	var states []metrics.FeedState
	for _, s := range i.app.lists.Status() {
		if s.Kind == feed.KindValues {
			continue
		}
		states = append(states, metrics.FeedState{Name: s.Name, Entries: s.Entries, LastSuccess: s.LastSuccess, Patience: s.Patience})
	}
	return states
}

// Keys implements metrics.Instance. A lease ends soon all the time, and is no reason for an alert.
func (i instance) Keys() (keys []metrics.KeyState) {
	for _, s := range i.app.secrets {
		if status := s.Status(); !status.Expires.IsZero() && !status.Lease {
			keys = append(keys, metrics.KeyState{Provider: status.Name, Key: status.Fingerprint, Expires: status.Expires})
		}
	}
	return keys
}

// Redis implements metrics.Instance.
func (i instance) Redis() (shared, up bool) {
	return i.app.redis != nil, i.app.redis != nil && i.app.redis.Up()
}

// History implements metrics.Instance.
func (i instance) History() *metrics.HistoryState {
	if i.app.recorder == nil {
		return nil
	}
	s := i.app.recorder.Status()
	state := &metrics.HistoryState{
		Up: i.app.database.Up(), Queued: s.Waiting, Written: s.Written, Dropped: s.Dropped, Spool: s.Spool.Bytes,
	}
	if s.Oldest != nil {
		state.Oldest = *s.Oldest
	}
	return state
}

// Memory implements metrics.Instance.
func (i instance) Memory() (records int, evictions uint64) {
	if i.app.memory == nil {
		return 0, 0
	}
	table := i.app.memory.records
	return table.Len(), table.Evictions()
}

// Panicked implements metrics.Instance.
func (i instance) Panicked(with any) {
	i.app.logger.Error("showing the state in the metrics panicked; this is a bug", slog.Any("panic", with))
}
