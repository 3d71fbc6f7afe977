package admin

import (
	"net/http"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
)

// serveKeys answers GET keys: those that end first come first.
func serveKeys(rt *runtime.Runtime, _ *http.Request, _ string) (any, error) {
	now, keys := time.Now(), []adminapi.Key{}
	for _, k := range rt.Keys(now) {
		keys = append(keys, adminapi.KeyOf(k, now))
	}
	slices.SortStableFunc(keys, func(x, y adminapi.Key) int {
		switch none := x.Expires.IsZero(); {
		case none != y.Expires.IsZero() && none:
			return 1
		case none != y.Expires.IsZero():
			return -1
		}
		return x.Expires.Compare(y.Expires)
	})
	return keys, nil
}
