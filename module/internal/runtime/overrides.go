package runtime

import (
	"path/filepath"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
)

// OpenOverrides finds or loads the bans and exemptions made at run time.
func (rt *Runtime) OpenOverrides() (err error) {
	path := filepath.Join(DataFolder(), "bans.json")
	rt.Overrides, err = Share(&rt.Leases, "bans "+path, func() (*ban.Store, func() error, error) {
		store, err := ban.Open(path, ban.Options{Logger: ProcessLogger("bans")})
		if err != nil {
			return nil, nil, err
		}
		return store, store.Close, nil
	})
	return err
}
