package sentry

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// publicKey is the secret part of the DSNs of these tests.
const publicKey = "0123456789abcdef0123456789abcdef"

// receiver answers in the place of Sentry, at its endpoint for envelopes.
type receiver struct {
	*httptest.Server
	tb testing.TB

	mu        sync.Mutex
	events    []event
	raw       []byte
	requests  int
	behaviour http.HandlerFunc
	closing   chan struct{}
}

// event is what Sentry is told.
type event struct {
	Message     string                    `json:"message"`
	Level       string                    `json:"level"`
	Logger      string                    `json:"logger"`
	Release     string                    `json:"release"`
	Environment string                    `json:"environment"`
	ServerName  string                    `json:"server_name"`
	Fingerprint []string                  `json:"fingerprint"`
	Tags        map[string]string         `json:"tags"`
	Contexts    map[string]map[string]any `json:"contexts"`
	Exception   []struct {
		Type       string `json:"type"`
		Value      string `json:"value"`
		Stacktrace struct {
			Frames []struct{ Function, Module, Filename, AbsPath string }
		} `json:"stacktrace"`
	} `json:"exception"`
}

func (e event) attribute(name string) any { return e.Contexts["attributes"][name] }

func receive(tb testing.TB) *receiver {
	tb.Helper()
	r := &receiver{tb: tb, closing: make(chan struct{})}
	r.Server = httptest.NewServer(r)
	tb.Cleanup(func() {
		close(r.closing)
		r.Close()
	})
	return r
}

// dsn is where to report to.
func (r *receiver) dsn() string {
	return strings.Replace(r.URL, "://", "://"+publicKey+"@", 1) + "/42"
}

func (r *receiver) behave(f http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.behaviour = f
}

// hang does not answer until the caller has given up.
func (r *receiver) hang(_ http.ResponseWriter, req *http.Request) {
	select {
	case <-req.Context().Done():
	case <-r.closing:
	}
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if req.Header.Get("Content-Encoding") == "gzip" && err == nil {
		var unzip *gzip.Reader
		if unzip, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
			body, err = io.ReadAll(unzip)
		}
	}
	r.mu.Lock()
	r.requests++
	behaviour := r.behaviour
	r.mu.Unlock()
	if behaviour != nil {
		behaviour(w, req)
		return
	}
	if err != nil || req.URL.Path != "/api/42/envelope/" || !strings.Contains(req.Header.Get("X-Sentry-Auth"), publicKey) {
		r.tb.Errorf("%s %s: %v", req.Method, req.URL, err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, 1<<20)
	for header := true; lines.Scan(); header = false {
		if header { // of the envelope, which names the DSN
			continue
		}
		var item struct{ Type string }
		if json.Unmarshal(lines.Bytes(), &item) != nil || item.Type != "event" || !lines.Scan() {
			r.tb.Errorf("not an event: %s", lines.Bytes())
			continue
		}
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			r.tb.Error(err)
		}
		r.events = append(r.events, e)
		r.raw = append(r.raw, lines.Bytes()...)
	}
}

// all returns the events so far.
func (r *receiver) all() []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]event(nil), r.events...)
}

func (r *receiver) asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests
}

// open opens a Reporter that reports to the receiver, and a logger whose errors it reports.
func open(r *receiver, o Options) (*Reporter, *slog.Logger, *logtest.Log) {
	said := new(logtest.Log)
	if o.DSN == nil {
		o.DSN = func() (string, bool) { return r.dsn(), true }
	}
	o.Logger = said.Logger()
	reporter := Open(o)
	reporter.Start()
	log := slog.New(Tee(said.Logger().Handler(), "ip_reputation.test", func() *Reporter { return reporter }))
	return reporter, log, said
}

// closed closes a Reporter and returns what arrived.
func closed(tb testing.TB, reporter *Reporter, r *receiver) []event {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	reporter.Close(ctx)
	return r.all()
}

func eventually(tb testing.TB, what string, so func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("in vain: %s", what)
		}
	}
}

var hexDSN = regexp.MustCompile(publicKey)
