package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history/recorder"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
)

// The clients of a test configuration.
const (
	cleanAddr  = "192.0.2.1"
	listedAddr = "198.51.100.1" // a scanner with a score below 10
	deniedAddr = "203.0.113.66"
	exemptAddr = "203.0.113.99"
)

// testContext returns a context in which modules of a configuration can be loaded that knows the clients above.
func testContext(tb testing.TB) caddy.Context {
	tb.Helper()
	app := `{
		"deny": ["` + deniedAddr + `"], "exempt": ["` + exemptAddr + `"],
		"feeds": [{"name": "scanners", "sources": ["198.51.100.0/24"], "category": ["scanner"], "trust": 0.3}]
	}`
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin:   &caddy.AdminConfig{Disabled: true},
		AppsRaw: caddy.ModuleMap{"ip_reputation": []byte(app)},
	})
	if err != nil {
		tb.Fatal(err)
	}
	loaded, err := ctx.App("ip_reputation")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = loaded.(caddy.CleanerUpper).Cleanup() })
	return ctx
}

type fataler interface {
	Helper()
	Fatal(args ...any)
}

// loadModule loads a module from its JSON, as Caddy does.
func loadModule(tb fataler, ctx caddy.Context, id string, config any) any {
	tb.Helper()
	raw, err := json.Marshal(config)
	if err != nil {
		tb.Fatal(err)
	}
	module, err := ctx.LoadModuleByID(id, raw)
	if err != nil {
		tb.Fatal(err)
	}
	return module
}

func loadHandler(tb fataler, ctx caddy.Context, config any) *Handler {
	tb.Helper()
	return loadModule(tb, ctx, "http.handlers.ip_reputation", config).(*Handler)
}

type object = map[string]any

// answer is what came of a request.
type answer struct {
	*httptest.ResponseRecorder
	err     error
	dropped bool
	app     http.Header // what the application read; nil: the request did not reach it
}

// serve lets a handler answer a request in front of an application that sends the status 204.
func serve(handler caddyhttp.MiddlewareHandler, r *http.Request) (a answer) {
	a.ResponseRecorder = httptest.NewRecorder()
	defer func() {
		if fault := recover(); fault != nil {
			if err, ok := fault.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				panic(fault)
			}
			a.dropped = true
		}
	}()
	a.err = handler.ServeHTTP(a.ResponseRecorder, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		a.app = r.Header.Clone()
		w.WriteHeader(http.StatusNoContent)
		return nil
	}))
	return a
}

// captured is a store that remembers decisions.
type captured struct {
	mu   sync.Mutex
	rows []history.Decision
}

func (c *captured) Write(_ context.Context, b *history.Batch) (history.Stored, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stored := int64(len(b.Changes))
	for _, d := range b.Decisions {
		stored += d.Count
	}
	c.rows = append(c.rows, b.Decisions...)
	return history.Stored{Entries: stored}, nil
}

func (c *captured) made() map[made]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[made]int64{}
	for _, d := range c.rows {
		all[made{d.Rule, d.Action, d.Mode}] += d.Count
	}
	return all
}

