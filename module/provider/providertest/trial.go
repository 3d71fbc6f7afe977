package providertest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	// testKey is what a key looks like. It occurs in nothing else.
	testKey = "k3y9f1c0a7e52d84b6aa10c3e5d7f9b2c4e6a8091b3"

	// basePath ends the base URL, so that a URL in an error can be told from a mere host name.
	basePath = "/b4se-7d1f/v9"

	// leakLength is how much of a key may not be seen: an error that cuts what it quotes can hold the half of one.
	leakLength = 10
)

type suite struct {
	Config
	sample *Case
}

// testKey is the key that the suite asks with.
func (s *suite) testKey() string { return s.KeyPrefix + testKey }

// trial is one provider with a service of its own.
type trial struct {
	provider reputation.Provider
	baseURL  string
	patience time.Duration
	key      string // what ask asks with

	mu    sync.Mutex
	dumps []string // the requests that came, head and body
}

// trial starts a service that answers with handler, and a provider that asks it.
func (s *suite) trial(tb testing.TB, handler http.HandlerFunc) *trial {
	tb.Helper()
	t := &trial{patience: s.patience, key: s.testKey()}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		dump, _ := httputil.DumpRequest(r, true)
		t.mu.Lock()
		t.dumps = append(t.dumps, string(dump))
		t.mu.Unlock()
		handler(w, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	tb.Cleanup(func() {
		server.CloseClientConnections() // ends handlers that wait for the provider to give up
		server.Close()
	})
	t.baseURL = server.URL + basePath
	t.provider = s.New(tb, t.baseURL)
	return t
}

func (t *trial) requests() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.dumps...)
}

// wantRequests checks how many requests have come.
func (t *trial) wantRequests(want int) error {
	if got := len(t.requests()); got != want {
		return fmt.Errorf("the service got %d requests, want %d", got, want)
	}
	return nil
}

// outcome is what one Check came to.
type outcome struct {
	report reputation.Report
	err    error
}

// ask calls Check with the test key and finds fault with what must never happen, whatever the service did.
func (t *trial) ask(ctx context.Context, addr netip.Addr) (outcome, error) {
	return t.askWith(ctx, addr, t.key)
}

func (t *trial) askWith(ctx context.Context, addr netip.Addr, key string) (outcome, error) {
	logged := capture()
	defer logged.restore()
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			if r := recover(); r != nil {
				o.err = errPanic
			}
			done <- o
		}()
		o.report, o.err = t.provider.Check(ctx, reputation.Query{Addr: addr, Key: key})
	}()
	timer := time.NewTimer(t.patience)
	defer timer.Stop()
	select {
	case o := <-done:
		return o, errors.Join(o.fault(t.baseURL, addr, key), logged.fault(t.baseURL, addr, key), t.unstated(o))
	case <-timer.C:
		return outcome{}, fmt.Errorf("Check has not returned after %s", t.patience)
	}
}

var errPanic = errors.New("Check panicked")

// want checks that the outcome is of one of the given kinds.
func (o outcome) want(results ...reputation.Result) error {
	got := reputation.ResultOf(o.err)
	words := make([]string, len(results))
	for i, r := range results {
		if got == r {
			return nil
		}
		words[i] = r.String()
	}
	return fmt.Errorf("the result is %s (error: %w), want %s", got, o.err, strings.Join(words, " or "))
}

func (o outcome) retryAfter() time.Duration {
	if throttled, ok := errors.AsType[*reputation.ThrottledError](o.err); ok {
		return throttled.RetryAfter
	}
	return 0
}

// fault returns what is wrong with the outcome whatever was asked.
func (o outcome) fault(baseURL string, addr netip.Addr, key string) error {
	if errors.Is(o.err, errPanic) {
		return errPanic
	}
	if o.err == nil {
		return implausible(o.report)
	}
	for err := range tree(o.err) {
		if what := leak(err.Error(), baseURL, addr, key); what != "" {
			return fmt.Errorf("an error of type %T holds %s: %w", err, what, err)
		}
	}
	return nil
}

// unstated returns what a report says that the provider's profile does not.
func (t *trial) unstated(o outcome) error {
	if o.err == nil {
		return t.provider.Profile().Says.Check(o.report)
	}
	return nil
}

// tree yields err and all that it wraps: what a wrapper hides, a logger may unwrap.
func tree(err error) func(yield func(error) bool) {
	var walk func(err error, yield func(error) bool) bool
	walk = func(err error, yield func(error) bool) bool {
		if err == nil {
			return true
		}
		if !yield(err) {
			return false
		}
		switch e := err.(type) { //nolint:errorlint // this is what takes the chain apart
		case interface{ Unwrap() error }:
			return walk(e.Unwrap(), yield)
		case interface{ Unwrap() []error }:
			for _, part := range e.Unwrap() {
				if !walk(part, yield) {
					return false
				}
			}
		}
		return true
	}
	return func(yield func(error) bool) { walk(err, yield) }
}

// leak names the secret that text holds, or returns "".
func leak(text, baseURL string, addr netip.Addr, key string) string {
	text = strings.ToLower(text)
	if packed := base64.StdEncoding.EncodeToString([]byte(key)); key != "" && strings.Contains(text, strings.ToLower(packed)) {
		return "the key, in base64"
	}
	for i := 0; i+min(leakLength, len(key)) <= len(key) && key != ""; i++ {
		if strings.Contains(text, strings.ToLower(key[i:i+min(leakLength, len(key))])) {
			return "the key, or a part of it"
		}
	}
	for _, spelling := range []string{addr.String(), addr.StringExpanded(), url.QueryEscape(addr.String())} {
		if strings.Contains(text, strings.ToLower(spelling)) {
			return "the visitor's address"
		}
	}
	host, _, _ := strings.Cut(baseURL, basePath)
	if strings.Contains(text, host) || strings.Contains(text, strings.Trim(basePath, "/")) {
		return "the base URL"
	}
	return ""
}

// implausible returns what is out of range in a report.
func implausible(r reputation.Report) error {
	switch c := r.Facts.Country; {
	case math.IsNaN(r.Severity) || r.Severity < -1 || r.Severity > 1:
		return fmt.Errorf("the severity is %g, outside -1 to 1", r.Severity)
	case math.IsNaN(r.Confidence) || r.Confidence < 0 || r.Confidence > 1:
		return fmt.Errorf("the confidence is %g, outside 0 to 1", r.Confidence)
	case c != "" && (len(c) != 2 || c[0] < 'A' || c[0] > 'Z' || c[1] < 'A' || c[1] > 'Z'):
		return fmt.Errorf("the country is %q, not two capital letters", c)
	case r.TTL < 0:
		return fmt.Errorf("the TTL is %s, below 0", r.TTL)
	}
	return nil
}

// lapse is a context whose deadline passes when the test says so, and not by the clock.
type lapse struct {
	context.Context
	passed chan struct{}
	once   sync.Once
}

func newLapse() *lapse { return &lapse{Context: context.Background(), passed: make(chan struct{})} }

func (l *lapse) expire()                     { l.once.Do(func() { close(l.passed) }) }
func (l *lapse) Deadline() (time.Time, bool) { return time.Time{}, false }
func (l *lapse) Done() <-chan struct{}       { return l.passed }
func (l *lapse) Err() error {
	select {
	case <-l.passed:
		return context.DeadlineExceeded
	default:
		return nil
	}
}
