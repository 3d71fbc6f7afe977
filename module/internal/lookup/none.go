package lookup

import (
	"context"
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// What an Engine uses in place of what its Config leaves out.

type noTracer struct{}

func (noTracer) Start(base, _ context.Context) (context.Context, func(reputation.Origin)) {
	return base, nil
}
func (noTracer) Wait(_, _ context.Context) func(reputation.Verdict, bool) { return nil }

type noDatabases struct{}

func (noDatabases) Facts(netip.Addr) reputation.Facts { return reputation.Facts{} }

type noOverrides struct{}

func (noOverrides) Lookup(netip.Addr) (banned, exempt bool) { return false, false }
