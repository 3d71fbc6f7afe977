package runtime

import (
	"path/filepath"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
)

// UseViolations makes what sites and the look-up API need to count violations. What is counted
// outlives reloads.
func (rt *Runtime) UseViolations() (err error) {
	if rt.violations != nil {
		return nil
	}
	path := filepath.Join(DataFolder(), "violations.bin")
	rt.violations, err = Share(&rt.Leases, "violations "+path, func() (*violation.Store, func() error, error) {
		store := violation.Open(path, violation.Options{Logger: ProcessLogger("violations"), Detached: true})
		return store, rt.Folder.closing(store, store.Close), nil
	})
	return err
}

// ViolationStore is where violations are counted: nil until a site or the look-up API uses it.
func (rt *Runtime) ViolationStore() *violation.Store { return rt.violations }
