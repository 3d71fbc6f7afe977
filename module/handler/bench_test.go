package handler

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"unsafe"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history/recorder"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func init() { caddy.RegisterModule(benchService{}) }

// benchService is a service that answers from memory: 203.0.113.0/24 is abusive, the rest is clean.
type benchService struct{}

func (benchService) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ip_reputation.providers.bench", New: func() caddy.Module { return new(benchService) }}
}

func (benchService) Profile() reputation.Profile {
	return reputation.Profile{Name: "bench", Key: reputation.KeyOptional}
}

func (benchService) Check(_ context.Context, q reputation.Query) (reputation.Report, error) {
	if netip.MustParsePrefix("203.0.113.0/24").Contains(q.Addr) {
		return reputation.Report{Severity: .9, Confidence: .9, Categories: reputation.CategoriesOf(reputation.Abuse)}, nil
	}
	return reputation.Report{}, nil
}

// warmHandler returns a handler whose look-ups are all answered from this process, and requests of three kinds of
// clients: nobody has anything against the first, a feed lists the second, a provider has reported the third.
func warmHandler(tb testing.TB, more ...func(*module.App)) *Handler {
	tb.Helper()
	app := &module.App{
		Feeds: []module.Feed{{Name: "listed", Sources: []string{"198.51.100.0/24"}, Category: []string{"scanner"}}},
		Providers: []provider.Provider{{
			ServiceRaw: []byte(`{"service":"bench"}`),
			Name:       "abuseipdb",
		}},
	}
	for _, change := range more {
		change(app)
	}
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		tb.Fatal(err)
	}
	if err := app.Provision(ctx); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = app.Cleanup() })
	rules := []Rule{
		{Action: "block", Conditions: Conditions{Score: "97"}},
		{Action: "block", Conditions: Conditions{Category: []string{"botnet_c2", "malware"}}},
		{Action: "block", Conditions: Conditions{Score: "95", Nature: []string{"tor"}}},
	}
	p, err := compilePolicy(rules, "", nil, nil)
	if err != nil {
		tb.Fatal(err)
	}
	rt := app.Runtime()
	h := &Handler{runtime: rt, enforce: true, wait: rt.Wait, policy: p}
	if h.rules, _, err = compileRules(rules, "enforce"); err != nil {
		tb.Fatal(err)
	}
	for _, client := range warmClients {
		rt.Engine.Refresh(context.Background(), netip.MustParseAddr(client.addr))
	}
	return h
}

var warmClients = []struct{ name, addr string }{
	{"clean", "192.0.2.1"},
	{"listed", "198.51.100.1"},
	{"reported", "203.0.113.1"},
	{"exempt", "127.0.0.1"},
}

// prepared returns a request as the server hands it to the first handler.
func prepared(tb testing.TB, addr string, path ...string) func() *http.Request {
	tb.Helper()
	r := httptest.NewRequest(http.MethodGet, "http://app.example.com/"+strings.TrimPrefix(strings.Join(path, ""), "/"), nil)
	r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(addr), 1234).String()
	r.Header.Set("User-Agent", "Mozilla/5.0")
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Accept-Encoding", "gzip, br")
	r.Header.Set("Accept-Language", "en")
	server := &caddyhttp.Server{}
	w := httptest.NewRecorder()
	return func() *http.Request {
		fresh := *r
		fresh.Header = r.Header.Clone()
		return caddyhttp.PrepareRequest(&fresh, caddy.NewReplacer(), w, server)
	}
}

var passOn = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

// header is a response that keeps nothing.
type header struct{ h http.Header }

func (w header) Header() http.Header         { return w.h }
func (w header) Write(b []byte) (int, error) { return len(b), nil }
func (w header) WriteHeader(int)             {}

// BenchmarkServeHTTP measures the warm decision: what a request costs more with the handler ("warm/…") than without
// ("baseline", which only makes the request).
func BenchmarkServeHTTP(b *testing.B) {
	h := warmHandler(b)
	w := header{http.Header{}}
	b.Run("baseline", func(b *testing.B) {
		request := prepared(b, "192.0.2.1")
		b.ReportAllocs()
		for b.Loop() {
			_ = passOn.ServeHTTP(w, request())
		}
	})
	for _, client := range warmClients {
		b.Run("warm/"+client.name, func(b *testing.B) {
			request := prepared(b, client.addr)
			b.ReportAllocs()
			for b.Loop() {
				_ = h.ServeHTTP(w, request(), passOn)
			}
		})
	}
}

