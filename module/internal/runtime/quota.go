package runtime

import (
	"encoding/json"
	"path/filepath"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
)

// OpenLedger finds or makes what counts the calls to providers: for this instance, or for all that share a Redis.
func (rt *Runtime) OpenLedger() error {
	path := filepath.Join(DataFolder(), "quota.json")
	local, err := Share(&rt.Leases, "ledger "+path, func() (*ledger.Local, func() error, error) {
		l := ledger.OpenLocal(path, ProcessLogger("quota"))
		l.Detach()
		return l, rt.Folder.closing(l, l.Close), nil
	})
	if err != nil {
		return err
	}
	rt.Ledger = local
	if rt.Redis != nil {
		rt.Ledger = ledger.NewShared(tracedCounts{rt.Redis.Client}, local, rt.LocalShare, ProcessLogger("quota"))
	}
	return nil
}

// OpenBudget returns the state of the provider with these settings: what a wrong address or another account
// has led to must not hold back the right one.
func (rt *Runtime) OpenBudget(name string, service []byte) (*quota.Budget, error) {
	hash, err := Hash(json.RawMessage(service))
	if err != nil {
		return nil, err
	}
	return Share(&rt.Leases, "budget "+name+" "+hash, func() (*quota.Budget, func() error, error) {
		return quota.NewBudget(), nil, nil
	})
}
