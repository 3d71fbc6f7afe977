package runtime

import (
	"context"
	"log/slog"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
)

// expiry remembers over reloads what was logged of which key.
var expiry secret.Expiry

// startSecrets keeps the secrets current, and looks at when they end.
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
