package quota

import (
	"context"
	"fmt"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Report sends an incident to the service, within the terms, as Check asks about an address. Services count reports
// apart from other calls, so a provider that does both has two Guards, with a Budget, a name and terms each. Without
// reputation.Reporter it returns reputation.ErrUnsupported.
func (g *Guard) Report(ctx context.Context, key string, i reputation.Incident) error {
	reporter, ok := g.provider.(reputation.Reporter)
	if !ok {
		return fmt.Errorf("report to %s: %w", g.name, reputation.ErrUnsupported)
	}
	q := reputation.Query{Addr: i.Addr, Key: key}
	_, err := g.check(ctx, q, g.terms, func(ctx context.Context, q reputation.Query) (reputation.Report, error) {
		return reputation.Report{}, reporter.Report(ctx, q.Key, i)
	})
	return err
}
