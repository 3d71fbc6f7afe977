package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const (
	dsnName   = "IP_REPUTATION_TEST_SENTRY_DSN"
	dsnSecret = "public-key-of-the-project"
)

// sentryServer answers in the place of Sentry, at its endpoint for envelopes.
type sentryServer struct {
	*httptest.Server

	mu      sync.Mutex
	events  []sentryEvent
	raw     bytes.Buffer
	hangs   bool
	asked   int
	closing chan struct{}
}

// sentryEvent is what Sentry is told.
type sentryEvent struct {
	Message   string            `json:"message"`
	Logger    string            `json:"logger"`
	Release   string            `json:"release"`
	Tags      map[string]string `json:"tags"`
	Exception []struct {
		Stacktrace struct{ Frames []struct{ Function string } }
	} `json:"exception"`
}

// startSentry starts a Sentry, whose DSN is in the environment.
func startSentry(tb testing.TB) *sentryServer {
	tb.Helper()
	s := &sentryServer{closing: make(chan struct{})}
	s.Server = httptest.NewServer(s)
	tb.Cleanup(func() {
		close(s.closing)
		s.Close()
	})
	tb.Setenv(dsnName, strings.Replace(s.URL, "://", "://"+dsnSecret+"@", 1)+"/7")
	return s
}

// ServeHTTP implements http.Handler.
func (s *sentryServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	s.asked++
	hangs := s.hangs
	s.mu.Unlock()
	if hangs {
		select {
		case <-r.Context().Done():
		case <-s.closing:
		}
		return
	}
	if err != nil || r.URL.Path != "/api/7/envelope/" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for lines := bufio.NewScanner(bytes.NewReader(body)); lines.Scan(); {
		var e sentryEvent
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Message != "" {
			s.events = append(s.events, e)
			s.raw.Write(lines.Bytes())
		}
	}
}

func (s *sentryServer) hang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangs = true
}

// told returns what the Sentry was told with the given words in the message.
func (s *sentryServer) told(words string) (events []sentryEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if strings.Contains(e.Message, words) {
			events = append(events, e)
		}
	}
	return events
}

func (s *sentryServer) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *sentryServer) everything() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.raw.String()
}

// report lets the app report to the Sentry of the environment.
func (c *config) report() { c.app["sentry"] = object{"dsn": object{"value": "{env." + dsnName + "}"}} }

// core lets all of Caddy report to the Sentry of the environment.
func (c *config) core() {
	c.logging = object{"core": object{"module": "ip_reputation_sentry", "dsn": "{env." + dsnName + "}"}}
}

const allRefused = "no key of the provider is accepted"

// TestARefusedKeyIsReportedOnce proves that a provider that refuses our key is one report, however many visitors come, over
// reloads, and with the log core beside the app; that neither key nor visitor is in it; and that the DSN is shown nowhere.
func TestARefusedKeyIsReportedOnce(t *testing.T) {
	for name, set := range map[string]func(*config){
		"app":      (*config).report,
		"log core": (*config).core,
		"both":     func(c *config) { c.report(); c.core() },
	} {
		t.Run(name, func(t *testing.T) {
			sentry, s := startSentry(t), startStandIn(t)
			s.behave(refuse)
			c := newConfig(t)
			c.ask(s)
			set(c)
			r := startCaddy(t, c)
			for i := range 20 {
				r.visit(t, fmt.Sprintf("198.51.100.%d", i+1))
			}
			eventually(t, "the refused key is reported", func() bool { return len(sentry.told(allRefused)) > 0 })
			// a key of another account is refused as well
			t.Setenv(keyName, "another-key-that-must-not-leak")
			r.app["wait"] = "9s"
			r.reload(t)
			for i := range 20 {
				r.visit(t, fmt.Sprintf("198.51.100.%d", i+101))
			}
			config := send(t, http.MethodGet, r.admin+"/config/", "", nil).body
			status := r.ask(t, http.MethodGet, "status", "").body
			log := r.logs(t)
			r.stop(t) // which sends what is waiting
			if n := strings.Count(log, allRefused); n < 2 {
				t.Errorf("the log has %d entries, want one for each key:\n%s", n, log)
			}
			if got := sentry.told(allRefused); len(got) != 1 || got[0].Tags["provider"] != "abuseipdb" || got[0].Logger != "ip_reputation" ||
				!strings.HasPrefix(got[0].Release, "caddy-ip-reputation@") {
				t.Errorf("reports: %+v", got)
			}
			wantNone(t, "a report", sentry.everything(), keyText, "another-key", "198.51.100.", dsnSecret)
			for where, text := range map[string]string{"/config": config, "the status": status, "the log": log} {
				wantNone(t, where, text, dsnSecret)
			}
		})
	}
}

