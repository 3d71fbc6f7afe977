package e2e_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/quic-go/quic-go/http3"
)

// droppingConfig returns a configuration that drops whoever asks for a path below /bad, and no proxy in front.
func droppingConfig(t *testing.T) *config {
	t.Helper()
	c := newConfig(t)
	c.app["deny"] = []any{"127.0.0.1"}
	handler := object{"handler": "ip_reputation", "mode": "enforce", "rules": []any{rule("drop", object{"score": "100"})}}
	c.server = object{
		"trusted_proxies": nil, "trusted_proxies_strict": nil,
		"routes": []any{
			object{"match": []any{object{"path": []any{"/bad*"}}}, "handle": []any{handler}},
			object{"handle": []any{object{"handler": "static_response", "body": "passed"}}},
		},
		"errors": object{"routes": []any{object{"handle": []any{
			object{"handler": "static_response", "body": "an error page"},
		}}}},
	}
	return c
}

// unfinished are the requests of clients who never send all of a body.
var unfinished = map[string][]string{
	"a length":     {"Content-Length: 1000", "", "abc"},
	"chunks":       {"Transfer-Encoding: chunked", "", "3", "abc"},
	"100-continue": {"Content-Length: 1000", "Expect: 100-continue", ""},
}

// TestDropSendsNothing proves that a dropped visitor gets no byte and is not waited for, and that others on the same
// server are served.
func TestDropSendsNothing(t *testing.T) {
	c := droppingConfig(t)
	r := startCaddy(t, c)
	requests := map[string][]string{"no body": {""}}
	for name, rest := range unfinished {
		requests[name] = rest
	}
	for name, rest := range requests {
		request := append([]string{"POST /bad HTTP/1.1", "Host: " + siteName}, rest...)
		if answer := speak(t, "tcp", c.siteAddr, lines(request...)); answer != "" {
			t.Errorf("%s: the visitor was sent %q", name, answer)
		}
		if got := send(t, http.MethodGet, r.site+"/", "", nil).status; got != http.StatusOK {
			t.Errorf("another request: status %d", got)
		}
	}
	if got := r.metric(t, `requests_total{action="drop",mode="enforce",status="fresh"}`); got < 4 {
		t.Errorf("%v drops were counted, want 4 and more", got)
	}
	if strings.Contains(r.logs(t), "drop acts as block") {
		t.Error("a proxy is said to be trusted, there is none")
	}
}

// TestDropEndsOneStream proves that a drop in HTTP/2 and HTTP/3 ends one stream, without an answer and without waiting for
// its body, and not those of others on the connection.
func TestDropEndsOneStream(t *testing.T) {
	c := droppingConfig(t)
	trust := c.secure(t)
	end := make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream") // Caddy sends each piece at once
		_, _ = io.WriteString(w, "begin ")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-end:
			_, _ = io.WriteString(w, "end")
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(app.Close)
	c.server["routes"] = append([]any{object{
		"match": []any{object{"path": []any{"/stream"}}}, "handle": []any{proxyTo(app)},
	}}, c.server["routes"].([]any)...)
	startCaddy(t, c)
	h2 := &http.Transport{TLSClientConfig: trust.Clone(), ForceAttemptHTTP2: true, MaxConnsPerHost: 1}
	h3 := &http3.Transport{TLSClientConfig: trust.Clone()}
	t.Cleanup(func() {
		h2.CloseIdleConnections()
		_ = h3.Close()
	})
	for name, transport := range map[string]http.RoundTripper{"HTTP/2.0": h2, "HTTP/3.0": h3} {
		t.Run(name, func(t *testing.T) {
			ask := func(method, path string, body io.Reader) (*http.Response, error) {
				req, err := http.NewRequestWithContext(t.Context(), method, "https://"+c.siteAddr+path, body)
				if err != nil {
					t.Fatal(err)
				}
				return transport.RoundTrip(req)
			}
			stream, err := ask(http.MethodGet, "/stream", nil) // is under way all the time
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Body.Close()
			for range 3 {
				never, hang := io.Pipe()
				if resp, err := ask(http.MethodPost, "/bad", never); err == nil {
					_ = resp.Body.Close()
					t.Error("a bad request was answered")
				}
				_ = hang.Close()
				resp, err := ask(http.MethodGet, "/", nil)
				if err != nil {
					t.Fatalf("another request: %v", err)
				}
				_ = resp.Body.Close()
				if resp.Proto != name {
					t.Fatalf("spoke %s", resp.Proto)
				}
			}
			end <- struct{}{}
			if text, err := io.ReadAll(stream.Body); err != nil || string(text) != "begin end" {
				t.Errorf("the request under way: got %q, %v", text, err)
			}
		})
	}
}

