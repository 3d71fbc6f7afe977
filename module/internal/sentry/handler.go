package sentry

import (
	"context"
	"log/slog"
	"slices"
)

// Handler lets another handler write the entries, and reports those of level Error.
type Handler struct {
	next    slog.Handler
	logger  string
	current func() *Reporter
	groups  []string
	attrs   []slog.Attr // of the logger, each in its groups
}

// Tee returns a handler that passes all entries to next. Entries of level Error also go to the Reporter that
// current returns at that time, if any, with the name of the logger.
func Tee(next slog.Handler, logger string, current func() *Reporter) *Handler {
	return &Handler{next: next, logger: logger, current: current}
}

// Enabled implements slog.Handler. Errors are reported even if the level of the log excludes them.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level) || level >= slog.LevelError && h.current() != nil
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, record slog.Record) (err error) {
	if h.next.Enabled(ctx, record.Level) {
		err = h.next.Handle(ctx, record)
	}
	if record.Level < slog.LevelError {
		return err
	}
	if r := h.current(); r != nil {
		var attrs []slog.Attr
		record.Attrs(func(a slog.Attr) bool {
			attrs = append(attrs, a)
			return true
		})
		r.Report(Entry{
			Time: record.Time, Level: record.Level, Logger: h.logger, Message: record.Message,
			Attrs: append(slices.Clip(h.attrs), grouped(h.groups, attrs)...),
		})
	}
	return err
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	more := *h
	more.next = h.next.WithAttrs(attrs)
	more.attrs = append(slices.Clip(h.attrs), grouped(h.groups, attrs)...)
	return &more
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	more := *h
	more.next = h.next.WithGroup(name)
	more.groups = append(slices.Clip(h.groups), name)
	return &more
}

// grouped puts attributes into groups, of which the first is the outermost.
func grouped(groups []string, attrs []slog.Attr) []slog.Attr {
	for _, name := range slices.Backward(groups) {
		attrs = []slog.Attr{{Key: name, Value: slog.GroupValue(attrs...)}}
	}
	return attrs
}

// Interface guard
var _ slog.Handler = (*Handler)(nil)