// TestSentryIsNeverInTheWay proves that with a Sentry that does not answer, visitors are served, a reload is quick, and the
// process ends within a bound.
func TestSentryIsNeverInTheWay(t *testing.T) {
	sentry, s := startSentry(t), startStandIn(t)
	sentry.hang()
	s.behave(refuse)
	c := newConfig(t)
	c.ask(s)
	c.report()
	c.core()
	p := startProcess(t, c)
	for i := range 5 {
		if got := p.visit(t, fmt.Sprintf("198.51.100.%d", i+1)); got.status != http.StatusOK {
			t.Errorf("a visitor is answered with status %d", got.status)
		}
	}
	eventually(t, "a report is under way", func() bool { return sentry.requests() > 0 })
	c.app["sentry"].(object)["environment"] = "another" // the old reporter must go
	if got := p.load(t); got.status != 200 {
		t.Fatalf("reloading: %d %s", got.status, got.body)
	}
	gone := make(chan struct{})
	go func() {
		p.end(os.Interrupt)
		close(gone)
	}()
	select {
	case <-gone:
	case <-time.After(20 * time.Second): // less than what the SDK would wait for a request
		t.Error("the process does not end")
	}
	wantNone(t, "the log", p.logs(t), dsnSecret)
}

// TestReloadsLeaveNoReporter proves that reloads that change the settings, that do not, and that fail leave no goroutine.
func TestReloadsLeaveNoReporter(t *testing.T) {
	startSentry(t)
	c := newConfig(t)
	c.report()
	c.core()
	r := startCaddy(t, c)
	reporters := func() int {
		stacks := make([]byte, 4<<20)
		return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "sentry.(*Reporter).run(")
	}
	for i := range 5 {
		c.app["sentry"].(object)["environment"] = fmt.Sprint("e", i)
		r.reload(t)
		r.reload(t)
		c.app["wait"] = "1h"
		if r.tryReload(t) == nil {
			t.Fatal("a wrong configuration is loaded")
		}
		c.app["wait"] = "10s"
	}
	eventually(t, "one reporter is left", func() bool { return reporters() == 1 })
	r.stop(t)
	eventually(t, "none is left", func() bool { return reporters() == 0 })
}

// breaks is a handler that fails as handlers do: with a status, an error, or a panic.
type breaks struct{}

func (breaks) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.ip_reputation_test_breaks", New: func() caddy.Module { return new(breaks) }}
}

const internals = "dial tcp 192.0.2.7:5432: password=must-not-leak-either"

func (breaks) ServeHTTP(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	switch r.URL.Path {
	case "/error":
		return fmt.Errorf("%s", internals)
	case "/missing":
		return caddyhttp.Error(http.StatusNotFound, fmt.Errorf("visitor's mistake"))
	case "/panic":
		panic(internals)
	}
	return nil
}

func init() { caddy.RegisterModule(breaks{}) }

// TestVisitorsSeeNothingInternal proves that neither the page of a blocked request, with whatever status, nor that of an
// error says anything but the status, and that a panic shows nothing; and that of these, the log core reports the error only,
// without the visitor.
func TestVisitorsSeeNothingInternal(t *testing.T) {
	sentry, s := startSentry(t), startStandIn(t)
	s.know(badClient, 100, 60)
	c := newConfig(t)
	c.ask(s)
	c.core()
	c.server = object{"logs": object{}}
	c.handler["rules"].([]any)[0].(object)["status_code"] = 503
	c.next = []any{object{"handler": "ip_reputation_test_breaks"}}
	r := startCaddy(t, c)
	get := func(path, client string) reply {
		return send(t, http.MethodGet, r.site+path+"?token=visitors-secret", "", http.Header{
			"X-Forwarded-For": {client}, "User-Agent": {"visitors-browser"}, "Cookie": {"visitors-cookie"},
		})
	}
	for path, want := range map[string]int{"/error": 500, "/missing": 404} {
		if got := get(path, "198.51.100.1"); got.status != want || got.body != "" {
			t.Errorf("%s is answered with status %d and %q, want %d and nothing", path, got.status, got.body, want)
		}
	}
	blocked := get("/", badClient)
	if blocked.status != 503 || ownBody(blocked) != "" {
		t.Errorf("a blocked request is answered with status %d and %q", blocked.status, blocked.body)
	}
	for name, values := range blocked.header {
		wantNone(t, "the header "+name, fmt.Sprint(values), "abuseipdb", "score", keyText)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.site+"/panic", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-For", "198.51.100.1")
	if resp, err := client.Do(req); err == nil {
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		wantNone(t, "the page of a panic", string(body), "192.0.2.7", "must-not-leak", "goroutine")
	}
	eventually(t, "the error is reported", func() bool { return len(sentry.told("dial tcp")) > 0 })
	eventually(t, "the panic is reported", func() bool { return len(sentry.told("a handler panicked: dial tcp")) == 1 })
	r.stop(t)
	if got := sentry.told("a handler panicked")[0].Message; !strings.Contains(got, "in "+"github.com/caddy-ip-reputation/caddy-ip-reputation/module/e2e_test.breaks.ServeHTTP") {
		t.Errorf("the panic's report does not say where: %s", got)
	}
	for _, words := range []string{"mistake", "blocked by", "handled request"} {
		if got := sentry.told(words); len(got) != 0 {
			t.Errorf("what nobody must act on is reported: %+v", got)
		}
	}
	wantNone(t, "a report", sentry.everything(), "visitors-", "must-not-leak", "198.51.100.1", "127.0.0.1", badClient)
}
