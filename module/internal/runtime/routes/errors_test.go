package routes

import (
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/go-cmp/cmp"
)

// application stands in for a reverse_proxy.
type application struct{ caddyhttp.MiddlewareHandler }

func (application) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.reverse_proxy"}
}

func TestForgeableErrors(t *testing.T) {
	answer := new(caddyhttp.StaticResponse)
	site := of("a.example", under(judge{}, application{}))
	for name, tc := range map[string]struct {
		routes, errors caddyhttp.RouteList
		want           []string
	}{
		"no error routes":        {caddyhttp.RouteList{site}, nil, nil},
		"a plain page":           {caddyhttp.RouteList{site}, caddyhttp.RouteList{of("a.example", under(answer))}, nil},
		"the application":        {caddyhttp.RouteList{site}, caddyhttp.RouteList{of("a.example", under(application{}))}, []string{"a.example"}},
		"deep":                   {caddyhttp.RouteList{site}, caddyhttp.RouteList{of("a.example", under(under(application{})))}, []string{"a.example"}},
		"with the handler":       {caddyhttp.RouteList{site}, caddyhttp.RouteList{of("a.example", under(judge{}, application{}))}, nil},
		"another site's":         {caddyhttp.RouteList{site}, caddyhttp.RouteList{of("b.example", judge{}), of("a.example", application{})}, []string{"a.example"}},
		"the handler before all": {caddyhttp.RouteList{site}, caddyhttp.RouteList{of("", judge{}), of("a.example", application{})}, nil},
		"all sites":              {caddyhttp.RouteList{site}, caddyhttp.RouteList{of("", application{})}, []string{":443"}},
		"a server without it":    {caddyhttp.RouteList{of("a.example", application{})}, caddyhttp.RouteList{of("", application{})}, nil},
		"a named route":          {caddyhttp.RouteList{site}, caddyhttp.RouteList{of("a.example", &caddyhttp.Invoke{Name: "app"})}, []string{"a.example"}},
	} {
		t.Run(name, func(t *testing.T) {
			app := of("", application{})
			server := &caddyhttp.Server{Listen: []string{":443"}, Routes: tc.routes, NamedRoutes: map[string]*caddyhttp.Route{"app": &app}}
			if tc.errors != nil {
				server.Errors = &caddyhttp.HTTPErrorConfig{Routes: tc.errors}
			}
			if diff := cmp.Diff(tc.want, ForgeableErrors(server)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
