package e2e_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// trouble is one way in which a provider fails, and what is counted then.
type trouble struct {
	name   string
	serve  http.HandlerFunc // nil: nobody listens
	result string
}

// hostileBody is what a server that went wrong, or bad, may say: it repeats what it was asked, the key included.
func hostileBody(w http.ResponseWriter, r *http.Request, status int, kind, body string) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, body, r.Header.Get("Key"), r.URL)
}

// bomb is ten megabytes, compressed.
func bomb() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(make([]byte, 10<<20))
	_ = z.Close()
	return b.Bytes()
}

func troubles(elsewhere *httptest.Server) []trouble {
	const page = "<!DOCTYPE html><html><body>%s %s</body></html>"
	const refusal = `{"errors":[{"detail":"the key %s is wrong, asked for %s","status":401}]}`
	compressed := bomb()
	return []trouble{
		{"dead", nil, "error"},
		{"garbage", garbage, "bad_answer"},
		{"HTML", func(w http.ResponseWriter, r *http.Request) {
			hostileBody(w, r, 200, "text/html", page)
		}, "bad_answer"},
		{"HTML that calls itself JSON", func(w http.ResponseWriter, r *http.Request) {
			hostileBody(w, r, 200, "application/json", page)
		}, "bad_answer"},
		{"another address", func(w http.ResponseWriter, r *http.Request) {
			hostileBody(w, r, 200, "application/json", `{"data":{"ipAddress":"198.51.100.77","abuseConfidenceScore":100,`+
				`"totalReports":900,"numDistinctUsers":90,"isp":"%s","domain":"%s"}}`)
		}, "bad_answer"},
		{"10 MiB", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"data":{"isp":"`)
			for range 10 {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
					return
				}
			}
		}, "bad_answer"},
		{"gzip bomb", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(compressed)
		}, "bad_answer"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/?stolen="+r.Header.Get("Key"), http.StatusFound)
		}, "bad_answer"},
		{"broken off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"data":`)
			panic(http.ErrAbortHandler)
		}, "error"},
		{"401", func(w http.ResponseWriter, r *http.Request) { hostileBody(w, r, 401, "application/json", refusal) }, "refused"},
		{"429", throttle, "throttled"},
		{"429 in HTML", func(w http.ResponseWriter, r *http.Request) { hostileBody(w, r, 429, "text/html", page) }, "throttled"},
		{"500", func(w http.ResponseWriter, r *http.Request) { hostileBody(w, r, 500, "application/json", refusal) }, "error"},
		{"503 in HTML", func(w http.ResponseWriter, r *http.Request) { hostileBody(w, r, 503, "text/html", page) }, "error"},
	}
}

// TestProviderTrouble proves promises 2 and 10: whatever a provider does, the visitor is served, the application reads that
// nobody could tell, the failure is counted as what it is, and neither key nor address gets out.
func TestProviderTrouble(t *testing.T) {
	stolen := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen++ }))
	t.Cleanup(elsewhere.Close)
	for _, tc := range troubles(elsewhere) {
		t.Run(tc.name, func(t *testing.T) {
			s := startStandIn(t)
			s.behave(tc.serve)
			if tc.serve == nil {
				s.Close()
			}
			b := startBackend(t)
			c := newConfig(t)
			c.ask(s)
			c.app["providers"].([]any)[0].(object)["timeout"] = "30s"
			c.app["feeds"] = []any{object{"name": "scanners", "sources": []any{"198.51.100.0/24"}}}
			c.next = []any{proxyTo(b.Server)}
			c.server = object{"logs": object{}}
			c.handler["rules"] = []any{rule("block", object{"score": "85"}), rule("block", object{"status": []any{"partial"}, "score": "12"})}
			c.server["errors"] = object{"routes": []any{object{"handle": []any{object{
				"handler": "static_response", "status_code": "{http.error.status_code}",
				"body": "{http.error.message} {http.error} {http.error.trace} {http.ip_reputation.reasons}",
			}}}}}
			r := startCaddy(t, c)
			before := r.outcomes(t)

			got := r.visit(t, cleanClient)
			if got.status != http.StatusAccepted {
				t.Errorf("the visitor is answered with status %d", got.status)
			}
			wantTold(t, b.only(t), map[string]string{
				"Score": "1", "Status": "partial", "Action": "pass", "Coverage": "0.50",
			})
			if diff := cmp.Diff(map[string]float64{tc.result: 1}, r.outcomesSince(t, before)); diff != "" {
				t.Errorf("counted (-want +got):\n%s", diff)
			}

			// what is known from elsewhere still counts
			blocked := r.visit(t, scannerClient)
			if blocked.status != http.StatusForbidden {
				t.Errorf("a listed visitor is answered with status %d", blocked.status)
			}
			b.none(t)

			if n := s.asked(); tc.serve != nil && n > 2 {
				t.Errorf("the provider was asked %d times about 2 addresses", n)
			}
			secrets := c.secrets(s)
			wantNone(t, "the answer", fmt.Sprint(got), secrets...)
			wantNone(t, "the error page", fmt.Sprint(blocked), secrets...)
			wantNone(t, "/metrics", send(t, http.MethodGet, r.admin+"/metrics", "", nil).body, keyText)
			wantNone(t, "the status", r.ask(t, http.MethodGet, "status", "").body, keyText)
			wantNone(t, "the log", r.logs(t), keyText)
			if !strings.Contains(r.logs(t), `"provider":"abuseipdb"`) {
				t.Error("the log says nothing about the provider")
			}
			config := send(t, http.MethodGet, r.admin+"/config/", "", nil).body
			wantNone(t, "/config", config, keyText)
			if !strings.Contains(config, `{env.`+keyName+`}`) {
				t.Error("/config does not show the key's placeholder")
			}
		})
	}
	if stolen > 0 {
		t.Errorf("a redirect was followed %d times, with the key", stolen)
	}
}

