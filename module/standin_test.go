package module

import (
	"context"
	"net/netip"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func init() { caddy.RegisterModule(benchService{}) }

// benchService is a service that answers from memory: 203.0.113.0/24 is abusive, the rest is clean.
type benchService struct{}

func (benchService) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ip_reputation.providers.bench", New: func() caddy.Module { return new(benchService) }}
}

func (benchService) KeyOptional() bool { return true }

func (benchService) Check(_ context.Context, addr netip.Addr) (reputation.Report, error) {
	if netip.MustParsePrefix("203.0.113.0/24").Contains(addr) {
		return reputation.Report{Severity: .9, Confidence: .9, Categories: reputation.CategoriesOf(reputation.Abuse)}, nil
	}
	return reputation.Report{}, nil
}
