package request

import (
	"context"
	"net/netip"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/limit"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/worth"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Spans of what is slow, in the trace that Caddy's `tracing` has begun. They hold neither addresses nor keys,
// URLs or texts of errors: of an error, its class.

// TraceID is the ID of a trace.
type TraceID = trace.TraceID

// TraceOf returns the ID of the trace that ctx belongs to, the zero value when there is none.
func TraceOf(ctx context.Context) TraceID { return trace.SpanContextFromContext(ctx).TraceID() }

// scope is the name of the library that makes the spans.
const scope = "github.com/caddy-ip-reputation/caddy-ip-reputation"

const (
	attrStatus    = attribute.Key("ip_reputation.status")
	attrOrigin    = attribute.Key("ip_reputation.origin")
	attrScore     = attribute.Key("ip_reputation.score")
	attrWaited    = attribute.Key("ip_reputation.waited")
	attrAllowed   = attribute.Key("ip_reputation.allowed")
	attrProvider  = attribute.Key("ip_reputation.provider")
	attrOperation = attribute.Key("ip_reputation.operation")
	attrResult    = attribute.Key("ip_reputation.result")
	attrRequestID = attribute.Key("ip_reputation.request_id")
)

// traced returns the tracer for the span that ctx belongs to, or nil: when tracing is off, or the sampler has
// decided against this trace, a span would only cost. Caddy keeps its tracers to itself, so that the way to
// them leads over its span.
func traced(ctx context.Context) trace.Tracer {
	span := trace.SpanFromContext(ctx)
	if !span.SpanContext().IsSampled() {
		return nil
	}
	return span.TracerProvider().Tracer(scope)
}

// LookupTracer makes spans of look-ups, and gives their log entries the IDs of the request.
type LookupTracer struct{}

// Start implements lookup.Tracer. The look-up's span is a child of the request's, although it may end later:
// so it is sampled when the request is, and is found from there.
func (LookupTracer) Start(base, request context.Context) (context.Context, func(reputation.Origin)) {
	id := IDOf(request)
	if id != "" {
		base = WithID(base, id)
	}
	parent := trace.SpanContextFromContext(request)
	if !parent.IsValid() {
		return base, nil
	}
	base = trace.ContextWithSpanContext(base, parent)
	t := traced(request)
	if t == nil {
		return base, nil
	}
	ctx, span := t.Start(base, "ip_reputation.ask", trace.WithAttributes(attrRequestID.String(id)))
	return ctx, func(origin reputation.Origin) {
		span.SetAttributes(attrOrigin.String(origin.String()))
		span.End()
	}
}

// Wait implements lookup.Tracer. The span of a request that waits for what another request has started links to that.
func (LookupTracer) Wait(request, look context.Context) func(reputation.Verdict, bool) {
	t := traced(request)
	if t == nil {
		return nil
	}
	options := []trace.SpanStartOption{trace.WithAttributes(attrRequestID.String(IDOf(request)))}
	if asking := trace.SpanContextFromContext(look); asking.IsValid() && asking.TraceID() != TraceOf(request) {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: asking}))
	}
	_, span := t.Start(request, "ip_reputation.lookup", options...)
	return func(v reputation.Verdict, answered bool) {
		span.SetAttributes(attrStatus.String(v.Status.String()), attrOrigin.String(v.Origin.String()), waited(request, answered))
		if v.Scored {
			span.SetAttributes(attrScore.Int(int(v.Score)))
		}
		span.End()
	}
}

// waited says how a wait has ended.
func waited(request context.Context, answered bool) attribute.KeyValue {
	switch {
	case answered:
		return attrWaited.String("answered")
	case request.Err() != nil:
		return attrWaited.String("canceled")
	}
	return attrWaited.String("timeout")
}

// TraceLimit makes a span of a request that waits for a count in Redis.
func TraceLimit(ctx context.Context) func(limit.Decision, bool) {
	t := traced(ctx)
	if t == nil {
		return nil
	}
	_, span := t.Start(ctx, "ip_reputation.limit")
	return func(d limit.Decision, shared bool) {
		span.SetAttributes(attrAllowed.Bool(d.Allowed), waited(ctx, shared))
		span.End()
	}
}

// GatedProvider is a provider that knows whether it may be asked.
type GatedProvider interface {
	reputation.Provider
	lookup.Gate
	lookup.Divided
}

// TracedProvider makes a span of each call to a provider.
type TracedProvider struct {
	Name string
	GatedProvider
}

// Check implements reputation.Provider.
func (p TracedProvider) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	return p.trace(ctx, q, p.GatedProvider.Check)
}

// Reserve implements lookup.Gate.
func (p TracedProvider) Reserve(
	addr netip.Addr, bid worth.Bid, now time.Time,
) (lookup.Reservation, reputation.Result, bool) {
	r, why, waits := p.GatedProvider.Reserve(addr, bid, now)
	if r == nil {
		return nil, why, waits
	}
	return tracedReservation{r, p}, why, waits
}

// tracedReservation makes a span of the call.
type tracedReservation struct {
	lookup.Reservation
	provider TracedProvider
}

// Check implements lookup.Reservation.
func (r tracedReservation) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	return r.provider.trace(ctx, q, r.Reservation.Check)
}