// TestOuterRuleInnerNone is the smallest nesting in which an inner handler once described the outer one's decision.
func TestOuterRuleInnerNone(t *testing.T) {
	ctx := testContext(t)
	store := new(captured)
	r := recorder.Open(recorder.Options{Logger: slog.New(slog.DiscardHandler)})
	r.Use(recorder.Settings{Store: store})
	r.Start()
	chain := loadModule(t, ctx, "http.handlers.subroute", object{"routes": []any{
		object{"handle": []any{object{"handler": "ip_reputation", "rules": []any{object{"action": "block", "score": "85"}}}}},
		object{"handle": []any{object{"handler": "ip_reputation"}}},
	}}).(*caddyhttp.Subroute)
	each(chain.Routes, func(h *Handler) { h.history = &recording{recorder: r} })
	for _, client := range []string{deniedAddr, cleanAddr} {
		if got := serve(chain, prepared(t, client)()); got.Code != http.StatusNoContent {
			t.Errorf("%s: got %d, %v", client, got.Code, got.err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	want := map[made]int64{
		{"block score 85", "block", "observe"}: 1, {"deny", "block", "observe"}: 1, {"", "pass", "observe"}: 2,
	}
	if diff := cmp.Diff(want, store.made()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPanicWhileDescribing proves that a fault of ours costs no request, that the decision holds, and that it is logged
// once.
func TestPanicWhileDescribing(t *testing.T) {
	ctx := testContext(t)
	for mode, want := range map[string]int{"observe": http.StatusNoContent, "enforce": http.StatusForbidden} {
		var log bytes.Buffer
		h := loadHandler(t, ctx, object{"mode": mode})
		h.runtime.Logger = request.WithIDs(slog.NewJSONHandler(&log, nil))
		h.history = &recording{} // has no recorder
		for range 3 {
			if got := serve(h, prepared(t, deniedAddr)()); got.Code != want || got.err != nil || len(got.Header().Get(headerRequestID)) != 32 {
				t.Errorf("%s: got %d, %v, %v", mode, got.Code, got.err, got.Header())
			}
		}
		if n := strings.Count(log.String(), "judging a request panicked"); n != 1 || !strings.Contains(log.String(), `"request_id"`) {
			t.Errorf("%s: logged %d times: %s", mode, n, log.String())
		}
	}
}

// TestVarsOfOthers proves that what other modules put into a request's variables neither ends nor misleads it.
func TestVarsOfOthers(t *testing.T) {
	ctx := testContext(t)
	block := object{"mode": "enforce", "rules": []any{object{"action": "block", "category": []any{"scanner"}}}}
	outer, inner := loadHandler(t, ctx, object{}), loadHandler(t, ctx, block)
	for name, tc := range map[string]struct {
		client string
		change func(vars map[string]any)
		want   int
	}{
		"visit replaced by a text":     {listedAddr, func(vars map[string]any) { vars[request.VisitKey] = "x" }, 403},
		"visit removed":                {listedAddr, func(vars map[string]any) { delete(vars, request.VisitKey) }, 403},
		"visit nil":                    {cleanAddr, func(vars map[string]any) { vars[request.VisitKey] = nil }, 204},
		"visit a nil visit":            {listedAddr, func(vars map[string]any) { vars[request.VisitKey] = (*visit)(nil) }, 403},
		"address of somebody else":     {cleanAddr, func(vars map[string]any) { vars[caddyhttp.ClientIPVarKey] = listedAddr }, 403},
		"address of somebody innocent": {listedAddr, func(vars map[string]any) { vars[caddyhttp.ClientIPVarKey] = cleanAddr }, 204},
		"address not a text":           {listedAddr, func(vars map[string]any) { vars[caddyhttp.ClientIPVarKey] = 7 }, 204},
		"all gone":                     {listedAddr, func(vars map[string]any) { clear(vars) }, 204},
		"proxy not a bool":             {listedAddr, func(vars map[string]any) { vars[caddyhttp.TrustedProxyVarKey] = "yes" }, 403},
	} {
		t.Run(name, func(t *testing.T) {
			between := middleware(func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
				tc.change(request.VarsOf(r))
				return inner.ServeHTTP(w, r, next)
			})
			got := serve(middleware(func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
				return outer.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
					return between(w, r, next)
				}))
			}), prepared(t, tc.client)())
			if got.Code != tc.want || got.err != nil {
				t.Errorf("got %d, %v; want %d", got.Code, got.err, tc.want)
			}
			if got.app != nil && (len(got.app.Get(headerRequestID)) != 32 || got.app.Get(headerStatus) == "") {
				t.Errorf("the application read %v", got.app)
			}
		})
	}
}

// middleware is a handler made of a function.
type middleware func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error

func (f middleware) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return f(w, r, next)
}

// TestExemptionOfOneSite proves that an address is exempt from the handler that says so, and not from another.
func TestExemptionOfOneSite(t *testing.T) {
	ctx := testContext(t)
	chain := loadModule(t, ctx, "http.handlers.subroute", object{"routes": []any{
		object{"handle": []any{object{"handler": "ip_reputation", "mode": "enforce", "exempt": []any{deniedAddr}}}},
		object{"handle": []any{object{"handler": "ip_reputation", "mode": "enforce"}}},
	}}).(*caddyhttp.Subroute)
	if got := serve(chain, prepared(t, deniedAddr)()); got.Code != http.StatusForbidden {
		t.Errorf("got %d, want 403", got.Code)
	}
}

// TestAnswersOfHandlers proves that the writer of a handler is as good as the server's: for a second status, for one
// that comes before the answer, and for a handler that takes the connection.
func TestAnswersOfHandlers(t *testing.T) {
	h := loadHandler(t, testContext(t), object{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
		err := h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			switch r.URL.Path {
			case "/twice":
				w.WriteHeader(http.StatusTeapot)
				w.WriteHeader(http.StatusOK)
			case "/hints":
				w.WriteHeader(http.StatusEarlyHints)
				w.WriteHeader(http.StatusTeapot)
			case "/hijack":
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return err
				}
				_, _ = conn.Write([]byte("HTTP/1.1 418 Taken\r\nConnection: close\r\nX-Request-ID: taken\r\n\r\n"))
				return conn.Close()
			}
			return nil
		}))
		if err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	for _, path := range []string{"/twice", "/hints", "/hijack"} {
		resp, err := server.Client().Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if id := resp.Header["X-Request-Id"]; resp.StatusCode != http.StatusTeapot || len(id) != 1 {
			t.Errorf("%s: got %d, %v", path, resp.StatusCode, resp.Header)
		}
	}
}