// TestNobodyKnows proves that a site whose only source fails says so, and does not call anybody clean.
func TestNobodyKnows(t *testing.T) {
	s := startStandIn(t)
	s.behave(refuse)
	b := startBackend(t)
	c := newConfig(t)
	c.ask(s)
	c.next = []any{proxyTo(b.Server)}
	r := startCaddy(t, c)
	for range 3 {
		r.visit(t, cleanClient)
		wantTold(t, b.only(t), map[string]string{"Status": "unknown", "Action": "pass", "Coverage": "0.00"})
	}
	if n := s.asked(); n != 1 {
		t.Errorf("the provider was asked %d times, although it refused", n)
	}
}

// TestAHangingProvider proves promise 1: the visitor is answered while the provider still hangs, and so is the next.
func TestAHangingProvider(t *testing.T) {
	for _, wait := range []string{"25ms", "0s"} {
		t.Run("wait "+wait, func(t *testing.T) {
			s := startStandIn(t)
			var hanging atomic.Int32
			s.behave(func(w http.ResponseWriter, r *http.Request) {
				hanging.Add(1)
				defer hanging.Add(-1)
				s.hang(w, r)
			})
			b := startBackend(t)
			c := newConfig(t)
			c.ask(s)
			c.app["wait"] = wait
			c.app["providers"].([]any)[0].(object)["timeout"] = "60s" // longer than the test may take
			c.next = []any{proxyTo(b.Server)}
			r := startCaddy(t, c)
			for range 3 {
				if got := r.visit(t, cleanClient); got.status != http.StatusAccepted {
					t.Errorf("status %d", got.status)
				}
				wantTold(t, b.only(t), map[string]string{"Status": "pending", "Action": "pass", "Coverage": "0.00"})
			}
			eventually(t, "the provider hangs", func() bool { return hanging.Load() == 1 })
			if n := s.asked(); n != 1 {
				t.Errorf("the provider was asked %d times about one address", n)
			}

			// nor do a reload and a stop wait for it
			r.reload(t)
			r.visit(t, cleanClient)
			b.only(t)
			if hanging.Load() == 0 {
				t.Error("a reload waited for the provider, or gave the answer up that was paid for")
			}
		})
	}
}

// startGated starts a stand-in that hands every question on to another one, which knows the answers, once it is released.
func startGated(t *testing.T) (gate, knowing *standIn, release func()) {
	t.Helper()
	gate, knowing = startStandIn(t), startStandIn(t)
	open := make(chan struct{})
	gate.behave(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-open:
			knowing.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})
	return gate, knowing, func() { close(open) }
}

// TestALateAnswerServesTheNextRequest proves that a question goes on when nobody waits for it any more.
func TestALateAnswerServesTheNextRequest(t *testing.T) {
	s, knowing, release := startGated(t)
	knowing.know(badClient, 100, 60)
	c := newConfig(t)
	c.ask(s)
	c.app["wait"] = "1ms"
	r := startCaddy(t, c)
	if got := r.visit(t, badClient).status; got != http.StatusOK {
		t.Errorf("before the answer: status %d", got)
	}
	release()
	eventually(t, "the answer is there", func() bool { return r.visit(t, badClient).status == http.StatusForbidden })
}

// TestOneQuestion proves that a thousand requests from one unknown address are one call, and that all get its answer.
func TestOneQuestion(t *testing.T) {
	const requests = 1000
	s, knowing, release := startGated(t)
	knowing.know(badClient, 100, 60)
	c := newConfig(t)
	c.ask(s)
	c.app["wait"] = "10s"
	r := startCaddy(t, c)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: requests}}
	t.Cleanup(client.CloseIdleConnections)
	var wg sync.WaitGroup
	var began, blocked atomic.Int32
	for range requests {
		wg.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.site+"/", nil)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("X-Forwarded-For", badClient)
			began.Add(1)
			resp, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusForbidden {
				blocked.Add(1)
			}
		})
	}
	eventually(t, "all requests are under way", func() bool { return began.Load() == requests && s.asked() > 0 })
	release()
	wg.Wait()
	if n := s.asked(); n != 1 {
		t.Errorf("%d calls for %d requests from one address", n, requests)
	}
	if n := blocked.Load(); n != requests {
		t.Errorf("%d of %d requests were blocked", n, requests)
	}
}

// TestWhatServicesAreTold proves, at the service, that `send network` keeps the address of an IPv6 client back, and that
// `ask unless_listed` keeps back the addresses that are on a feed.
func TestWhatServicesAreTold(t *testing.T) {
	const listed, client6, network6 = "203.0.113.99", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"
	s := startStandIn(t)
	s.know(badClient, 100, 60)
	c := newConfig(t)
	c.ask(s)
	c.app["wait"] = "10s"
	provider, _ := c.app["providers"].([]any)[0].(object)
	provider["send"], provider["ask"] = "network", "unless_listed"
	c.app["feeds"] = []any{object{"name": "mine", "sources": []any{listed}}}
	r := startCaddy(t, c)
	for client, want := range map[string]int{badClient: http.StatusForbidden, client6: http.StatusOK, listed: http.StatusOK} {
		if got := r.visit(t, client).status; got != want {
			t.Errorf("%s: status %d, want %d", client, got, want)
		}
	}
	if s.asked() != 2 || s.asked(badClient) != 1 || s.asked(network6) != 1 {
		t.Errorf("asked about %v", s.calls)
	}
}