// trace makes a span of a call.
func (p TracedProvider) trace(
	ctx context.Context, q reputation.Query, check func(context.Context, reputation.Query) (reputation.Report, error),
) (reputation.Report, error) {
	t := traced(ctx)
	if t == nil {
		return check(ctx, q)
	}
	ctx, span := t.Start(ctx, "ip_reputation.provider",
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrProvider.String(p.Name)))
	defer span.End()
	report, err := check(ctx, q)
	result := reputation.ResultOf(err)
	span.SetAttributes(attrResult.String(result.String()))
	switch result {
	case reputation.ResultTimeout, reputation.ResultThrottled, reputation.ResultRefused, reputation.ResultBadAnswer, reputation.ResultError:
		span.SetStatus(codes.Error, result.String())
	}
	return report, err
}

// traceRedis begins to follow an exchange with Redis, and returns what ends that.
func traceRedis(ctx context.Context, operation string) (context.Context, func(error)) {
	t := traced(ctx)
	if t == nil {
		return ctx, func(error) {}
	}
	ctx, span := t.Start(ctx, "ip_reputation.redis",
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrOperation.String(operation)))
	return ctx, func(err error) {
		result := redis.ResultOf(err)
		span.SetAttributes(attrResult.String(result.String()))
		if result != redis.OK && result != redis.Skipped {
			span.SetStatus(codes.Error, result.String())
		}
		span.End()
	}
}

// TracedShared follows what a look-up exchanges with the memory that instances share.
type TracedShared struct{ lookup.Shared }

// Claim implements lookup.Shared.
func (s TracedShared) Claim(
	ctx context.Context, key record.Key, sources []string, lease time.Duration,
) (rec record.Record, mine []string, err error) {
	ctx, end := traceRedis(ctx, "claim")
	rec, mine, err = s.Shared.Claim(ctx, key, sources, lease)
	end(err)
	return rec, mine, err
}

// Store implements lookup.Shared.
func (s TracedShared) Store(
	ctx context.Context, key record.Key, source string, r reputation.Report, fetched, due time.Time,
) error {
	ctx, end := traceRedis(ctx, "keep")
	err := s.Shared.Store(ctx, key, source, r, fetched, due)
	end(err)
	return err
}

// Fail implements lookup.Shared.
func (s TracedShared) Fail(ctx context.Context, key record.Key, source string, retry time.Duration) error {
	ctx, end := traceRedis(ctx, "fail")
	err := s.Shared.Fail(ctx, key, source, retry)
	end(err)
	return err
}

// TracedCounts follows the counting of calls.
type TracedCounts struct{ ledger.Store }

// Count implements ledger.Store.
func (s TracedCounts) Count(ctx context.Context, c ledger.Count) (ledger.Counted, error) {
	ctx, end := traceRedis(ctx, "count")
	counted, err := s.Store.Count(ctx, c)
	end(err)
	return counted, err
}

// TracedTokens follows the taking of a limit's tokens.
type TracedTokens struct{ limit.Store }

// TakeTokens implements limit.Store.
func (s TracedTokens) TakeTokens(ctx context.Context, b limit.Batch) (bool, time.Duration, error) {
	ctx, end := traceRedis(ctx, "token")
	allowed, ahead, err := s.Store.TakeTokens(ctx, b)
	end(err)
	return allowed, ahead, err
}

// TracedHistory follows the questions to the database.
type TracedHistory struct{ history.Reader }

// traceHistory begins to follow a question, and returns what ends that.
func traceHistory(ctx context.Context, operation string) (context.Context, func(error)) {
	t := traced(ctx)
	if t == nil {
		return ctx, func(error) {}
	}
	ctx, span := t.Start(ctx, "ip_reputation.history",
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrOperation.String(operation)))
	return ctx, func(err error) {
		result := history.ResultOf(err)
		span.SetAttributes(attrResult.String(result))
		if err != nil {
			span.SetStatus(codes.Error, result)
		}
		span.End()
	}
}

// Timeline implements history.Reader.
func (h TracedHistory) Timeline(ctx context.Context, q history.Query) (history.Timeline, error) {
	ctx, end := traceHistory(ctx, "timeline")
	answer, err := h.Reader.Timeline(ctx, q)
	end(err)
	return answer, err
}

// Graph implements history.Reader.
func (h TracedHistory) Graph(ctx context.Context, q history.Query, parts int) (history.Graph, error) {
	ctx, end := traceHistory(ctx, "graph")
	answer, err := h.Reader.Graph(ctx, q, parts)
	end(err)
	return answer, err
}

// Changes implements history.Reader.
func (h TracedHistory) Changes(ctx context.Context, q history.Query) (history.Changes, error) {
	ctx, end := traceHistory(ctx, "changes")
	answer, err := h.Reader.Changes(ctx, q)
	end(err)
	return answer, err
}

// Worst implements history.Reader.
func (h TracedHistory) Worst(ctx context.Context, r history.Ranking) (history.Worst, error) {
	ctx, end := traceHistory(ctx, "worst")
	answer, err := h.Reader.Worst(ctx, r)
	end(err)
	return answer, err
}

// Rules implements history.Reader.
func (h TracedHistory) Rules(ctx context.Context, r history.Ranking) (history.Rules, error) {
	ctx, end := traceHistory(ctx, "rules")
	answer, err := h.Reader.Rules(ctx, r)
	end(err)
	return answer, err
}

// Requests implements history.Reader.
func (h TracedHistory) Requests(ctx context.Context, id string, p history.Period) (history.Requests, error) {
	ctx, end := traceHistory(ctx, "requests")
	answer, err := h.Reader.Requests(ctx, id, p)
	end(err)
	return answer, err
}

// Interface guards
var (
	_ history.Reader = TracedHistory{}
	_ lookup.Tracer  = LookupTracer{}
	_ lookup.Shared  = TracedShared{}
	_ ledger.Store   = TracedCounts{}
	_ limit.Store    = TracedTokens{}
	_ GatedProvider  = TracedProvider{}
)
