package runtime

import (
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
)

// named stands in for a handler.
type named struct {
	caddyhttp.MiddlewareHandler
	id caddy.ModuleID
}

func (n named) CaddyModule() caddy.ModuleInfo { return caddy.ModuleInfo{ID: n.id} }

// TestRequestsComeBeforeSitesAreFound proves, by the race detector, that requests may be served meanwhile: Caddy may start
// its HTTP app before ours.
func TestRequestsComeBeforeSitesAreFound(t *testing.T) {
	rt := bare(t)
	var requests sync.WaitGroup
	for range 2 {
		requests.Go(func() {
			for range 100 {
				if why := rt.Conduct.SpareAddr(netip.MustParseAddr("203.0.113.5")); why != "" {
					t.Errorf("spared: %s", why)
					return
				}
			}
		})
	}
	rt.findSites(map[string]*caddyhttp.Server{"srv0": {Listen: []string{":443"}}})
	requests.Wait()
}

// TestForgeableErrorsAreLogged proves that the log names a server whose error routes hand on what clients forge.
func TestForgeableErrorsAreLogged(t *testing.T) {
	ours, app := named{id: "http.handlers.ip_reputation"}, named{id: "http.handlers.reverse_proxy"}
	to := func(handlers ...caddyhttp.MiddlewareHandler) caddyhttp.RouteList {
		return caddyhttp.RouteList{{Handlers: handlers}}
	}
	var log logtest.Log
	rt := &Runtime{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	rt.logRoutes(map[string]*caddyhttp.Server{
		"forgeable": {Listen: []string{":443"}, Routes: to(ours, app), Errors: &caddyhttp.HTTPErrorConfig{Routes: to(app)}},
		"stripped":  {Listen: []string{":444"}, Routes: to(ours, app), Errors: &caddyhttp.HTTPErrorConfig{Routes: to(ours, app)}},
	})
	got := log.Take()
	if strings.Count(got, "\n") != 1 || !strings.Contains(got, "server=forgeable sites=:443") ||
		!strings.Contains(got, "write ip_reputation first in handle_errors") {
		t.Errorf("logged %q", got)
	}
}
