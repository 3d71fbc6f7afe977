package runtime

import (
	"context"
	"log/slog"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/exp/zapslog"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/privacy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
)

// ProcessLogger returns a logger for what configurations share: a configuration's own logger ends with it.
func ProcessLogger(part string) *slog.Logger {
	return request.WithIDs(reported(processHandler{part: part}, "ip_reputation."+part))
}

// SetPrivacy makes all later log entries write addresses as the policy says, those of what configurations share too.
func (rt *Runtime) SetPrivacy(policy *privacy.Policy) {
	rt.privacy = policy
	rt.Logger = slog.New(privacy.NewHandler(rt.Logger.Handler(), policy))
	registry.loaded.Store(rt)
}

// Privacy is how addresses are written.
func (rt *Runtime) Privacy() *privacy.Policy { return rt.privacy }

// CurrentPrivacy is how what configurations share writes addresses: as the configuration that serves says. While none
// serves, it is the one that is about to, or the one that did.
func CurrentPrivacy() *privacy.Policy {
	if rt := current(); rt != nil {
		return rt.privacy
	}
	return nil
}

// processHandler logs through Caddy's logger of the moment: it is looked up for every entry, since a
// configuration's own may be closed when the configuration ends. Entries are few.
type processHandler struct {
	part string
	with func(slog.Handler) slog.Handler // attributes and groups, applied to each handler anew
}

func (h processHandler) now() slog.Handler {
	var handler slog.Handler = zapslog.NewHandler(caddy.Log().Core(), zapslog.WithName("ip_reputation."+h.part),
		zapslog.AddStacktraceAt(slog.LevelError+1)) // errors are about files and servers, not about our code
	handler = privacy.NewHandler(handler, CurrentPrivacy())
	if h.with != nil {
		handler = h.with(handler)
	}
	return handler
}

// Enabled implements slog.Handler.
func (h processHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.now().Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h processHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.now().Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h processHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.and(func(handler slog.Handler) slog.Handler { return handler.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (h processHandler) WithGroup(name string) slog.Handler {
	return h.and(func(handler slog.Handler) slog.Handler { return handler.WithGroup(name) })
}

func (h processHandler) and(next func(slog.Handler) slog.Handler) slog.Handler {
	before := h.with
	h.with = func(handler slog.Handler) slog.Handler {
		if before != nil {
			handler = before(handler)
		}
		return next(handler)
	}
	return h
}

// Interface guards
var _ slog.Handler = processHandler{}
