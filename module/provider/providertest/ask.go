package providertest

import (
	"context"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Ask calls Check, and fails the test if it breaks the part of the contract that does not depend on the
// service's protocol: it returns, without a panic, a report within its ranges and the profile's capabilities, or
// an error; and neither the error nor the standard library's log holds the key or the visitor's address. It
// is for services that are not asked over HTTP, for which Run does the same in each of its tests.
func Ask(ctx context.Context, tb testing.TB, p reputation.Provider, q reputation.Query) (reputation.Report, error) {
	tb.Helper()
	t := &fixture{provider: p, timeout: 20 * time.Second}
	o, err := t.askWith(ctx, q.Addr, q.Key)
	if err != nil {
		tb.Error(err)
	}
	return o.report, o.err
}
