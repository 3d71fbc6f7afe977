package runtime

import (
	"encoding/json"
	"path/filepath"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
)

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
