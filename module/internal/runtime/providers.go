package runtime

import (
	"context"
	"encoding/json"
	"path/filepath"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/conduct"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
)

// Provider is a configured provider, held to its terms.
type Provider struct {
	Name    string
	Service string // the module that asks it
	Terms   string // of use, in a line
	Guard   *quota.Guard

	// Probe asks the service something harmless, within its terms and with a key that it accepts.
	Probe func(context.Context) error

	// Reports is nil for a provider that is sent no reports.
	Reports *conduct.ReportsTo
}

// OpenLedger finds or makes what counts the calls to providers: for this instance, or for all that share a Redis.
func (rt *Runtime) OpenLedger() error {
	path := filepath.Join(process.DataFolder(), "quota.json")
	local, err := process.Share(&rt.Leases, "ledger "+path, func() (*ledger.Local, func() error, error) {
		l := ledger.OpenLocal(path, ProcessLogger("quota"))
		l.Detach()
		return l, rt.Folder.Closing(l, l.Close), nil
	})
	if err != nil {
		return err
	}
	rt.Ledger = local
	if rt.Redis != nil {
		rt.Ledger = ledger.NewShared(request.TracedCounts{Store: rt.Redis.Client}, local, rt.LocalShare, ProcessLogger("quota"))
	}
	return nil
}

// OpenBudget returns the state of the provider with these settings: what a wrong address or another account
// has led to must not hold back the right one.
func (rt *Runtime) OpenBudget(name string, service []byte) (*quota.Budget, error) {
	hash, err := process.Hash(json.RawMessage(service))
	if err != nil {
		return nil, err
	}
	return process.Share(&rt.Leases, "budget "+name+" "+hash, func() (*quota.Budget, func() error, error) {
		return quota.NewBudget(), nil, nil
	})
}

// startSelfTests tests, in the background, the providers that are believed only while they pass.
func (rt *Runtime) startSelfTests(ctx context.Context) {
	for _, p := range rt.Providers {
		if _, has := p.Guard.NextTest(); has {
			process.Background.Keep(ctx, rt.Logger, "testing provider "+p.Name, p.keepTested)
		}
	}
}

// selfTestPoll is the time between two looks whether a test is due: a new key makes one due at once.
const selfTestPoll = 5 * time.Second

// keepTested probes the provider whenever a test is due, until ctx ends. The guard knows the result.
func (p Provider) keepTested(ctx context.Context) {
	tick := time.NewTicker(selfTestPoll)
	defer tick.Stop()
	for ctx.Err() == nil {
		if due, _ := p.Guard.NextTest(); !due.After(time.Now()) {
			_ = p.Probe(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}
