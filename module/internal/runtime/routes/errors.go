package routes

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// maxForgeable bounds how many sites are returned.
const maxForgeable = 10

// ForgeableErrors returns the sites of a server whose error routes hand requests on to an application, and have no
// handler that removes what clients forge. A server without the handler has no application that believes our headers.
func ForgeableErrors(server *caddyhttp.Server) (sites []string) {
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
