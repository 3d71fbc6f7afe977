package runtime

import (
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/api"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
)

// TokenPrefix tells the names of the look-up API's tokens from those of providers.
const TokenPrefix = "api/"

func isToken(name string) bool { return strings.HasPrefix(name, TokenPrefix) }

// Keys are the keys of all providers, in the order written.
func (rt *Runtime) Keys(now time.Time) []adminapi.Key {
	guards := map[string]*quota.Guard{}
	for _, p := range rt.Providers {
		guards[p.Name] = p.Guard
	}
	keys, used := []adminapi.Key{}, map[string]bool{}
	for _, s := range rt.Secrets {
		status := s.Status()
		k := adminapi.Key{
			Provider: status.Name, Fingerprint: status.Fingerprint, Source: status.Source, State: health.KeyInUse,
			Refreshed: status.Fetched, Expires: status.Expires, Lease: status.Lease, Error: status.Error,
		}
		value, ok := s.Current()
		if guard := guards[status.Name]; ok && guard != nil {
			k.SetAside, k.Retry = guard.Refused(value)
		}
		switch {
		case !ok:
			k.State = health.KeyWaiting
		case isToken(k.Provider) && api.CheckToken(value) != nil:
			k.State = health.KeyUnfit
		case isToken(k.Provider) && !k.Expires.IsZero() && !now.Before(k.Expires):
			k.State = health.KeyOver
		case !k.Retry.IsZero():
			k.State = health.KeySetAside
		case used[k.Provider] && guards[k.Provider] != nil:
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

// WaitsForKey reports whether a provider has keys, of which none has come yet.
func (rt *Runtime) WaitsForKey(provider string) bool {
	waits := false
	for _, s := range rt.Secrets {
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