// forgetting is a Store that takes everything.
type forgetting struct{}

func (forgetting) Write(context.Context, *history.Batch) (history.Stored, error) {
	return history.Stored{}, nil
}

// BenchmarkHistory measures what a warm request costs with the history and without. What collects has a processor too, which
// is as much of the cost.
func BenchmarkHistory(b *testing.B) {
	h := warmHandler(b)
	w := header{http.Header{}}
	serve := func(b *testing.B) {
		request := prepared(b, "203.0.113.1")
		b.ReportAllocs()
		for b.Loop() {
			_ = h.ServeHTTP(w, request(), passOn)
		}
	}
	b.Run("without", serve)
	r := recorder.Open(recorder.Options{Dir: b.TempDir()})
	r.Use(recorder.Settings{Store: forgetting{}})
	r.Start()
	defer r.Close()
	h.history = &recording{recorder: r}
	b.Run("with", serve)
	counts := r.Counts()
	b.Logf("%d were dropped", counts.Dropped[recorder.DropQueue])
}

// BenchmarkDecision measures the warm decision alone: look-up, score and policy.
func BenchmarkDecision(b *testing.B) {
	h := warmHandler(b)
	for _, client := range warmClients {
		addr := netip.MustParseAddr(client.addr)
		b.Run(client.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				verdict := h.runtime.Engine.Lookup(context.Background(), addr, h.wait)
				h.policy.Decide(&verdict, addr, 0)
			}
		})
	}
}

