package module

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// recorded returns a context with a span, and what records the others.
func recorded(t *testing.T) (context.Context, *tracetest.SpanRecorder) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	ctx, _ := provider.Tracer("test").Start(t.Context(), "request")
	return ctx, recorder
}

// failingShared and failingService fail, with errors that say too much.
type failingShared struct {
	lookup.Shared
	err error
}

func (s failingShared) Claim(context.Context, record.Key, []string, time.Duration) (record.Record, []string, error) {
	return record.Record{}, nil, s.err
}

type failingService struct{ err error }

func (failingService) Profile() reputation.Profile { return reputation.Profile{Name: "p"} }

func (s failingService) Check(context.Context, reputation.Query) (reputation.Report, error) {
	return reputation.Report{}, s.err
}

// A span names the class of a failure. What is no failure, such as keeping within the terms, is no error.
func TestSpansOfFailures(t *testing.T) {
	const text = "https://192.0.2.1:6379/?key=sesame"
	for _, tc := range []struct {
		name   string
		shared bool
		err    error
		result string
		failed bool
	}{
		{"redis answers", true, nil, "ok", false},
		{"redis is away", true, redis.ErrAway, "skipped", false},
		{"redis takes too long", true, fmt.Errorf("%s: %w", text, context.DeadlineExceeded), "timeout", true},
		{"redis is gone", true, errors.New(text), "unreachable", true},
		{"answer", false, nil, "ok", false},
		{"unknown", false, fmt.Errorf("%s: %w", text, reputation.ErrUnknown), "not_found", false},
		{"quota", false, &reputation.SkippedError{Result: reputation.ResultSkippedQuota}, "skipped_quota", false},
		{"breaker", false, &reputation.SkippedError{Result: reputation.ResultSkippedBreaker}, "skipped_breaker", false},
		{"throttled", false, &reputation.ThrottledError{}, "throttled", true},
		{"refused", false, fmt.Errorf("%s: %w", text, reputation.ErrRefused), "refused", true},
		{"bad answer", false, fmt.Errorf("%s: %w", text, reputation.ErrBadAnswer), "bad_answer", true},
		{"timeout", false, context.DeadlineExceeded, "timeout", true},
		{"error", false, errors.New(text), "error", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, recorder := recorded(t)
			var err error
			if tc.shared {
				_, _, err = tracedShared{failingShared{err: tc.err}}.Claim(ctx, 0, nil, 0)
			} else {
				_, err = tracedProvider{"p", failingService{tc.err}}.Check(ctx, reputation.Query{})
			}
			if !errors.Is(err, tc.err) {
				t.Errorf("the error became %v", err)
			}
			if len(recorder.Ended()) != 1 {
				t.Fatalf("%d spans have ended", len(recorder.Ended()))
			}
			span := recorder.Ended()[0]
			want := sdk.Status{}
			if tc.failed {
				want = sdk.Status{Code: codes.Error, Description: tc.result}
			}
			if got := span.Status(); got != want {
				t.Errorf("status %+v, want %+v", got, want)
			}
			if got := span.Attributes()[1]; len(span.Attributes()) != 2 || got != attrResult.String(tc.result) || len(span.Events()) != 0 {
				t.Errorf("attributes %v, events %v", span.Attributes(), span.Events())
			}
		})
	}
}

// What goes on in the background knows the IDs of the request that started it, and keeps nothing else of it.
func TestDepart(t *testing.T) {
	type other struct{}
	request, _ := recorded(t)
	request = context.WithValue(request, other{}, "held")
	request = context.WithValue(request, requestIDKey{}, "id")
	request, cancel := context.WithCancel(request)
	look, arrived := followed{}.Depart(context.Background(), request)
	cancel()
	if look.Err() != nil || look.Value(other{}) != nil {
		t.Errorf("the request is still there: %v, %v", look.Err(), look.Value(other{}))
	}
	if requestIDOf(look) != "id" || traceOf(look) != traceOf(request) || arrived == nil {
		t.Errorf("ID %q, trace %s, want %s", requestIDOf(look), traceOf(look), traceOf(request))
	}
	unsampled := trace.ContextWithSpanContext(context.Background(), trace.SpanContextFromContext(request).WithTraceFlags(0))
	if look, arrived = (followed{}).Depart(context.Background(), unsampled); traceOf(look) != traceOf(request) || arrived != nil {
		t.Errorf("not sampled: trace %s, followed: %t", traceOf(look), arrived != nil)
	}
}

// A look-up that panics costs its verdict, and the log names the request.
func TestPanicNamesTheRequest(t *testing.T) {
	var log bytes.Buffer
	h := warmHandler(t)
	broken := &App{logger: slog.New(correlated{slog.NewJSONHandler(&log, nil)})} // without an engine
	h.app = broken
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

// Entries that are about no request name none, whatever else is added to them.
func TestCorrelated(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(correlated{slog.NewTextHandler(&log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})}).With("a", 1)
	logger.Info("none")
	logger.InfoContext(context.WithValue(t.Context(), requestIDKey{}, "id"), "one", "b", 2)
	if got, want := log.String(), "level=INFO msg=none a=1\nlevel=INFO msg=one a=1 b=2 request_id=id\n"; got != want {
		t.Errorf("logged %q, want %q", got, want)
	}
}
