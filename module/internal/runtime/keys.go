package runtime

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/api"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
)

// TokenPrefix begins the names of the look-up API's tokens. Names of providers hold no slash.
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

// expiry remembers over reloads what was logged of which key.
var expiry secret.Expiry

// startSecrets starts to keep the secrets current, and to watch when they end.
func (rt *Runtime) startSecrets() {
	if len(rt.Secrets) == 0 {
		return
	}
	for _, s := range rt.Secrets {
		s.Start()
	}
	ctx, cancel := context.WithCancel(context.Background())
	rt.stopSecrets = cancel
	Background.Go(func(context.Context) { rt.supervise(ctx, "looking at when keys end", rt.watchExpiry) })
}

// watchExpiry logs each day which keys end soon.
func (rt *Runtime) watchExpiry(ctx context.Context) {
	list := func() (all []secret.Status) {
		for _, s := range rt.Secrets {
			all = append(all, s.Status())
		}
		return all
	}
	expiry.Watch(ctx, list, func(s secret.Status, left time.Duration) {
		Events.Expires(s.Name, s.Fingerprint, s.Expires, left)
		attributes := []any{
			slog.String("provider", s.Name), slog.String("key", s.Fingerprint), slog.Time("expires", s.Expires),
			slog.String("cure", "put a new one where it is read from; a provider may have two beside each other"),
		}
		if left < 0 {
			rt.Logger.Error("a key has ended", attributes...)
			return
		}
		rt.Logger.Warn("a key ends soon", append(attributes, slog.Int("days", int(left/(24*time.Hour))))...)
	})
}
