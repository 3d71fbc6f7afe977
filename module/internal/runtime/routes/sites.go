// Package routes finds out what the routes of Caddy's HTTP app do with requests: which sites have the handler in them,
// and which let a client or a proxy suffer for it.
package routes

import (
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
)

// FindSites counts the sites of all servers. A site is a host that a server's routes ask for. The routes of a server that
// ask for none are one site together, named after where the server listens. A host of several servers is one site, which
// needs the handler on each.
func FindSites(servers map[string]*caddyhttp.Server) *health.Sites {
	found := &health.Sites{}
	protected := map[string]bool{}
	for _, server := range servers {
		for host, is := range sitesOf(server, &found.Redirects) {
			already, known := protected[host]
			protected[host] = is && (already || !known)
		}
	}
	found.All = len(protected)
	for _, host := range slices.Sorted(maps.Keys(protected)) {
		switch {
		case protected[host]:
			found.Protected++
		case len(found.Without) < health.MaxSites:
			found.Without = append(found.Without, host)
		}
	}
	return found
}

// sitesOf returns the sites of one server, and whether each has the handler in it.
func sitesOf(server *caddyhttp.Server, redirects *bool) map[string]bool {
	sites := map[string]bool{}
	everywhere := false // a route for all requests has the handler, and comes first
	for i := range server.Routes {
		route := &server.Routes[i]
		if isRedirect(route) {
			*redirects = true
			continue
		}
		has := everywhere || hasHandler(server, route.Handlers, 0)
		hosts := hostsOf(route)
		for _, host := range hosts {
			sites[host] = sites[host] || has
		}
		if len(hosts) > 0 {
			continue
		}
		everywhere = everywhere || has && len(route.MatcherSets) == 0
		if !slices.ContainsFunc(route.Handlers, func(h caddyhttp.MiddlewareHandler) bool { return !isHandler(h) }) {
			continue // it answers nobody
		}
		rest := strings.Join(server.Listen, " ")
		sites[rest] = sites[rest] || has
	}
	return sites
}

// isRedirect reports whether Caddy has made a route to redirect from HTTP to HTTPS: what a configuration says is loaded
// as a pointer.
func isRedirect(route *caddyhttp.Route) bool {
	if len(route.Handlers) != 1 {
		return false
	}
	_, made := route.Handlers[0].(caddyhttp.StaticResponse)
	return made
}

// hostsOf returns the hosts that a route asks for.
func hostsOf(route *caddyhttp.Route) (hosts []string) {
	for _, set := range route.MatcherSets {
		for _, matcher := range set {
			switch m := matcher.(type) {
			case caddyhttp.MatchHost:
				hosts = append(hosts, m...)
			case *caddyhttp.MatchHost:
				hosts = append(hosts, *m...)
			}
		}
	}
	return hosts
}

// maxNesting bounds the search: named routes can invoke each other.
const maxNesting = 32

// hasHandler reports whether the handler is among others, or in a route below them. Routes for errors do not count: in
// them it decides nothing.
func hasHandler(server *caddyhttp.Server, handlers []caddyhttp.MiddlewareHandler, depth int) bool {
	return containsHandler(server, handlers, depth, isHandler)
}

// containsHandler reports whether a handler of a kind is among others, or in a route below them.
func containsHandler(
	server *caddyhttp.Server, handlers []caddyhttp.MiddlewareHandler, depth int, is func(caddyhttp.MiddlewareHandler) bool,
) bool {
	if depth > maxNesting {
		return false
	}
	below := func(route caddyhttp.Route) bool { return containsHandler(server, route.Handlers, depth+1, is) }
	return slices.ContainsFunc(handlers, func(h caddyhttp.MiddlewareHandler) bool {
		switch h := h.(type) {
		case *caddyhttp.Subroute:
			return slices.ContainsFunc(h.Routes, below)
		case *caddyhttp.Invoke:
			route := server.NamedRoutes[h.Name]
			return route != nil && below(*route)
		}
		return is(h)
	})
}

func isHandler(h caddyhttp.MiddlewareHandler) bool {
	module, ok := h.(caddy.Module)
	return ok && module.CaddyModule().ID == "http.handlers.ip_reputation"
}