// TestClaimsAllocateNothing proves that a client costs no allocation more where bots are verified, whether it claims to be
// one or not.
func TestClaimsAllocateNothing(t *testing.T) {
	if testenv.Race {
		t.Skip("the race detector allocates")
	}
	h := warmHandler(t, func(app *module.App) { app.VerifiedBots = &module.VerifiedBots{Bots: []string{"openai"}} })
	w := header{http.Header{}}
	for _, agent := range []string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Mozilla/5.0 (compatible; GPTBot/1.2)",
		strings.Repeat("GPTBo", 2000), "",
	} {
		request := prepared(t, "192.0.2.1")
		with := func() *http.Request {
			r := request()
			r.Header["User-Agent"] = []string{agent}
			return r
		}
		without := testing.AllocsPerRun(200, func() { _ = passOn.ServeHTTP(w, with()) })
		if n := testing.AllocsPerRun(200, func() { _ = h.ServeHTTP(w, with(), passOn) }); n-without > 6 {
			t.Errorf("%.40q: %v allocations more than without the handler; want at most 6", agent, n-without)
		}
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

// TestWarmRequestAllocates pins what a warm request allocates: the visit with the header values, the closure behind the
// placeholders, the request ID, and growth of the request's header map, which holds more than it came with. The decision
// log, which is on unless somebody turns it off, adds nothing to a request that passes, and neither does the history.
func TestWarmRequestAllocates(t *testing.T) {
	h := warmHandler(t)
	h.decisions, _ = decisionLogOf(t, nil, nil)
	h.history = &recording{recorder: recorder.Open(recorder.Options{})}
	w := header{http.Header{}}
	for _, tc := range []struct {
		client string
		most   float64
	}{{"192.0.2.1", 6}, {"198.51.100.1", 7}, {"203.0.113.1", 8}, {"127.0.0.1", 3}} {
		if testenv.Race {
			tc.most += 2 // the scratch of a look-up, and the evidence in it
		}
		request := prepared(t, tc.client)
		unsampled := untraced()["not sampled"]
		without := testing.AllocsPerRun(200, func() { _ = passOn.ServeHTTP(w, request()) })
		with := testing.AllocsPerRun(200, func() { _ = h.ServeHTTP(w, request(), passOn) })
		if with-without > tc.most {
			t.Errorf("%s: %v allocations more than without the handler; want at most %v", tc.client, with-without, tc.most)
		}
		inTrace := func() *http.Request {
			r := request()
			return r.WithContext(trace.ContextWithSpanContext(r.Context(), trace.SpanContextFromContext(unsampled)))
		}
		without = testing.AllocsPerRun(200, func() { _ = passOn.ServeHTTP(w, inTrace()) })
		with = testing.AllocsPerRun(200, func() { _ = h.ServeHTTP(w, inTrace(), passOn) })
		if with-without > tc.most {
			t.Errorf("%s: %v allocations more in a trace that is not sampled; want at most %v", tc.client, with-without, tc.most)
		}
	}
}

// watchedHandler is a warmHandler whose site watches for the violations of the default set.
func watchedHandler(tb testing.TB, more ...func(*module.App)) *Handler {
	tb.Helper()
	if t, ok := tb.(*testing.T); ok {
		t.Setenv("XDG_DATA_HOME", t.TempDir())
	}
	h := warmHandler(tb, more...)
	h.ViolationsDefault, h.ViolationsFromApplication = true, true
	if err := h.provisionViolations(caddy.Context{}, h.runtime); err != nil {
		tb.Fatal(err)
	}
	return h
}

// BenchmarkWatch measures what a request costs that a site watches with the default set: where nothing is a violation,
// where the client had one, and where each request is one.
func BenchmarkWatch(b *testing.B) {
	w := header{http.Header{}}
	for name, h := range map[string]*Handler{"without": warmHandler(b), "with": watchedHandler(b)} {
		for _, status := range []int{http.StatusOK, http.StatusNotFound} {
			b.Run(fmt.Sprint(name, "/", status), func(b *testing.B) {
				answer := answersWith(status)
				request := prepared(b, "192.0.2.1", "/articles/2026/an-article")
				b.ReportAllocs()
				for b.Loop() {
					_ = h.ServeHTTP(w, request(), answer)
				}
			})
		}
	}
}

// BenchmarkFlood measures what each of a flood of clients costs that touch a trap: all are new, and all are to be banned.
func BenchmarkFlood(b *testing.B) {
	h := watchedHandler(b, func(app *module.App) { app.Providers = nil })
	for _, path := range []string{"/an-article", "/.env"} {
		var clients uint32
		b.Run(path[1:], func(b *testing.B) { flood(b, h, path, &clients) })
	}
}

// flood sends each request from another client. clients is how many there were.
func flood(b *testing.B, h *Handler, path string, clients *uint32) {
	b.Helper()
	next, w := prepared(b, "192.0.2.1", path), header{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		*clients++
		r := next()
		var addr [4]byte
		binary.BigEndian.PutUint32(addr[:], 11<<24+*clients*0x9e3779b1>>8)
		request.VarsOf(r)[caddyhttp.ClientIPVarKey] = netip.AddrFrom4(addr).String()
		_ = h.ServeHTTP(w, r, passOn)
	}
}

// BenchmarkUnknown measures what a client costs about whom nothing is known, while quotas are spent.
func BenchmarkUnknown(b *testing.B) {
	for _, n := range []int{1, 12} {
		b.Run(fmt.Sprintf("providers=%d", n), func(b *testing.B) {
			h := warmHandler(b, func(app *module.App) {
				app.Providers = nil
				for i := range n {
					app.Providers = append(app.Providers, provider.Provider{
						ServiceRaw: []byte(`{"service":"bench"}`), Name: fmt.Sprintf("p%d", i), Quota: []string{"1/day"},
					})
				}
			})
			if err := h.provisionStakes(h.runtime); err != nil {
				b.Fatal(err)
			}
			flood(b, h, "/", new(uint32))
		})
	}
}

// TestVisitSize holds that what is allocated for each request fits into the class of 512 bytes. The next one has 576, and
// is slower to allocate.
func TestVisitSize(t *testing.T) {
	if size := unsafe.Sizeof(visit{}); size > 512 {
		t.Errorf("a visit takes %d bytes; want at most 512", size)
	}
}

// TestWatchAllocatesNothing proves that a request that is no violation costs no allocation more where a site watches.
func TestWatchAllocatesNothing(t *testing.T) {
	if testenv.Race {
		t.Skip("the race detector allocates")
	}
	h, w := watchedHandler(t), header{http.Header{}}
	watch, ok := h.watch, answersWith(http.StatusOK)
	for _, path := range []string{"/", "/articles/2026/an-article", "/assets/app.js"} {
		request := prepared(t, "192.0.2.1", path)
		h.watch = nil
		without := testing.AllocsPerRun(200, func() { _ = h.ServeHTTP(w, request(), ok) })
		h.watch = watch
		if n := testing.AllocsPerRun(200, func() { _ = h.ServeHTTP(w, request(), ok) }); n > without {
			t.Errorf("%s: %v allocations more", path, n-without)
		}
	}
}
