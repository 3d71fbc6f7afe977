package routes

import (
	"reflect"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// DropsForProxies reports whether a server has both a `drop` and trusted proxies: a proxy would take a site for dead that
// closes connections.
func DropsForProxies(server *caddyhttp.Server) bool {
	has := func(route caddyhttp.Route) bool { return containsHandler(server, route.Handlers, 0, hasDrop) }
	return trustsProxies(server) && slices.ContainsFunc(server.Routes, has)
}

// hasDrop reports whether a handler is ours and has a rule that drops.
func hasDrop(h caddyhttp.MiddlewareHandler) bool {
	site, ours := h.(interface{ Drops() bool })
	return ours && isHandler(h) && site.Drops()
}

// trustsProxies reports whether a server has `trusted_proxies`. Caddy clears the exported setting once it has loaded the
// module that it names, and keeps the module in a field of its own.
func trustsProxies(server *caddyhttp.Server) bool {
	field := reflect.ValueOf(server).Elem().FieldByName("trustedProxies")
	return server.TrustedProxiesUnix || field.Kind() == reflect.Interface && !field.IsNil()
}
