package request

import (
	"context"
	"log/slog"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// WithIDs returns a logger whose entries name the request that they are about.
func WithIDs(h slog.Handler) *slog.Logger { return slog.New(idHandler{h}) }

// idHandler adds to log entries which request they are about: `request_id`, and `trace_id` if it is traced.
type idHandler struct{ slog.Handler }

// Handle implements slog.Handler. Caddy's handler behind it would add what is meant for the access log, the ID once more
// among it.
func (h idHandler) Handle(ctx context.Context, r slog.Record) error {
	if id := IDOf(ctx); id != "" {
		r.AddAttrs(slog.String("request_id", id))
	}
	if id := TraceOf(ctx); id.IsValid() {
		r.AddAttrs(slog.String("trace_id", id.String()))
	}
	return h.Handler.Handle(context.WithValue(ctx, caddyhttp.ExtraLogFieldsCtxKey, nil), r)
}

// WithAttrs implements slog.Handler.
func (h idHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return idHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h idHandler) WithGroup(name string) slog.Handler {
	return idHandler{h.Handler.WithGroup(name)}
}

// Interface guards
var _ slog.Handler = idHandler{}
