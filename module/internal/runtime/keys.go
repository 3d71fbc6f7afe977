package runtime

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/api"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
)

// TokenPrefix begins the names of the look-up API's tokens. Names of providers hold no slash.
const TokenPrefix = "api/"

func isToken(name string) bool { return strings.HasPrefix(name, TokenPrefix) }

// Keys are the state of all keys, tokens and passwords of the configuration, in the order in which they were opened.
func (rt *Runtime) Keys(now time.Time) []health.Key {
	guards := map[string]*quota.Guard{}
	for _, p := range rt.Providers {
		guards[p.Name] = p.Guard
	}
	refusing := map[string]bool{}
	for _, l := range rt.Lists.Status() {
		refusing[l.Name] = l.LastResult == feed.ResultKeyRefused.String()
	}
	keys, used := []health.Key{}, map[string]bool{}
	for _, s := range rt.Secrets {
		k := health.Key{Status: s.Status(), State: health.KeyInUse}
		value, ok := s.Current()
		guard := guards[k.Name]
		if ok && guard != nil {
			k.SetAside, k.Retry = guard.Refused(value)
			k.NotAsked = !guard.Asked(value)
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
		case refusing[k.Name]:
			k.State = health.KeyIsRefused
		case used[k.Name] && guard != nil:
			k.State = health.KeyInReserve
		default:
			used[k.Name] = true
		}
		keys = append(keys, k)
	}
	return keys
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
	process.Background.Keep(ctx, rt.Logger, "looking at when keys end", rt.watchExpiry)
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
