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
	"unicode"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	// testKey has the form of a key and occurs nowhere else.
	testKey = "k3y9f1c0a7e52d84b6aa10c3e5d7f9b2c4e6a8091b3"

	// basePath is the end of the base URL. With it, a URL in an error differs from
	// a mere host name.
	basePath = "/b4se-7d1f/v9"

	// maxName is the length of the longest name of an autonomous system, in bytes.
	maxName = 400

	// leakLength is the length of a part of a key that counts as a leak: an error that shortens a
	// text may contain a part.
	leakLength = 10
)

type suite struct {
	Config
	sample *Case
}

// testKey returns the key that the suite uses.
func (s *suite) testKey() string { return s.KeyPrefix + testKey }

// fixture is one provider with its own fake service.
type fixture struct {
	provider reputation.Provider
	baseURL  string
	timeout  time.Duration
	key      string // the key that ask uses

	mu    sync.Mutex
	dumps []string // the received requests, head and body
}

// fixture starts a service that answers with handler, and creates a provider for it.
func (s *suite) fixture(tb testing.TB, handler http.HandlerFunc) *fixture {
	tb.Helper()
	t := &fixture{timeout: s.timeout, key: s.testKey()}
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
		server.CloseClientConnections() // ends handlers that wait for the provider to disconnect
		server.Close()
	})
	t.baseURL = server.URL + basePath
	t.provider = s.New(tb, t.baseURL)
	return t
}

func (t *fixture) requests() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.dumps...)
}

// wantRequests checks the number of received requests.
func (t *fixture) wantRequests(want int) error {
	if got := len(t.requests()); got != want {
		return fmt.Errorf("the service got %d requests, want %d", got, want)
	}
	return nil
}

// outcome is the result of one Check, or of one CheckAll.
type outcome struct {
	report  reputation.Report
	answers []reputation.Answer // of CheckAll
	err     error
}

// ask calls Check with the test key. The error is about anything that must never happen,
// independent of the service's behaviour.
func (t *fixture) ask(ctx context.Context, addr netip.Addr) (outcome, error) {
	return t.askWith(ctx, addr, t.key)
}

func (t *fixture) askWith(ctx context.Context, addr netip.Addr, key string) (outcome, error) {
	o, err := t.call(addr, key, func() (o outcome) {
		o.report, o.err = t.provider.Check(ctx, reputation.Query{Addr: addr, Key: key})
		return o
	})
	return o, errors.Join(err, t.undeclared(o))
}

// call runs a call about addr, and others, with the given key. The error is about anything that must never happen.
func (t *fixture) call(addr netip.Addr, key string, call func() outcome, others ...netip.Addr) (outcome, error) {
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
		o = call()
	}()
	timer := time.NewTimer(t.timeout)
	defer timer.Stop()
	select {
	case o := <-done:
		var faults []error
		for _, addr := range append([]netip.Addr{addr}, others...) {
			faults = append(faults, o.fault(t.baseURL, addr, key), logged.fault(t.baseURL, addr, key))
		}
		return o, errors.Join(faults...)
	case <-timer.C:
		return outcome{}, fmt.Errorf("the call has not returned after %s", t.timeout)
	}
}

var errPanic = errors.New("the call panicked")

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

// fault returns what is wrong with the outcome, independent of the service's answer.
func (o outcome) fault(baseURL string, addr netip.Addr, key string) error {
	if errors.Is(o.err, errPanic) {
		return errPanic
	}
	if o.err == nil {
		return checkRanges(o.report)
	}
	for err := range chain(o.err) {
		if what := leak(err.Error(), baseURL, addr, key); what != "" {
			return fmt.Errorf("an error of type %T holds %s: %w", err, what, err)
		}
	}
	return nil
}

// undeclared returns an error if a report has more than the capabilities in the provider's profile.
func (t *fixture) undeclared(o outcome) error {
	if o.err == nil {
		return t.provider.Profile().Capabilities.Check(o.report)
	}
	return nil
}

