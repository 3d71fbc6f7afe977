package e2e_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// traces receives spans in the place of a collector.
type traces struct {
	*httptest.Server

	mu    sync.Mutex
	spans []*otlp.Span // ours; Caddy's own are named site
	other []*otlp.Span
}

// startTraces starts a receiver and points the exporters of the processes that the test starts to it.
func startTraces(t *testing.T) *traces {
	t.Helper()
	s := &traces{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &request); err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s received what is no trace: %v", r.URL.Path, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, resource := range request.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				if scope.Scope.Name == "github.com/caddy-ip-reputation/caddy-ip-reputation" {
					s.spans = append(s.spans, scope.Spans...)
				} else {
					s.other = append(s.other, scope.Spans...)
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": s.URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_BSP_SCHEDULE_DELAY": "20",
	} {
		t.Setenv(name, value)
	}
	return s
}

// of returns the spans of a trace: Caddy's, ours, and of those the names with what tells them apart, sorted.
func (s *traces) of(trace string) (site *otlp.Span, ours []*otlp.Span, names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, span := range s.other {
		if hex.EncodeToString(span.TraceId) == trace {
			site = span
		}
	}
	for _, span := range s.spans {
		if hex.EncodeToString(span.TraceId) == trace {
			ours = append(ours, span)
			names = append(names, strings.TrimSpace(span.Name+" "+attribute(span, "operation")))
		}
	}
	slices.Sort(names)
	return site, ours, names
}

// await waits for all of a trace's spans to arrive, and returns Caddy's, and ours by their names.
func (s *traces) await(t *testing.T, trace string, want ...string) (site *otlp.Span, named map[string]*otlp.Span) {
	t.Helper()
	slices.Sort(want)
	var ours []*otlp.Span
	var names []string
	defer func() {
		if t.Failed() {
			t.Logf("received %q, want %q", names, want)
		}
	}()
	eventually(t, "the spans of trace "+trace, func() bool {
		site, ours, names = s.of(trace)
		return site != nil && slices.Equal(names, want)
	})
	named = map[string]*otlp.Span{}
	for _, span := range ours {
		named[strings.TrimSpace(span.Name+" "+attribute(span, "operation"))] = span
	}
	return site, named
}

// attribute returns one of our attributes as a text.
func attribute(span *otlp.Span, name string) string {
	for _, a := range span.Attributes {
		if a.Key == "ip_reputation."+name {
			switch v := a.Value.Value.(type) {
			case *common.AnyValue_StringValue:
				return v.StringValue
			case *common.AnyValue_IntValue:
				return fmt.Sprint(v.IntValue)
			case *common.AnyValue_BoolValue:
				return fmt.Sprint(v.BoolValue)
			}
		}
	}
	return ""
}

// attributes returns the attributes of a span.
func attributes(span *otlp.Span) map[string]string {
	all := map[string]string{}
	for _, a := range span.Attributes {
		name := strings.TrimPrefix(a.Key, "ip_reputation.")
		all[name] = attribute(span, name)
	}
	return all
}

// wantSpan compares a span's attributes, the span that it is a child of, and the class of its error.
func wantSpan(t *testing.T, got, parent *otlp.Span, failed string, want map[string]string) {
	t.Helper()
	if string(got.ParentSpanId) != string(parent.SpanId) {
		t.Errorf("%s is not a child of %s", got.Name, parent.Name)
	}
	if diff := cmp.Diff(want, attributes(got)); diff != "" {
		t.Errorf("%s has other attributes (-want +got):\n%s", got.Name, diff)
	}
	if message, code := got.GetStatus().GetMessage(), got.GetStatus().GetCode(); message != failed ||
		(code == otlp.Status_STATUS_CODE_ERROR) != (failed != "") {
		t.Errorf("%s has the status %v %q, want the error %q", got.Name, code, message, failed)
	}
}

// follow lets the site take part in traces; what the handler says is written to errors' pages.
func (c *config) follow(next ...any) {
	h := object{"handler": "ip_reputation"}
	for name, value := range c.handler {
		h[name] = value
	}
	c.handler, c.next = nil, append([]any{object{
		"handler": "tracing", "span": "site", "span_attributes": object{"ip_reputation.action": "{http.ip_reputation.action}"},
	}, h}, next...)
	c.server = object{
		"logs": object{},
		"errors": object{"routes": []any{object{"handle": []any{object{
			"handler": "static_response", "body": "refused: {http.ip_reputation.request_id} {http.ip_reputation.trace_id}",
		}}}}},
	}
}

