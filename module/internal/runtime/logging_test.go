package runtime

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
	logger := WithRequestIDs(accessFields{slog.NewJSONHandler(&log, nil)})
	ctx := context.WithValue(t.Context(), caddyhttp.ExtraLogFieldsCtxKey, new(caddyhttp.ExtraLogFields))
	logger.InfoContext(WithRequestID(ctx, "abc"), "something happened")
	if n := strings.Count(log.String(), `"request_id"`); n != 1 {
		t.Errorf("%d in %s", n, log.String())
	}
}
