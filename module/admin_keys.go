package module

import (
	"net/http"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/api"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
)

// adminKeys answers GET keys: those that end first come first.
func (a *App) adminKeys(*http.Request, string) (any, error) {
	keys := a.keys(time.Now())
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

// keys are the keys of all providers, in the order written.
func (a *App) keys(now time.Time) []adminapi.Key {
	keepers := map[string]*quota.Keeper{}
	for _, p := range a.keepers {
		keepers[p.name] = p.keeper
	}
	keys, used := []adminapi.Key{}, map[string]bool{}
	for _, s := range a.secrets {
		status := s.Status()
		k := adminapi.Key{
			Provider: status.Name, Fingerprint: status.Fingerprint, Source: status.Source, State: health.KeyInUse,
			Refreshed: status.Fetched, Expires: status.Expires, Lease: status.Lease, Error: status.Error,
		}
		value, ok := s.Current()
		if keeper := keepers[status.Name]; ok && keeper != nil {
			k.SetAside, k.Retry = keeper.Refused(value)
		}
		switch {
		case !ok:
			k.State = health.KeyWaiting
		case isAPIToken(k.Provider) && api.CheckToken(value) != nil:
			k.State = health.KeyUnfit
		case isAPIToken(k.Provider) && !k.Expires.IsZero() && !now.Before(k.Expires):
			k.State = health.KeyOver
		case !k.Retry.IsZero():
			k.State = health.KeySetAside
		case used[k.Provider] && keepers[k.Provider] != nil:
			k.State = health.KeyInReserve
		default:
			used[k.Provider] = true
		}
		if !k.Expires.IsZero() {
			k.DaysLeft = new(health.Days(k.Expires.Sub(now)))
		}
		keys = append(keys, k)
	}
	return keys
}

// waitsForKey reports whether a provider has keys, of which none has come yet.
func (a *App) waitsForKey(provider string) bool {
	waits := false
	for _, s := range a.secrets {
		if s.Status().Name != provider {
			continue
		}
		if _, ok := s.Current(); ok {
			return false
		}
		waits = true
	}
	return waits
}
