package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

const healthDirective = "ip_reputation_health"

func init() {
	httpcaddyfile.RegisterHandlerDirective(healthDirective, parseHealth)
	// before a `handle` or `route` for everything, which would take its requests;
	// after authentication
	httpcaddyfile.RegisterDirectiveOrder(healthDirective, httpcaddyfile.Before, "invoke")
}

// parseHealth reads the health endpoint for load balancers, Kubernetes and operators. Syntax:
//
//	ip_reputation_health [<matcher>] [live|ready|detail]
func parseHealth(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive's name
	var handler health.Health
	args := h.RemainingArgs()
	if len(args) > 1 {
		return nil, h.Errf("%s takes one of live, ready and detail, it has %d: write a line, with a path of its own, for each",
			healthDirective, len(args))
	}
	if len(args) == 1 {
		handler.Form = args[0]
		if err := health.CheckForm(handler.Form); err != nil {
			return nil, h.WrapErr(err)
		}
	}
	if option.OpensBlock(h.Dispenser) {
		return nil, h.Errf("%s takes no block: write live, ready or detail behind it", healthDirective)
	}
	return &handler, nil
}
