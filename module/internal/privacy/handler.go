package privacy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
)

// NewHandler returns a handler that applies the Policy to the messages and attributes of log
// entries, and passes them to next. For the nil Policy it returns next.
func NewHandler(next slog.Handler, p *Policy) slog.Handler {
	if p == nil {
		return next
	}
	return &handler{next, p}
}

type handler struct {
	next   slog.Handler
	policy *Policy
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	written := slog.NewRecord(r.Time, r.Level, h.policy.Text(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		written.AddAttrs(h.policy.attr(a))
		return true
	})
	return h.next.Handle(ctx, written)
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.next.WithAttrs(h.policy.attrs(attrs)), h.policy}
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.next.WithGroup(name), h.policy}
}

func (p *Policy) attrs(attrs []slog.Attr) []slog.Attr {
	written := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		written[i] = p.attr(a)
	}
	return written
}

func (p *Policy) attr(a slog.Attr) slog.Attr {
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(p.Text(v.String()))
	case slog.KindGroup:
		a.Value = slog.GroupValue(p.attrs(v.Group())...)
	case slog.KindAny:
		a.Value = p.value(v.Any())
	}
	return a
}

// value applies the Policy to a value of any type. A value without addresses is returned unchanged.
// A value of an unknown type with addresses becomes a text.
func (p *Policy) value(v any) slog.Value {
	switch v := v.(type) {
	case nil:
		return slog.AnyValue(v)
	case netip.Addr:
		return slog.StringValue(p.Addr(v))
	case netip.Prefix:
		return slog.StringValue(p.Prefix(v))
	case error:
		return slog.StringValue(p.Text(text(v.Error)))
	case fmt.Stringer:
		return slog.StringValue(p.Text(text(v.String)))
	case []string:
		written := make([]string, len(v))
		for i := range v {
			written[i] = p.Text(v[i])
		}
		return slog.AnyValue(written)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // the digits of an escape would join the following address
	err := encoder.Encode(v)
	shown := string(bytes.TrimSpace(out.Bytes()))
	if err != nil {
		shown = fmt.Sprint(v)
	}
	if written := p.Text(shown); written != shown {
		return slog.StringValue(written)
	}
	return slog.AnyValue(v)
}

// text calls a method that formats a value. It recovers from a panic, since logged values may be
// nil pointers.
func text(of func() string) (s string) {
	defer func() {
		if recover() != nil {
			s = "<nil>"
		}
	}()
	return of()
}
