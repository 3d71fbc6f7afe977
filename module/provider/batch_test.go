package provider

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func init() { caddy.RegisterModule(halfBulk{}) }

// halfBulk says that it is asked about several addresses, and cannot be.
type halfBulk struct{}

func (halfBulk) Profile() reputation.Profile {
	return reputation.Profile{Name: "half_bulk", Batch: 10, Key: reputation.KeyNone, Rate: "1/4s"}
}

func (halfBulk) Check(context.Context, reputation.Query) (reputation.Report, error) {
	return reputation.Report{}, reputation.ErrUnknown
}

func (halfBulk) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ip_reputation.providers.half_bulk", New: func() caddy.Module { return new(halfBulk) }}
}

func TestABatchNeedsItsMethod(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	p := &Provider{ServiceRaw: json.RawMessage(`{"service":"half_bulk"}`)}
	_, err := p.load(ctx)
	if err == nil || !strings.Contains(err.Error(), "lacks the CheckAll method") {
		t.Errorf("the error is %v", err)
	}
}

// TestLookupsAreAsPatientAsTheirProviders proves that a look-up lasts as long as a call may wait for the one before it and
// for the rate, and then be under way.
func TestLookupsAreAsPatientAsTheirProviders(t *testing.T) {
	for name, tc := range map[string]struct {
		provider  Provider
		low, high time.Duration
	}{
		"one by one":   {Provider{ServiceRaw: json.RawMessage(`{"service":"absent"}`), Timeout: caddy.Duration(7 * time.Second)}, 7 * time.Second, 7 * time.Second},
		"by default":   {Provider{}, 2 * time.Second, 2 * time.Second},
		"together":     {Provider{ServiceRaw: json.RawMessage(`{"service":"half_bulk"}`)}, 8 * time.Second, 9 * time.Second},
		"a slow rate":  {Provider{ServiceRaw: json.RawMessage(`{"service":"half_bulk"}`), Rate: "1/1m"}, 14 * time.Second, 15 * time.Second},
		"another time": {Provider{ServiceRaw: json.RawMessage(`{"service":"half_bulk"}`), Timeout: caddy.Duration(time.Minute)}, 124 * time.Second, 125 * time.Second},
	} {
		if got := tc.provider.Longest(); got < tc.low || got > tc.high {
			t.Errorf("%s: %s, want %s to %s", name, got, tc.low, tc.high)
		}
	}
}
