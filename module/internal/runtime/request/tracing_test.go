package request

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
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

type failingService struct {
	lookup.Gate
	lookup.Divided
	err error
}

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
		{"redis is away", true, redis.ErrUnavailable, "skipped", false},
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
				_, _, err = TracedShared{failingShared{err: tc.err}}.Claim(ctx, 0, nil, 0)
			} else {
				_, err = TracedProvider{"p", failingService{err: tc.err}}.Check(ctx, reputation.Query{})
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
func TestStart(t *testing.T) {
	type other struct{}
	request, _ := recorded(t)
	request = context.WithValue(request, other{}, "held")
	request = WithID(request, "id")
	request, cancel := context.WithCancel(request)
	look, arrived := LookupTracer{}.Start(context.Background(), request)
	cancel()
	if look.Err() != nil || look.Value(other{}) != nil {
		t.Errorf("the request is still there: %v, %v", look.Err(), look.Value(other{}))
	}
	if IDOf(look) != "id" || TraceOf(look) != TraceOf(request) || arrived == nil {
		t.Errorf("ID %q, trace %s, want %s", IDOf(look), TraceOf(look), TraceOf(request))
	}
	unsampled := trace.ContextWithSpanContext(context.Background(), trace.SpanContextFromContext(request).WithTraceFlags(0))
	if look, arrived = (LookupTracer{}).Start(context.Background(), unsampled); TraceOf(look) != TraceOf(request) || arrived != nil {
		t.Errorf("not sampled: trace %s, followed: %t", TraceOf(look), arrived != nil)
	}
}

// untraced are the contexts of requests that no span is made for: tracing is off, or the sampler has decided against it.
func untraced() map[string]context.Context {
	unsampled := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}})
	return map[string]context.Context{
		"off":         context.Background(),
		"not sampled": trace.ContextWithSpanContext(context.Background(), unsampled),
	}
}

// TestNoTraceAllocatesNothing proves that what is followed costs nothing where nobody follows it.
func TestNoTraceAllocatesNothing(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.1")
	var provider reputation.Provider = TracedProvider{"bench", failingService{}}
	for name, ctx := range untraced() {
		if n := testing.AllocsPerRun(100, func() {
			_, _ = provider.Check(ctx, reputation.Query{Addr: addr})
			_, end := traceRedis(ctx, "token")
			end(nil)
			if TraceLimit(ctx) != nil || (LookupTracer{}).Wait(ctx, ctx) != nil {
				t.Errorf("%s: a wait is followed", name)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if _, arrived := (LookupTracer{}).Start(context.Background(), context.Background()); arrived != nil {
		t.Error("a look-up is followed")
	}
}