// TestDropFromATrustedProxyBlocks proves that a proxy gets an answer for whom it hands on, on a connection that stays, and
// that headers, log and metrics say block.
func TestDropFromATrustedProxyBlocks(t *testing.T) {
	c := newConfig(t)
	c.app["deny"] = []any{deniedClient, "127.0.0.9"}
	c.handler["rules"] = []any{rule("drop", object{"score": "100"})}
	c.server = object{"trusted_proxies": object{"source": "static", "ranges": []any{"127.0.0.1/32"}}}
	r := startCaddy(t, c)
	before := r.metric(t, `requests_total{action="block",mode="enforce",status="fresh"}`)

	ask := func(client, connection string) string {
		return lines("GET / HTTP/1.1", "Host: "+siteName, "X-Forwarded-For: "+client, "Connection: "+connection, "")
	}
	answers := speak(t, "tcp", c.siteAddr, ask(deniedClient, "keep-alive")+ask(cleanClient, "close"))
	if !strings.HasPrefix(answers, "HTTP/1.1 403 ") || !strings.HasSuffix(answers, "passed") {
		t.Errorf("the proxy was sent %q, want a 403 and then a 200", answers)
	}
	if got := speakFrom(t, "127.0.0.9", c.siteAddr, ask(cleanClient, "close")); got != "" {
		t.Errorf("a client beside the proxy was sent %q, want a drop", got)
	}
	if got := r.metric(t, `requests_total{action="block",mode="enforce",status="fresh"}`); got != before+1 {
		t.Errorf("%v blocks were counted, want 1", got-before)
	}
	for _, want := range []string{
		`"msg":"drop acts as block for requests from a trusted proxy","server":"site"`,
		`"action":"block","mode":"enforce","rule":1`, `"action":"drop","mode":"enforce","rule":1`,
	} {
		eventually(t, want+" is logged", func() bool { return strings.Count(r.logs(t), want) == 1 })
	}
}

// TestBlockHoldsNoConnectionLonger proves that a block of an unfinished request ends when Caddy's own 403 does: with the
// time that the server has for reading.
func TestBlockHoldsNoConnectionLonger(t *testing.T) {
	c := newConfig(t)
	c.app["deny"] = []any{"127.0.0.1"}
	c.server = object{
		"trusted_proxies": nil, "trusted_proxies_strict": nil,
		"read_timeout": "2s", // a busy machine needs some of it for the header
		"routes": []any{
			object{"match": []any{object{"path": []any{"/ours"}}}, "handle": []any{object{"handler": "ip_reputation", "mode": "enforce"}}},
			object{"handle": []any{object{"handler": "error", "status_code": http.StatusForbidden}}},
		},
	}
	startCaddy(t, c)
	var all sync.WaitGroup
	for name, rest := range unfinished {
		for _, path := range []string{"/caddy", "/ours"} {
			all.Go(func() {
				request := append([]string{"POST " + path + " HTTP/1.1", "Host: " + siteName}, rest...)
				answer := speak(t, "tcp", c.siteAddr, lines(request...))
				if !strings.HasPrefix(answer, "HTTP/1.1 403 ") || !strings.Contains(answer, "Connection: close") {
					t.Errorf("%s %s: the visitor was sent %q", path, name, answer)
				}
			})
		}
	}
	all.Wait()
}
