package module

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
)

func init() {
	caddy.RegisterModule(new(Health))
}

// Health answers load balancers, Kubernetes and operators: whether this Caddy is alive, whether it can serve, and how lists,
// providers, keys and Redis are doing. It answers from what this instance knows and asks nobody, in the format
// `application/health+json`. It is for GET and HEAD; whom it answers is for the route to say.
type Health struct {
	// What to answer. `live`: 200 as long as the process can answer. `ready`: 200 while it can serve, and 503 from the moment
	// on when it is told to stop, which `shutdown_delay` of the http app puts before the end; whatever else is down (Redis,
	// a provider, a feed) does not change it, since requests are served without it. `detail`: as `ready`, with the state of
	// every component and what somebody should look at. It holds no secrets, but is not for the public: it names your
	// sources, and shows when they are down. Default: `ready`.
	Form string `json:"form,omitempty"`

	form healthForm
}

type healthForm uint8

const (
	formReady healthForm = iota
	formLive
	formDetail
)

// CaddyModule returns the Caddy module information.
func (*Health) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.ip_reputation_health",
		New: func() caddy.Module { return new(Health) },
	}
}

// CheckForm reports whether there is no such form of an answer.
func CheckForm(form string) error {
	_, err := parseForm(form)
	return err
}

func parseForm(text string) (healthForm, error) {
	switch text {
	case "", "ready":
		return formReady, nil
	case "live":
		return formLive, nil
	case "detail":
		return formDetail, nil
	}
	return 0, fmt.Errorf("unknown form %q of ip_reputation_health: use live, ready or detail", text)
}

// Provision makes sure that there is an app to speak of.
func (h *Health) Provision(ctx caddy.Context) (err error) {
	if h.form, err = parseForm(h.Form); err != nil {
		return err
	}
	_, err = appOf(ctx)
	return err
}

// ServeHTTP answers, and hands nothing on.
func (h *Health) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return nil
	}
	report := health.Report{Status: health.Pass}
	switch app := serving(r); {
	case h.form == formLive:
	case h.form == formDetail && app != nil:
		report = app.health(time.Now())
	case app == nil:
		report = health.Report{Status: health.Fail, Output: "caddy is starting or stopping"}
	}
	body, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("writing how this instance is doing: %w", err)
	}
	w.Header().Set("Content-Type", "application/health+json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if report.Status == health.Fail {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write(body)
	return nil
}

// serving returns the app that serves, or nil when none does for much longer: when Caddy, or this server of it, was told to
// stop, or is not started yet. An app that a reload has replaced is no reason, since another one serves.
func serving(r *http.Request) *App {
	if caddy.Exiting() {
		return nil
	}
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		if stopping, _ := repl.Get("http.shutting_down"); stopping == true {
			return nil
		}
	}
	return running.current()
}

// health says how this instance is doing.
func (a *App) health(now time.Time) health.Report {
	s := health.State{Clients: health.Clients{
		Proxy: a.suspects.found(), Missing: a.suspects.missed(), Chosen: a.suspects.unstrictServers(),
	}}
	for _, p := range a.keepers {
		status := p.keeper.Status()
		provider := health.Provider{
			Name: p.name, Up: status.Up,
			Refused: status.RefusedUntil, Throttled: status.ThrottledUntil, Open: status.OpenUntil,
		}
		for _, w := range status.Windows {
			provider.Windows = append(provider.Windows, health.Window{
				Name: w.Window, Limit: w.Limit, Remaining: w.Remaining(), Reset: w.Reset,
			})
		}
		s.Providers = append(s.Providers, provider)
	}
	for _, k := range a.keys(now) {
		s.Keys = append(s.Keys, health.Key{
			Provider: k.Provider, Fingerprint: k.Fingerprint, State: k.State, Expires: k.Expires, Lease: k.Lease,
			Failed: k.Error != "",
		})
	}
	for i, l := range a.lists.Status() {
		s.Lists = append(s.Lists, health.List{
			Name: l.Name, Role: kindWord(a.meanings[i].Kind), Patience: l.Patience,
			Loaded: l.Loaded, Entries: l.Entries, Success: l.LastSuccess, Failed: failed(l.LastResult), Result: l.LastResult,
		})
	}
	if a.redis != nil {
		status := a.redis.Status()
		s.Redis = &health.Redis{Up: status.Up, Since: status.Since, Result: status.Result}
	}
	if a.recorder != nil {
		database, recorded := a.database.Status(), a.recorder.Status()
		s.History = &health.History{Up: database.Up, Since: database.Since, Queued: recorded.Waiting, Dropped: recorded.Dropped}
		if recorded.Lost != nil {
			s.History.Lost = *recorded.Lost
		}
	}
	if a.memory != nil {
		records := a.memory.records
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

// Interface guards
var (
	_ caddy.Provisioner           = (*Health)(nil)
	_ caddyhttp.MiddlewareHandler = (*Health)(nil)
)
