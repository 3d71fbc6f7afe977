package module

import (
	"context"
	"net/netip"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func init() { caddy.RegisterModule(benchService{}) }

// benchService is a service that answers from memory: 203.0.113.0/24 is abusive, the rest is clean.
type benchService struct{}

func (benchService) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ip_reputation.providers.bench", New: func() caddy.Module { return new(benchService) }}
}

func (benchService) Profile() reputation.Profile {
	return reputation.Profile{Name: "bench", Key: reputation.KeyOptional}
}

func (benchService) Check(_ context.Context, q reputation.Query) (reputation.Report, error) {
	if netip.MustParsePrefix("203.0.113.0/24").Contains(q.Addr) {
		return reputation.Report{Severity: .9, Confidence: .9, Categories: reputation.CategoriesOf(reputation.Abuse)}, nil
	}
	return reputation.Report{}, nil
}

// TellBurstsAtOnce does without the minutes of history that a burst of blocks is measured by.
func TellBurstsAtOnce(tb testing.TB) {
	tb.Helper()
	history := events.History
	events.History = 0
	tb.Cleanup(func() { events.History = history })
}
