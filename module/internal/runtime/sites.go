package runtime

import (
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/routes"
)

// FindSites finds out which sites have the handler in them. All apps are provisioned by then, and some may be started:
// the sites serve requests already.
func (rt *Runtime) FindSites(ctx caddy.Context) {
	loaded, err := ctx.AppIfConfigured("http")
	app, ok := loaded.(*caddyhttp.App)
	if err != nil || !ok {
		return
	}
	rt.findSites(app.Servers)
}

func (rt *Runtime) findSites(servers map[string]*caddyhttp.Server) {
	rt.sites = routes.FindSites(servers)
	proxies := routes.TrustedProxies(servers)
	rt.Conduct.Proxies.Store(&proxies)
	rt.logRoutes(servers)
}

// logRoutes logs through which servers a client or a proxy can do harm.
func (rt *Runtime) logRoutes(servers map[string]*caddyhttp.Server) {
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		server := servers[name]
		if sites := routes.ForgeableErrors(server); len(sites) > 0 {
			rt.Logger.Warn("requests that fail before any handler reach an application with the headers that the client forged",
				slog.String("server", name), slog.String("sites", strings.Join(sites, ", ")),
				slog.String("cure", "write ip_reputation first in handle_errors"))
		}
		if routes.DropsForProxies(server) {
			rt.Logger.Info("drop acts as block for requests from a trusted proxy", slog.String("server", name))
		}
	}
}
