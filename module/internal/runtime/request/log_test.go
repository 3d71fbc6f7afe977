package request

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// accessFields stands for Caddy's handler, which adds the fields of the access log to all entries about a request.
type accessFields struct{ slog.Handler }

func (h accessFields) Handle(ctx context.Context, r slog.Record) error {
	if _, ok := ctx.Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		r.AddAttrs(slog.String("request_id", "abc"))
	}
	return h.Handler.Handle(ctx, r)
}

// TestEntriesNameTheirRequestOnce: a second `request_id` makes a line that some readers of JSON refuse.
func TestEntriesNameTheirRequestOnce(t *testing.T) {
	var log bytes.Buffer
	logger := WithIDs(accessFields{slog.NewJSONHandler(&log, nil)})
	ctx := context.WithValue(t.Context(), caddyhttp.ExtraLogFieldsCtxKey, new(caddyhttp.ExtraLogFields))
	logger.InfoContext(WithID(ctx, "abc"), "something happened")
	if n := strings.Count(log.String(), `"request_id"`); n != 1 {
		t.Errorf("%d in %s", n, log.String())
	}
}

// Entries that are about no request name none, whatever else is added to them.
func TestWithIDs(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(idHandler{slog.NewTextHandler(&log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})}).With("a", 1)
	logger.Info("none")
	logger.InfoContext(WithID(t.Context(), "id"), "one", "b", 2)
	if got, want := log.String(), "level=INFO msg=none a=1\nlevel=INFO msg=one a=1 b=2 request_id=id\n"; got != want {
		t.Errorf("logged %q, want %q", got, want)
	}
}
