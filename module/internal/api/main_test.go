package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The tokens of the tests.
const (
	readToken    = "token-of-a-reader-0123456789"
	askToken     = "token-of-one-who-asks-01234567"
	historyToken = "token-of-an-analyst-0123456789"
	reportToken  = "token-of-who-reports-0123456789"
	spamToken    = "token-of-the-forum-0123456789"
)

// known is what the fake backend knows of every address.
func known(addr netip.Addr) Answer {
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	subject, _ := addr.Prefix(bits)
	return Answer{
		Address: addr, Subject: subject, Score: new(uint8(88)), Status: "fresh", Coverage: 1, Categories: []string{"scanner"},
		Country: "NL", ASN: 64500, ASName: "Example Hosting", Nature: map[string]bool{"hosting": true, "tor": false},
		Reasons: []Reason{{Source: "abuseipdb", Points: 28.8, Categories: []string{"scanner"}, AgeSeconds: 60}},
	}
}

// fake is a backend that knows the same of every address.
type fake struct {
	mu      sync.Mutex
	asked   []netip.Addr // providers were asked about them
	pending bool         // providers do not answer at once
	panics  bool
	down    bool
	hidden  bool          // no address can be asked for
	err     error         // of the history
	none    bool          // no history is kept
	got     any           // the question to the history
	waited  time.Duration // of the last Ask

	violations []Violation // that were reported
}

func (f *fake) Known(_ context.Context, addr netip.Addr) Answer {
	if f.panics {
		panic("the backend panics")
	}
	return known(addr)
}

func (f *fake) Ask(_ context.Context, addr netip.Addr, wait time.Duration) Answer {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked, f.waited = append(f.asked, addr), wait
	a := known(addr)
	if f.pending && wait == 0 {
		a.Status, a.Score = "pending", nil
	}
	return a
}

func (f *fake) History(context.Context) (history.Reader, error) {
	if f.none {
		return nil, errors.New("no history is kept")
	}
	return (*fakeHistory)(f), nil
}

func (f *fake) Stored(prefix netip.Prefix) (netip.Prefix, error) {
	if f.hidden {
		return netip.Prefix{}, fmt.Errorf("%w: ask for an address", history.ErrQuery)
	}
	if subject := known(prefix.Addr()).Subject; prefix.Bits() > subject.Bits() {
		return subject, nil
	}
	return prefix, nil
}

func (f *fake) Violate(_ context.Context, v Violation) ViolationResult {
	if f.panics {
		panic("the backend panics")
	}
	result := ViolationResult{Address: v.Address, Subject: known(v.Address).Subject, Violation: v.Name}
	switch {
	case v.Name != "spam" && v.Name != "trap":
		result.Ignored = "unknown"
	case v.Address.IsPrivate():
		result.Ignored = "reserved"
	default:
		f.violations = append(f.violations, v)
		result.Counted, result.Points = true, 14.999
	}
	return result
}

func (*fake) Violations() []string { return []string{"spam", "trap"} }

func (f *fake) Ready(*http.Request) bool { return !f.down }

var (
	fakeTime   = time.Date(2027, 3, 31, 12, 0, 0, 0, time.UTC)
	fakePeriod = history.Period{From: fakeTime.Add(-time.Hour), To: fakeTime}
	fakeChange = history.Change{
		At: fakeTime, Subject: netip.MustParsePrefix("203.0.113.5/32"), Score: 88, Status: "fresh", Coverage: 1,
		Categories: []string{"scanner"}, Country: "NL", ASN: 64500, RequestID: "r", Config: "c",
	}
)

// fakeHistory has one of everything.
type fakeHistory fake

func (f *fakeHistory) Timeline(_ context.Context, q history.Query) (history.Timeline, error) {
	f.got = q
	if f.panics {
		panic("the history panics")
	}
	change := fakeChange
	return history.Timeline{
		Prefix: q.Prefix, Period: fakePeriod, Next: "next",
		Seen: &history.Seen{First: fakeTime, Last: fakeTime, Requests: 3, Actions: map[string]int64{"block": 3}},
		Entries: []history.Entry{{At: fakeTime, Verdict: &change}, {At: fakeTime, Decision: &history.Decision{
			Minute: fakeTime, Address: q.Prefix, Host: "app.example.com", Rule: "block score 85", Action: "block", Mode: "enforce",
			Count: 3, First: fakeTime, Last: fakeTime, RequestID: "r", Score: new(uint8(88)), Status: "fresh", Config: "c",
		}}, {At: fakeTime, Incident: &history.Incident{
			Minute: fakeTime, Address: q.Prefix, Host: "app.example.com", Kind: history.KindBan, Name: "violation trap", Count: 1, Points: 60,
			Seconds: 900, Categories: []string{"scanner"}, Result: "sent", First: fakeTime, Last: fakeTime, RequestID: "r", Config: "c",
		}}},
	}, f.err
}

func (f *fakeHistory) Graph(context.Context, history.Query, int) (history.Graph, error) {
	return history.Graph{}, f.err
}

