package module

import (
	"context"
	"log/slog"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/exp/zapslog"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/privacy"
)

// processHandler logs what is shared between configurations. A configuration's own logger may be closed when the
// configuration ends, so Caddy's current one is looked up for every entry; entries are few.
type processHandler struct {
	part string
	with func(slog.Handler) slog.Handler // attributes and groups, applied to each handler anew
}

func (h processHandler) now() slog.Handler {
	var handler slog.Handler = zapslog.NewHandler(caddy.Log().Core(), zapslog.WithName("ip_reputation."+h.part),
		zapslog.AddStacktraceAt(slog.LevelError+1)) // errors are about files and servers, not about our code
	handler = privacy.NewHandler(handler, privacyNow())
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

// Interface guard
var _ slog.Handler = processHandler{}
