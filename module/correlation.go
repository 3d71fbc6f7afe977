package module

import (
	"context"
	"log/slog"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// requestIDKey is the key of the correlation ID in the context of work that outlives the request which started it.
type requestIDKey struct{}

// requestIDOf returns the correlation ID of the request that ctx belongs to, or that started the work which ctx belongs to. It
// is empty for what no request has started.
func requestIDOf(ctx context.Context) string {
	if id, ok := ctx.Value(requestIDKey{}).(string); ok {
		return id
	}
	known, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	if v := vars(known).visit(); v != nil {
		return v.requestID
	}
	return ""
}

// correlated adds to log entries which request they are about: `request_id`, and `trace_id` if it is traced.
type correlated struct{ slog.Handler }

// Handle implements slog.Handler.
func (h correlated) Handle(ctx context.Context, r slog.Record) error {
	if id := requestIDOf(ctx); id != "" {
		r.AddAttrs(slog.String("request_id", id))
	}
	if id := traceOf(ctx); id.IsValid() {
		r.AddAttrs(slog.String("trace_id", id.String()))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h correlated) WithAttrs(attrs []slog.Attr) slog.Handler {
	return correlated{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h correlated) WithGroup(name string) slog.Handler { return correlated{h.Handler.WithGroup(name)} }

// Interface guard
var _ slog.Handler = correlated{}
