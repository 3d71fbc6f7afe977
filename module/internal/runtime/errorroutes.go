package runtime

import (
	"log/slog"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// warnErrorRoutes warns of error routes through which an application gets what clients forge.
func (rt *Runtime) warnErrorRoutes(servers map[string]*caddyhttp.Server) {
	for name, server := range servers {
		sites := forgeableErrors(server)
		if len(sites) == 0 {
			continue
		}
		rt.Logger.Warn("requests that fail before any handler reach an application with the headers that the client forged",
			slog.String("server", name), slog.String("sites", strings.Join(sites, ", ")),
			slog.String("cure", "write ip_reputation first in handle_errors"))
	}
}

// maxForgeable bounds how many sites one warning names.
const maxForgeable = 10

// forgeableErrors returns the sites of a server whose error routes hand requests on to an application, and have no
// handler that removes what clients forge. A server without the handler has no application that believes our headers.
func forgeableErrors(server *caddyhttp.Server) (sites []string) {
	has := func(route caddyhttp.Route) bool { return hasHandler(server, route.Handlers, 0) }
	if server.Errors == nil || !slices.ContainsFunc(server.Routes, has) {
		return nil
	}
	for i := range server.Errors.Routes {
		route := &server.Errors.Routes[i]
		if has(*route) {
			if len(route.MatcherSets) == 0 {
				break // it is there for all routes that follow
			}
			continue
		}
		if len(sites) < maxForgeable && containsHandler(server, route.Handlers, 0, forwards) {
			site := strings.Join(hostsOf(route), ", ")
			if site == "" {
				site = strings.Join(server.Listen, " ")
			}
			sites = append(sites, site)
		}
	}
	return sites
}

// forwarding are the handlers that hand a request on to an application. php is FrankenPHP's; php_fastcgi is a
// reverse_proxy.
var forwarding = []caddy.ModuleID{"http.handlers.reverse_proxy", "http.handlers.php", "http.handlers.cgi"}

func forwards(h caddyhttp.MiddlewareHandler) bool {
	module, ok := h.(caddy.Module)
	return ok && slices.Contains(forwarding, module.CaddyModule().ID)
}
