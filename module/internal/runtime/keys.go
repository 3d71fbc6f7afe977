package runtime

import (
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/api"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
)

// TokenPrefix tells the names of the look-up API's tokens from those of providers.
const TokenPrefix = "api/"

func isToken(name string) bool { return strings.HasPrefix(name, TokenPrefix) }

// Keys are the keys of all providers, in the order written.
func (rt *Runtime) Keys(now time.Time) []health.Key {
	guards := map[string]*quota.Keeper{}
	for _, p := range rt.Providers {
		guards[p.Name] = p.Guard
	}
	keys, used := []health.Key{}, map[string]bool{}
	for _, s := range rt.Secrets {
		k := health.Key{Status: s.Status(), State: health.KeyInUse}
		value, ok := s.Current()
		guard := guards[k.Name]
		if ok && guard != nil {
			k.SetAside, k.Retry = guard.Refused(value)
		}
		switch {
		case !ok:
			k.State = health.KeyWaiting
		case isToken(k.Name) && api.CheckToken(value) != nil:
			k.State = health.KeyUnfit
		case isToken(k.Name) && !k.Expires.IsZero() && !now.Before(k.Expires):
			k.State = health.KeyOver
		case !k.Retry.IsZero():
			k.State = health.KeySetAside
		case used[k.Name] && guard != nil:
			k.State = health.KeyInReserve
		default:
			used[k.Name] = true
		}
		keys = append(keys, k)
	}
	return keys
}