// traced requests the first page as a client and as part of a trace: the same digit 32 times.
func (r *running) traced(t *testing.T, client, digit, flags string) reply {
	t.Helper()
	return send(t, http.MethodGet, r.site+"/", "", http.Header{
		"X-Forwarded-For": {client}, "X-Request-Id": {"id-" + digit},
		"Traceparent": {"00-" + trace(digit) + "-00f067aa0ba902b7-" + flags},
	})
}

func trace(digit string) string { return strings.Repeat(digit, 32) }

// logged waits for an entry of the log with all of these texts.
func (r *running) logged(t *testing.T, texts ...string) map[string]any {
	t.Helper()
	var entry map[string]any
	eventually(t, fmt.Sprintf("an entry of the log with %q", texts), func() bool {
		for line := range strings.SplitSeq(r.logs(t), "\n") {
			if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
				return json.Unmarshal([]byte(line), &entry) == nil
			}
		}
		return false
	})
	return entry
}

// TestTraces proves that a request of a traced site is followed through all that it waits for and all that goes on in the
// background: in one trace, which the application continues and the provider hears nothing of, and by the same IDs in the
// logs and on the error page. No span of ours holds what must not leave.
func TestTraces(t *testing.T) {
	received := startTraces(t)
	s, app, redis := startStandIn(t), startBackend(t), testenv.Redis(t)
	s.know(badClient, 100, 60)
	var mu sync.Mutex
	asked := http.Header{}
	s.behave(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		for name, values := range r.Header {
			asked[name] = values
		}
		mu.Unlock()
		s.answer(w, r)
	})
	c := newConfig(t)
	c.ask(s)
	c.share(redis.Addr, nil)
	c.handler["rules"] = append(c.handler["rules"].([]any), object{"action": "limit", "limit": "1/1ms"}) // Redis counts each request
	c.follow(proxyTo(app.Server))
	p := startProcess(t, c)
	p.awaitRedis(t, 1)
	flight := []string{
		"ip_reputation.ask", "ip_reputation.provider", "ip_reputation.redis claim", "ip_reputation.redis count", "ip_reputation.redis keep",
	}

	// not sampled: the IDs are known, and nothing is followed
	if got := p.traced(t, "192.0.2.9", "9", "00"); got.status != http.StatusAccepted {
		t.Fatalf("status %d", got.status)
	}
	p.logged(t, `"logger":"http.log.access"`, `"request_id":"id-9"`, `"trace_id":"`+trace("9")+`"`)
	app.forget()

	// the application continues the trace
	p.traced(t, cleanClient, "1", "01")
	site, spans := received.await(t, trace("1"), append(flight, "ip_reputation.lookup", "ip_reputation.limit", "ip_reputation.redis token")...)
	if got, want := app.only(t).header.Get("Traceparent"), "00-"+trace("1")+"-"+hex.EncodeToString(site.SpanId)+"-01"; got != want {
		t.Errorf("the application is told %q, want %q", got, want)
	}
	wantSpan(t, spans["ip_reputation.lookup"], site, "", map[string]string{
		"request_id": "id-1", "status": "fresh", "origin": "provider", "score": attribute(spans["ip_reputation.lookup"], "score"), "waited": "answered",
	})
	wantSpan(t, spans["ip_reputation.limit"], site, "", map[string]string{"allowed": "true", "waited": "answered"})
	wantSpan(t, spans["ip_reputation.redis token"], site, "", map[string]string{"operation": "token", "result": "ok"})
	ask := spans["ip_reputation.ask"]
	wantSpan(t, ask, site, "", map[string]string{"request_id": "id-1", "origin": "provider"})
	wantSpan(t, spans["ip_reputation.redis claim"], ask, "", map[string]string{"operation": "claim", "result": "ok"})
	wantSpan(t, spans["ip_reputation.redis keep"], ask, "", map[string]string{"operation": "keep", "result": "ok"})
	wantSpan(t, spans["ip_reputation.provider"], ask, "", map[string]string{"provider": "abuseipdb", "result": "ok"})
	wantSpan(t, spans["ip_reputation.redis count"], spans["ip_reputation.provider"], "", map[string]string{"operation": "count", "result": "ok"})
	line := p.logged(t, `"logger":"http.log.access"`, `"request_id":"id-1"`)
	if line["trace_id"] != trace("1") || line["traceID"] != line["trace_id"] {
		t.Errorf("the access log has trace_id %v and Caddy's traceID %v", line["trace_id"], line["traceID"])
	}

	// a known client waits for nothing but the limit
	p.traced(t, cleanClient, "2", "01")
	received.await(t, trace("2"), "ip_reputation.limit", "ip_reputation.redis token")

	// who is refused can name the request, and its trace
	got := p.traced(t, badClient, "3", "01")
	if want := "refused: id-3 " + trace("3"); got.status != http.StatusForbidden || got.body != want {
		t.Errorf("status %d, %q, want %q", got.status, got.body, want)
	}
	site, _ = received.await(t, trace("3"), append(flight, "ip_reputation.lookup")...)
	if action := attribute(site, "action"); action != "block" {
		t.Errorf("Caddy's span has the action %q", action)
	}

	p.end(os.Interrupt)
	if _, _, names := received.of(trace("9")); names != nil {
		t.Errorf("a trace that is not sampled has %q", names)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, name := range []string{"Traceparent", "Tracestate", "Baggage", "X-Request-Id"} {
		if values := asked[name]; values != nil || asked["Key"] == nil {
			t.Errorf("the provider is told %s %q", name, values)
		}
	}
	received.holdNone(t, append(c.secrets(s), badClient, cleanClient, "203.0.113", "192.0.2", "127.0.0.1", redis.Addr)...)
}

