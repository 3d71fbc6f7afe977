// Package admin answers for the running configuration on Caddy's admin API.
package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
)

func init() {
	caddy.RegisterModule(Router{})
}

// Router answers for the running app under `/ip_reputation/` of Caddy's admin API:
//
//   - `GET status`: providers, lists, memory, and what is wrong;
//   - `GET keys`: the keys of providers, the one that ends first before the others;
//   - `GET check/{ip}`: what is known of an address and how its score is made; `?fresh` asks the providers anew first;
//   - `GET`, `POST`, `DELETE bans[/{prefix}]` and `exemptions[/{prefix}]`: what is banned or exempt at run time;
//   - `DELETE records/{ip}`: forgets what providers said of an address;
//   - `POST feeds/{name}/refresh`: fetches a list now; `?accept` believes one that shrank;
//   - `GET sources`: each list and service with its terms, key, last answer, and what is left of its quota; `POST
//     sources/probe` asks each once, or the one that `source` names;
//   - `GET reports`: the reports about addresses to services that wait, and the last ones with what became of them;
//     `?dry-run` has those that would have been sent;
//   - `GET requests/{id}`: what was decided about a request, by its ID, and why: of the latest that this process refused or
//     limited, else from the history of the last day, or `from` and `to`; with `?history` from the history only;
//   - `GET history/{ip|prefix}`: what was known of an address or a network and decided about it, the latest first, and a graph
//     in so many `parts`; `?changes`: what changed its verdicts;
//   - `GET history?by=address|network|rule`: the worst addresses or networks, or what rules decided. All of the history takes
//     `from` and `to` (a time, a day, or how long ago), `limit` and `after`.
//
// Answers are JSON. Changes are logged.
type Router struct{}

// CaddyModule returns the Caddy module information.
func (Router) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.ip_reputation",
		New: func() caddy.Module { return new(Router) },
	}
}

// Provision registers the metrics once more: Caddy makes the admin API before the apps, so that after a reload that
// failed, a registry is served that the apps may never have seen. It stores nothing, since Caddy never cleans it up.
func (Router) Provision(ctx caddy.Context) error {
	if err := metrics.Register(ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return nil
}

// Routes implements caddy.AdminRouter.
func (Router) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminapi.Path, Handler: caddy.AdminHandlerFunc(serveAdmin)}}
}

// endpoint answers one method of one path. The argument is the rest of the path.
type endpoint func(rt *runtime.Runtime, r *http.Request, argument string) (any, error)

// endpoints are those of the admin API by path and method. A path that ends in a slash takes an argument,
// which may hold slashes itself.
var endpoints = map[string]map[string]endpoint{
	"status":      {http.MethodGet: serveStatus},
	"keys":        {http.MethodGet: serveKeys},
	"check/":      {http.MethodGet: serveCheck},
	"bans":        {http.MethodGet: bans.list, http.MethodPost: bans.add},
	"bans/":       {http.MethodGet: bans.get, http.MethodDelete: bans.remove},
	"exemptions":  {http.MethodGet: exemptions.list, http.MethodPost: exemptions.add},
	"exemptions/": {http.MethodGet: exemptions.get, http.MethodDelete: exemptions.remove},
	"records/":    {http.MethodDelete: serveForget},
	"feeds/":      {http.MethodPost: serveRefresh},
	"sources":     {http.MethodGet: serveSources},
	"sources/":    {http.MethodPost: serveProbe},
	"reports":     {http.MethodGet: serveReports},
	"requests/":   {http.MethodGet: serveRequest},
	"history":     {http.MethodGet: serveRanking},
	"history/":    {http.MethodGet: serveTimeline},
}

// created is an answer about something that was not there before.
type created struct{ any }

func serveAdmin(w http.ResponseWriter, r *http.Request) error {
	path, argument, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, adminapi.Path), "/")
	if argument != "" {
		path += "/"
	}
	methods, ok := endpoints[path]
	if !ok {
		return adminError(http.StatusNotFound, fmt.Errorf("nothing is at %s: below %s there are %s",
			r.URL.Path, adminapi.Path, strings.Join(slices.Sorted(maps.Keys(endpoints)), ", ")))
	}
	serve, ok := methods[r.Method]
	if !ok {
		allowed := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
		w.Header().Set("Allow", allowed)
		return adminError(http.StatusMethodNotAllowed, fmt.Errorf("%s is not possible here: use %s", r.Method, allowed))
	}
	rt := runtime.Serving()
	if rt == nil {
		return adminError(http.StatusServiceUnavailable,
			errors.New("ip_reputation is not configured in the running Caddy: add it to the global options or to a site"))
	}
	answer, err := serve(rt, r, argument)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if c, ok := answer.(created); ok {
		answer, status = c.any, http.StatusCreated
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(answer)
}

// adminError is an error that Caddy writes as JSON, with a status.
func adminError(status int, err error) error {
	return caddy.APIError{HTTPStatus: status, Err: err}
}

// Interface guards
var (
	_ caddy.AdminRouter = Router{}
	_ caddy.Provisioner = Router{}
)
