package handler

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
)

// A look-up that panics costs its verdict, and the log names the request.
func TestPanicNamesTheRequest(t *testing.T) {
	var log bytes.Buffer
	h := warmHandler(t)
	h.runtime = &runtime.Runtime{Logger: request.WithIDs(slog.NewJSONHandler(&log, nil))} // without an engine
	r := prepared(t, "192.0.2.1")()
	r = r.WithContext(trace.ContextWithSpanContext(r.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{0xab}, SpanID: trace.SpanID{1},
	})))
	w := httptest.NewRecorder()
	if err := h.ServeHTTP(w, r, passOn); err != nil || r.Header.Get(headerStatus) != "unknown" {
		t.Errorf("%v, status %q", err, r.Header.Get(headerStatus))
	}
	var entry struct {
		RequestID string `json:"request_id"`
		TraceID   string `json:"trace_id"`
		Panic     any
	}
	if err := json.Unmarshal(log.Bytes(), &entry); err != nil || entry.Panic == nil ||
		entry.RequestID != w.Header().Get("X-Request-ID") || entry.TraceID != "ab000000000000000000000000000000" {
		t.Errorf("%v in %s", err, log.String())
	}
}