// holdNone fails the test for what must not be in our spans.
func (s *traces) holdNone(t *testing.T, secrets ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.spans) == 0 {
		t.Error("there are no spans")
	}
	for _, span := range s.spans {
		wantNone(t, "a span", prototext.Format(span), secrets...)
	}
}

// TestTracesOfFailures proves that a span says the class of a failure and nothing else, that entries of the log name the
// request for which a provider was asked, and that who waits for a question which another request has asked finds it.
func TestTracesOfFailures(t *testing.T) {
	received := startTraces(t)
	s := startStandIn(t)
	c := newConfig(t)
	c.ask(s)
	c.app["wait"] = "50ms"
	c.app["providers"].([]any)[0].(object)["timeout"] = "30s"
	c.handler["mode"] = "observe"
	c.follow()
	release := make(chan struct{})
	s.behave(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
			hostileBody(w, r, http.StatusOK, "text/html", "<html>%s %s</html>")
		case <-r.Context().Done():
		}
	})
	p := startProcess(t, c)
	p.traced(t, badClient, "4", "01")
	p.traced(t, badClient, "5", "01")
	close(release)

	site, spans := received.await(t, trace("4"), "ip_reputation.ask", "ip_reputation.lookup", "ip_reputation.provider")
	ask, lookup := spans["ip_reputation.ask"], spans["ip_reputation.lookup"]
	wantSpan(t, ask, site, "", map[string]string{"request_id": "id-4", "origin": "provider"})
	wantSpan(t, spans["ip_reputation.provider"], ask, "bad_answer", map[string]string{"provider": "abuseipdb", "result": "bad_answer"})
	timedOut := map[string]string{"request_id": "id-4", "status": "pending", "origin": "none", "waited": "timeout"}
	wantSpan(t, lookup, site, "", timedOut)
	if len(lookup.Links) != 0 {
		t.Errorf("the look-up links to its own trace: %v", lookup.Links)
	}
	p.logged(t, "the service gave no answer", `"request_id":"id-4"`, `"trace_id":"`+trace("4")+`"`)

	site, spans = received.await(t, trace("5"), "ip_reputation.lookup")
	timedOut["request_id"] = "id-5"
	lookup = spans["ip_reputation.lookup"]
	wantSpan(t, lookup, site, "", timedOut)
	if len(lookup.Links) != 1 || string(lookup.Links[0].SpanId) != string(ask.SpanId) || string(lookup.Links[0].TraceId) != string(ask.TraceId) {
		t.Errorf("who waits for another's question has the links %v", lookup.Links)
	}
	received.holdNone(t, append(c.secrets(s), badClient, "html")...)
}

// TestWithoutTracing proves that a site without `tracing` sends no span, whatever it is told, and has no trace's ID.
func TestWithoutTracing(t *testing.T) {
	received := startTraces(t)
	s := startStandIn(t)
	c := newConfig(t)
	c.ask(s)
	c.follow(object{"handler": "static_response", "body": "[{http.ip_reputation.trace_id}]"})
	plain := object{"match": []any{object{"path": []any{"/plain"}}}, "handle": c.next[1:]}
	c.server["routes"] = []any{plain, object{"handle": c.next}}
	p := startProcess(t, c)
	got := send(t, http.MethodGet, p.site+"/plain", "", http.Header{
		"X-Forwarded-For": {cleanClient}, "Traceparent": {"00-" + trace("6") + "-00f067aa0ba902b7-01"},
	})
	if got.body != "[]" {
		t.Errorf("the trace's ID is %q", got.body)
	}
	p.traced(t, "192.0.2.77", "7", "01")
	p.end(os.Interrupt) // sends all
	if _, _, names := received.of(trace("7")); len(names) != 3 {
		t.Errorf("the traced site has the spans %q", names)
	}
	received.mu.Lock()
	defer received.mu.Unlock()
	if n := len(received.spans); n != 3 {
		t.Errorf("%d spans, want those of one request", n)
	}
}
