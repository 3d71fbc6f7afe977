package runtime

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
)

// ServingFor returns the configuration that serves, or nil when none does for much longer: when Caddy, or the server of r, was
// told to stop, or is not started yet. A configuration that a reload has replaced is no reason, since another one serves.
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

// Health judges how this instance is doing.
func (rt *Runtime) Health(now time.Time) health.Report {
	s := health.State{Clients: health.Clients{
		Proxy: rt.Suspects.LooksLikeProxy(), Missing: rt.Suspects.WithoutAddress(), Chosen: rt.Suspects.UnstrictServers(),
	}}
	for _, p := range rt.Providers {
		status := p.Guard.Status()
		provider := health.Provider{
			Name: p.Name, Up: status.Up,
			Refused: status.RefusedUntil, Throttled: status.ThrottledUntil, Open: status.OpenUntil,
		}
		for _, w := range status.Windows {
			provider.Windows = append(provider.Windows, health.Window{
				Name: w.Window, Limit: w.Limit, Remaining: w.Remaining(), Reset: w.Reset,
			})
		}
		s.Providers = append(s.Providers, provider)
	}
	for _, k := range rt.Keys(now) {
		s.Keys = append(s.Keys, health.Key{
			Provider: k.Provider, Fingerprint: k.Fingerprint, State: k.State, Expires: k.Expires, Lease: k.Lease,
			Failed: k.Error != "",
		})
	}
	for i, l := range rt.Lists.Status() {
		s.Lists = append(s.Lists, health.List{
			Name: l.Name, Role: rt.ListKinds[i].Kind.String(), Patience: l.Patience,
			Loaded: l.Loaded, Entries: l.Entries, Success: l.LastSuccess, Failed: failed(l.LastResult), Result: l.LastResult,
		})
	}
	if rt.Redis != nil {
		status := rt.Redis.Status()
		s.Redis = &health.Redis{Up: status.Up, Since: status.Since, Result: status.Result}
	}
	if rt.Recorder != nil {
		database, recorded := rt.Database.Status(), rt.Recorder.Status()
		s.History = &health.History{Up: database.Up, Since: database.Since, Queued: recorded.Waiting, Dropped: recorded.Dropped}
		if recorded.Lost != nil {
			s.History.Lost = *recorded.Lost
		}
	}
	if rt.Memory != nil {
		records := rt.Memory.Records
		s.Memory = &health.Memory{Records: records.Len(), Capacity: records.Cap(), Evictions: records.Evictions()}
	}
	return health.Judge(s, now)
}

// failed reports whether the last attempt to refresh a list has brought nothing.
func failed(result string) bool {
	switch result {
	case "", feed.ResultOK.String(), feed.ResultUnchanged.String(), feed.ResultNotStored.String():
		return false
	}
	return true
}