func (f *fakeHistory) Changes(_ context.Context, q history.Query) (history.Changes, error) {
	f.got = q
	return history.Changes{Prefix: q.Prefix, Period: fakePeriod, Changes: []history.Difference{
		{Change: fakeChange, Before: new(uint8(3)), Causes: []history.Cause{{Source: "abuseipdb", After: new(28.8)}}},
		{Change: fakeChange},
	}}, f.err
}

func (f *fakeHistory) Worst(_ context.Context, r history.Ranking) (history.Worst, error) {
	f.got = r
	return history.Worst{Period: fakePeriod, Worst: []history.Ranked{
		{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Refused: 2, Requests: 3, Addresses: 1, First: fakeTime, Last: fakeTime},
	}}, f.err
}

func (f *fakeHistory) Requests(context.Context, string, history.Period) (history.Requests, error) {
	return history.Requests{}, f.err
}

func (f *fakeHistory) Rules(_ context.Context, r history.Ranking) (history.Rules, error) {
	f.got = r
	return history.Rules{Period: fakePeriod, Rules: []history.RuleStats{
		{Host: "app.example.com", Action: "pass", Mode: "enforce", Requests: 3, Addresses: 1, First: fakeTime, Last: fakeTime},
	}}, f.err
}

// fixture is a handler with a fake behind it.
type fixture struct {
	*Handler
	*fake
	o       Options
	log     *logtest.Log
	mu      sync.Mutex
	counted map[string]int // answers by "route status"
	left    int            // requests that the address may still make; below 0: any number
	failed  int            // requests without a good token that it may still make
}

func text(value string) func() (string, bool) { return func() (string, bool) { return value, true } }

func never() time.Time { return time.Time{} }

// start makes a handler. The options can be changed before.
func start(tb testing.TB, change ...func(*fixture)) *fixture {
	tb.Helper()
	f := &fixture{fake: &fake{}, log: &logtest.Log{}, counted: map[string]int{}, left: -1, failed: 1000}
	take := func(left *int) Allowance {
		f.mu.Lock()
		defer f.mu.Unlock()
		if *left == 0 {
			return Allowance{Policy: `"address";q=1;w=60`, State: `"address";r=0;t=60`, RetryAfter: 1500 * time.Millisecond}
		}
		*left--
		return Allowance{Allowed: true, Policy: `"address";q=1;w=60`, State: `"address";r=1;t=0`}
	}
	f.o = Options{
		Backend: f.fake,
		Tokens: []Token{
			{Name: "reader", Scope: ScopeRead, Value: text(readToken), Expires: never},
			{Name: "asker", Scope: ScopeRead | ScopeAsk, Value: text(askToken), Expires: never},
			{Name: "analyst", Scope: ScopeHistory, Value: text(historyToken), Expires: never},
			{Name: "api/reporter", Scope: ScopeViolations, Value: text(reportToken), Expires: never},
			{Name: "api/forum", Scope: ScopeViolations, Value: text(spamToken), Expires: never, Violations: []string{"spam"}},
		},
		Client: func(r *http.Request) netip.Addr {
			addr, _ := netip.ParseAddr(r.Header.Get("Test-Client"))
			return addr
		},
		Address:   func(context.Context, netip.Addr) Allowance { return take(&f.left) },
		Failed:    func(context.Context, netip.Addr) Allowance { return take(&f.failed) },
		RequestID: func(*http.Request) string { return "the-request" },
		Count: func(route Route, status int) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.counted[route.String()+" "+http.StatusText(status)]++
		},
		Logger: f.log.Logger(),
	}
	for _, c := range change {
		c(f)
	}
	var err error
	if f.Handler, err = New(f.o); err != nil {
		tb.Fatal(err)
	}
	return f
}

// call is a request to the handler.
type call struct {
	method, path, body, token, client string
	header                            http.Header
}

func (c call) request() *http.Request {
	if c.method == "" {
		c.method = http.MethodGet
	}
	r := httptest.NewRequest(c.method, "http://api.example.com"+c.path, strings.NewReader(c.body))
	maps.Copy(r.Header, c.header)
	if c.body != "" && r.Header["Content-Type"] == nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.client == "" {
		c.client = "203.0.113.9"
	}
	r.Header.Set("Test-Client", c.client)
	return r
}

func (f *fixture) send(c call) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.ServeHTTP(w, c.request())
	return w
}

// codeOf is the code of a problem, or the empty string.
func codeOf(tb testing.TB, w *httptest.ResponseRecorder) string {
	tb.Helper()
	if w.Header().Get("Content-Type") != "application/problem+json" {
		return ""
	}
	var p problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		tb.Fatalf("%v: %s", err, w.Body)
	}
	if p.Status != w.Code || p.RequestID != w.Header().Get("X-Request-Id") || p.Title == "" || p.Detail == "" || p.Type != "about:blank" {
		tb.Errorf("the problem of %d is %+v", w.Code, p)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		tb.Errorf("a problem may be kept: %v", w.Header())
	}
	return p.Code
}