// chain yields err and all errors that it wraps, since a logger may unwrap them.
func chain(err error) func(yield func(error) bool) {
	var walk func(err error, yield func(error) bool) bool
	walk = func(err error, yield func(error) bool) bool {
		if err == nil {
			return true
		}
		if !yield(err) {
			return false
		}
		switch e := err.(type) { //nolint:errorlint // this function unwraps the chain itself
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

// leak returns which secret a text contains, or "".
func leak(text, baseURL string, addr netip.Addr, key string) string {
	text = strings.ToLower(text)
	encoded := strings.ToLower(base64.StdEncoding.EncodeToString([]byte(key)))
	if key != "" && strings.Contains(text, encoded) {
		return "the key, in base64"
	}
	for i := 0; i+min(leakLength, len(key)) <= len(key) && key != ""; i++ {
		part := strings.ToLower(key[i : i+min(leakLength, len(key))])
		if strings.Contains(text, part) || strings.Contains(text, percentEncoded(part)) {
			return "the key, or a part of it"
		}
	}
	for _, spelling := range []string{
		addr.String(), addr.StringExpanded(), url.QueryEscape(addr.String()), url.QueryEscape(addr.StringExpanded()),
	} {
		if strings.Contains(text, strings.ToLower(spelling)) {
			return "the visitor's address"
		}
	}
	if baseURL == "" {
		return ""
	}
	host, _, _ := strings.Cut(baseURL, basePath)
	if strings.Contains(text, host) || strings.Contains(text, strings.Trim(basePath, "/")) {
		return "the base URL"
	}
	return ""
}

// percentEncoded returns a text with all its bytes percent-encoded.
func percentEncoded(text string) string {
	return "%" + strings.ReplaceAll(fmt.Sprintf("% x", text), " ", "%")
}

// checkRanges returns an error for a report with a value out of range.
func checkRanges(r reputation.Report) error {
	switch c := r.Facts.Country; {
	case math.IsNaN(r.Severity) || r.Severity < -1 || r.Severity > 1:
		return fmt.Errorf("the severity is %g, outside -1 to 1", r.Severity)
	case math.IsNaN(r.Confidence) || r.Confidence < 0 || r.Confidence > 1:
		return fmt.Errorf("the confidence is %g, outside 0 to 1", r.Confidence)
	case c != "" && (len(c) != 2 || c[0] < 'A' || c[0] > 'Z' || c[1] < 'A' || c[1] > 'Z'):
		return fmt.Errorf("the country is %.40q, not two capital letters", c)
	case r.TTL < 0:
		return fmt.Errorf("the TTL is %s, below 0", r.TTL)
	case !r.LastSeen.IsZero() && (r.LastSeen.Year() < 1970 || r.LastSeen.Year() > 9999):
		return fmt.Errorf("the time of LastSeen is in the year %d", r.LastSeen.Year())
	case len(r.Facts.ASName) > maxName || strings.ContainsFunc(r.Facts.ASName, unicode.IsControl):
		return fmt.Errorf("the name of the autonomous system, %.40q, has a control character or more than %d bytes",
			r.Facts.ASName, maxName)
	}
	return nil
}

// manualDeadline is a context whose deadline passes when the test calls expire.
type manualDeadline struct {
	context.Context
	passed chan struct{}
	once   sync.Once
}

func newManualDeadline() *manualDeadline {
	return &manualDeadline{Context: context.Background(), passed: make(chan struct{})}
}

func (d *manualDeadline) expire()                     { d.once.Do(func() { close(d.passed) }) }
func (d *manualDeadline) Deadline() (time.Time, bool) { return time.Time{}, false }
func (d *manualDeadline) Done() <-chan struct{}       { return d.passed }
func (d *manualDeadline) Err() error {
	select {
	case <-d.passed:
		return context.DeadlineExceeded
	default:
		return nil
	}
}
