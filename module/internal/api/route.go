package api

import (
	"net/http"
	"strings"
)

// Route identifies an endpoint.
type Route uint8

// The routes.
const (
	RouteNone       Route = iota // no endpoint has the path
	RouteAddress                 // GET /v1/ip/{address}
	RouteAddresses               // POST /v1/ip
	RouteMe                      // GET /v1/me
	RouteHistory                 // GET /v1/ip/{address}/history
	RouteWorst                   // GET /v1/history/worst
	RouteRules                   // GET /v1/history/rules
	RouteHealth                  // GET /v1/health
	RouteOpenAPI                 // GET /openapi.json
	RouteViolations              // POST /v1/violations

	// NumRoutes is the number of routes.
	NumRoutes
)

var routeNames = [NumRoutes]string{
	RouteNone: "none", RouteAddress: "address", RouteAddresses: "addresses", RouteMe: "me", RouteHistory: "history",
	RouteWorst: "worst", RouteRules: "rules", RouteHealth: "health", RouteOpenAPI: "openapi",
	RouteViolations: "violations",
}

// String returns the name of the route.
func (r Route) String() string {
	if r < NumRoutes {
		return routeNames[r]
	}
	return routeNames[RouteNone]
}

// RouteNames returns the names of all routes, in their order.
func RouteNames() []string { return routeNames[:] }

// endpoint serves the requests of a route.
type endpoint struct {
	method string
	scope  Scope // that the token needs; 0: no token needed
	serve  func(*Handler, *request) (response, error)
}

var endpoints = [NumRoutes]endpoint{
	RouteAddress:    {http.MethodGet, ScopeRead, (*Handler).address},
	RouteAddresses:  {http.MethodPost, ScopeRead, (*Handler).addresses},
	RouteMe:         {http.MethodGet, ScopeRead, (*Handler).me},
	RouteHistory:    {http.MethodGet, ScopeHistory, (*Handler).history},
	RouteWorst:      {http.MethodGet, ScopeHistory, (*Handler).worst},
	RouteRules:      {http.MethodGet, ScopeHistory, (*Handler).rules},
	RouteHealth:     {http.MethodGet, 0, (*Handler).health},
	RouteOpenAPI:    {http.MethodGet, 0, (*Handler).openAPI},
	RouteViolations: {http.MethodPost, ScopeViolations, (*Handler).violations},
}

// allow returns the value of the Allow header.
func (e *endpoint) allow() string {
	if e.method == http.MethodGet {
		return "GET, HEAD, OPTIONS"
	}
	return e.method + ", OPTIONS"
}

var fixedPaths = map[string]Route{
	"/v1/ip": RouteAddresses, "/v1/me": RouteMe, "/v1/history/worst": RouteWorst, "/v1/history/rules": RouteRules,
	"/v1/health": RouteHealth, "/openapi.json": RouteOpenAPI, "/v1/violations": RouteViolations,
}

// routeOf returns the route of a path, and the address in it.
func routeOf(path string) (route Route, address string) {
	if route, ok := fixedPaths[path]; ok {
		return route, ""
	}
	rest, ok := strings.CutPrefix(path, "/v1/ip/")
	if !ok || rest == "" {
		return RouteNone, ""
	}
	address, rest, deeper := strings.Cut(rest, "/")
	switch {
	case address == "":
		return RouteNone, ""
	case !deeper:
		return RouteAddress, address
	case rest == "history":
		return RouteHistory, address
	}
	return RouteNone, ""
}
