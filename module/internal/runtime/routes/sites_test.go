package routes

import (
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
)

// judge stands in for the handler, which this package does not know.
type judge struct{ caddyhttp.MiddlewareHandler }

func (judge) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.ip_reputation"}
}

func handlers(list ...caddyhttp.MiddlewareHandler) []caddyhttp.MiddlewareHandler { return list }

// of is a route as Caddy provisions it.
func of(host string, handlers ...caddyhttp.MiddlewareHandler) caddyhttp.Route {
	route := caddyhttp.Route{Handlers: handlers}
	if host != "" {
		route.MatcherSets = caddyhttp.MatcherSets{{&caddyhttp.MatchHost{host}}}
	}
	return route
}

func under(handlers ...caddyhttp.MiddlewareHandler) *caddyhttp.Subroute {
	return &caddyhttp.Subroute{Routes: caddyhttp.RouteList{of("", handlers...)}}
}

func TestFindSites(t *testing.T) {
	answer := new(caddyhttp.StaticResponse)
	redirect := caddyhttp.Route{
		MatcherSets: caddyhttp.MatcherSets{{caddyhttp.MatchProtocol("http"), caddyhttp.MatchHost{"a.example"}}},
		Handlers:    handlers(caddyhttp.StaticResponse{StatusCode: "308", Headers: http.Header{"Location": nil}, Close: true}),
	}
	path := of("", judge{}, answer)
	path.MatcherSets = caddyhttp.MatcherSets{{&caddyhttp.MatchPath{"/api/*"}}}
	type servers = map[string]caddyhttp.RouteList
	for name, tc := range map[string]struct {
		servers servers
		want    health.Sites
	}{
		"none":              {servers{}, health.Sites{}},
		"a site":            {servers{"s": {of("a.example", under(judge{}, answer))}}, health.Sites{All: 1, Protected: 1}},
		"a site without it": {servers{"s": {of("a.example", answer)}}, health.Sites{All: 1, Without: []string{"a.example"}}},
		"some of many": {
			servers{"s": {of("c.example", answer), of("b.example", under(judge{}, answer)), of("a.example", under(answer))}},
			health.Sites{All: 3, Protected: 1, Without: []string{"a.example", "c.example"}},
		},
		"a route for all comes first": {
			servers{"s": {of("", judge{}), of("a.example", answer), of("b.example", answer)}}, health.Sites{All: 2, Protected: 2},
		},
		"a route for all comes last": {
			servers{"s": {of("a.example", answer), of("", judge{}, answer)}},
			health.Sites{All: 2, Protected: 1, Without: []string{"a.example"}},
		},
		"some paths of a site without a host": {servers{"s": {path, of("", answer)}}, health.Sites{All: 1, Protected: 1}},
		"only for errors": {
			servers{"s": {of("a.example", &caddyhttp.Subroute{
				Routes: caddyhttp.RouteList{of("", answer)},
				Errors: &caddyhttp.HTTPErrorConfig{Routes: caddyhttp.RouteList{of("", judge{})}},
			})}},
			health.Sites{All: 1, Without: []string{"a.example"}},
		},
		"one host, of which HTTP is without it": {
			servers{"s": {of("a.example", judge{}, answer)}, "t": {of("a.example", answer)}},
			health.Sites{All: 1, Without: []string{"a.example"}},
		},
		"a host in two routes": {
			servers{"s": {of("a.example", judge{}), of("a.example", answer)}}, health.Sites{All: 1, Protected: 1},
		},
		"redirects": {
			servers{"s": {of("a.example", judge{}, answer)}, "remaining_auto_https_redirects": {redirect}},
			health.Sites{All: 1, Protected: 1, Redirects: true},
		},
		"a named route": {
			servers{"s": {of("a.example", &caddyhttp.Invoke{Name: "mine"})}}, health.Sites{All: 1, Protected: 1},
		},
		"a named route that invokes itself": {
			servers{"s": {of("a.example", &caddyhttp.Invoke{Name: "loop"})}},
			health.Sites{All: 1, Without: []string{"a.example"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			all := map[string]*caddyhttp.Server{}
			for name, routes := range tc.servers {
				mine, loop := of("", judge{}), of("", &caddyhttp.Invoke{Name: "loop"})
				all[name] = &caddyhttp.Server{
					Listen: []string{":443"}, Routes: routes,
					NamedRoutes: map[string]*caddyhttp.Route{"mine": &mine, "loop": &loop},
				}
			}
			if diff := cmp.Diff(&tc.want, FindSites(all)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSitesAreBounded(t *testing.T) {
	server := &caddyhttp.Server{}
	for i := range 1000 {
		server.Routes = append(server.Routes, of(string(rune('a'+i%26))+string(rune('a'+i/26))+".example", new(caddyhttp.StaticResponse)))
	}
	if s := FindSites(map[string]*caddyhttp.Server{"s": server}); s.All != 1000 || len(s.Without) != health.MaxSites {
		t.Errorf("%d sites, %d of them named", s.All, len(s.Without))
	}
}
