package providertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// service is a provider written as the contract says, with a place for each mistake.
type service struct {
	url       string
	transport *http.Transport

	ask     func(ctx context.Context, s *service, q reputation.Query) (*http.Response, error) // default: once
	limit   int64                                                                             // default: 64 KiB
	decode  func(body []byte, report *reputation.Report) error                                // default: strict
	status  func(resp *http.Response, body []byte) error                                      // default: classify
	failure func(ctx context.Context, err error) error                                        // default: bare
	key     func(q reputation.Query) string                                                   // default: that of the query
	profile reputation.Profile
	anyType bool // default: JSON only

	anyStatus bool // default: an answer that switches the protocol is not read
}

func (s *service) Profile() reputation.Profile { return s.profile }

func (s *service) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	var report reputation.Report
	if !q.Addr.Is4() {
		return report, reputation.ErrUnsupported
	}
	if s.key(q) == "" || strings.Contains(s.key(q), "\n") {
		return report, reputation.ErrRefused
	}
	resp, err := s.ask(ctx, s, q)
	if err != nil {
		return report, s.failure(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols && !s.anyStatus {
		return report, reputation.ErrBadAnswer
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, s.limit+1))
	switch {
	case err != nil && resp.StatusCode == http.StatusOK:
		return report, s.failure(ctx, err)
	case resp.StatusCode != http.StatusOK:
		return report, s.status(resp, body)
	case int64(len(body)) > s.limit:
		return report, reputation.ErrBadAnswer
	}
	if !s.anyType && resp.Header.Get("Content-Type") != "application/json" || bytes.Contains(body, bytes.Repeat([]byte("["), 100)) {
		return report, reputation.ErrBadAnswer
	}
	return report, s.decode(body, &report)
}

func (s *service) request(ctx context.Context, q reputation.Query) *http.Request {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/ip/"+q.Addr.String(), nil)
	if err != nil {
		panic(err)
	}
	req.Header.Set("X-Key", s.key(q))
	return req
}

func once(ctx context.Context, s *service, q reputation.Query) (*http.Response, error) {
	return s.transport.RoundTrip(s.request(ctx, q))
}

func strict(body []byte, report *reputation.Report) error {
	var answer struct {
		Risk *float64 `json:"risk"`
		Land string   `json:"land"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Risk == nil || *answer.Risk < -1 || *answer.Risk > 1 {
		return reputation.ErrBadAnswer
	}
	if len(answer.Land) != 2 {
		answer.Land = ""
	}
	*report = reputation.Report{Severity: *answer.Risk, Confidence: 0.5, Facts: reputation.Facts{Country: answer.Land}}
	return nil
}

func classify(resp *http.Response, _ []byte) error {
	switch status := resp.StatusCode; {
	case status == 401:
		return reputation.ErrRefused
	case status == 429:
		after := resp.Header.Get("Retry-After")
		pause, _ := time.ParseDuration(after + "s")
		if until, err := http.ParseTime(after); err == nil {
			pause = time.Until(until)
		}
		return &reputation.ThrottledError{RetryAfter: min(max(pause, 0), 24*time.Hour)}
	case status < 400:
		return reputation.ErrBadAnswer
	}
	return fmt.Errorf("status %d", resp.StatusCode)
}

func bare(ctx context.Context, _ error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.New("no answer")
}

func config(flaw func(*service)) Config {
	return Config{
		New: func(tb testing.TB, baseURL string) reputation.Provider {
			s := &service{url: baseURL, transport: new(http.Transport), ask: once, limit: 64 << 10, decode: strict,
				status: classify, failure: bare, key: func(q reputation.Query) string { return q.Key },
				profile: reputation.Profile{Name: "acme", Covers: reputation.IPv4, Capabilities: reputation.Capabilities{Country: true}}}
			tb.Cleanup(s.transport.CloseIdleConnections)
			if flaw != nil {
				flaw(s)
			}
			return s
		},
		Unsupported: []netip.Addr{netip.MustParseAddr("2001:db8::1")},
		NoAddress:   true,
		Cases: []Case{
			{Name: "refused", Status: 401, Body: `{}`, Result: reputation.ResultRefused},
			{Name: "throttled", Status: 429, Header: http.Header{"Retry-After": {"7"}},
				Result: reputation.ResultThrottled, RetryAfter: 7 * time.Second},
			{Name: "bad", Addr: netip.MustParseAddr("198.51.100.7"), Body: `{"risk":0.9,"land":"DE","seen":"2026-11-30T12:00:00Z"}`,
				Report: reputation.Report{Severity: 0.9, Confidence: 0.5, Facts: reputation.Facts{Country: "DE"}},
				Request: func(r *http.Request) error {
					if !strings.HasSuffix(r.URL.Path, "/ip/198.51.100.7") {
						return fmt.Errorf("unexpected path %s", r.URL.Path)
					}
					return nil
				}},
		},
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGoodProvider(t *testing.T) { Run(t, config(nil)) }

func TestNotFoundProvider(t *testing.T) {
	c := config(func(s *service) {
		s.status = func(resp *http.Response, body []byte) error {
			if resp.StatusCode == http.StatusNotFound {
				return reputation.ErrUnknown
			}
			return classify(resp, body)
		}
	})
	c.NotFound = true
	Run(t, c)
}

// client asks as most would write it.
func client(ctx context.Context, s *service, q reputation.Query) (*http.Response, error) {
	return (&http.Client{Transport: s.transport}).Do(s.request(ctx, q))
}

// TestFlaws proves that each mistake is found, by the sub-tests that are there for it.
func TestFlaws(t *testing.T) {
	wrap := func(_ context.Context, err error) error { return fmt.Errorf("asking: %w", err) }
	quote := func(resp *http.Response, body []byte) error {
		return fmt.Errorf("%w: %.200s", classify(resp, nil), body)
	}
	for _, tc := range []struct {
		name string
		flaw func(*service)
		want []string // sub-tests that must fail; others may
	}{
		{"follows redirects", func(s *service) { s.ask = client },
			[]string{"answer/redirect 301", "answer/redirect 302", "answer/redirect 307", "answer/redirect 308"}},
		{"shows the URL", func(s *service) { s.ask, s.failure = client, wrap },
			[]string{"connection/refused", "connection/hanging", "connection/closed without an answer", "echo/302"}},
		{"shows what broke the protocol", func(s *service) { s.failure = wrap }, []string{"echo/no HTTP"}},
		{"quotes errors", func(s *service) { s.status = quote },
			[]string{"echo/400", "echo/401", "echo/403", "echo/422", "echo/429", "echo/500"}},
		{"hides the URL in a wrapper", func(s *service) {
			s.failure = func(ctx context.Context, _ error) error {
				return quiet{&url.Error{Op: "Get", URL: s.url, Err: bare(ctx, nil)}}
			}
		}, []string{"connection/refused"}},
		{"reads from another protocol", func(s *service) { s.anyStatus = true }, []string{"connection/another protocol"}},
		{"reads everything", func(s *service) { s.limit = 1 << 40 }, []string{"answer/32 MiB", "answer/gzip bomb of 32 MiB"}},
		{"takes what is missing for clean", func(s *service) {
			s.anyType = true
			s.decode = func(body []byte, _ *reputation.Report) error { return json.Unmarshal(body, new(struct{})) }
		}, []string{"answer/bad", "answer/empty", "answer/page", "echo/200"}},
		{"completes what was cut", func(s *service) {
			s.decode = func(body []byte, r *reputation.Report) error {
				return strict([]byte(string(body)+"}"), r)
			}
		}, []string{"answer/bad", "answer/truncated anywhere"}},
		{"takes a failed connection for a bad answer", func(s *service) {
			s.failure = func(context.Context, error) error { return reputation.ErrBadAnswer }
		}, []string{"connection/refused", "connection/hanging", "connection/hanging in the body", "connection/dripping"}},
		{"takes a page for not found", func(s *service) {
			s.status = func(*http.Response, []byte) error { return reputation.ErrUnknown }
		}, []string{"answer/404 page", "answer/500", "answer/502 page", "answer/refused", "answer/throttled"}},
		{"ignores the context", func(s *service) {
			s.ask = func(ctx context.Context, s *service, q reputation.Query) (*http.Response, error) {
				return once(context.WithoutCancel(ctx), s, q)
			}
		}, []string{"call/cancelled before", "connection/hanging", "connection/dripping"}},
		{"asks twice", func(s *service) {
			s.ask = func(ctx context.Context, s *service, q reputation.Query) (*http.Response, error) {
				if resp, err := once(ctx, s, q); err == nil {
					resp.Body.Close()
				}
				return once(ctx, s, q)
			}
		}, []string{"answer/bad", "answer/empty", "call/keeps nothing", "call/fifty at once"}},
		{"remembers answers", func(s *service) {
			var last *http.Response
			s.ask = func(ctx context.Context, s *service, q reputation.Query) (*http.Response, error) {
				if last != nil {
					return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"risk":0.9,"land":"DE"}`))}, nil
				}
				resp, err := once(ctx, s, q)
				last = resp
				return resp, err
			}
		}, []string{"call/keeps nothing"}},
		{"keeps a key", func(s *service) { s.key = func(reputation.Query) string { return "old" } },
			[]string{"call/no key", "call/broken key", "call/fifty at once"}},
		{"logs the key", func(s *service) {
			key := s.key
			s.key = func(q reputation.Query) string { log.Print(key(q)); return key(q) }
		}, []string{"answer/bad"}},
		{"logs the address", func(s *service) {
			s.failure = func(ctx context.Context, err error) error { slog.Debug("failed", "error", err); return bare(ctx, err) }
			s.ask = client
		}, []string{"connection/refused"}},
		{"says what its profile does not state", func(s *service) { s.profile.Capabilities = reputation.Capabilities{ASN: true} },
			[]string{"answer/bad"}},
		{"has a profile that is wrong", func(s *service) { s.profile.Name = "" }, []string{"call/profile"}},
		{"says that it needs no key", func(s *service) { s.profile.Key = reputation.KeyOptional }, []string{"call/profile"}},
		{"asks for what it does not cover", func(s *service) { s.profile.Covers = reputation.IPv6 },
			[]string{"call/profile", "call/not covered"}},
		{"takes any pause", func(s *service) {
			s.status = func(resp *http.Response, _ []byte) error {
				seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
				return &reputation.ThrottledError{RetryAfter: time.Duration(seconds) * time.Second}
			}
		}, []string{"pause/date", "pause/negative", "pause/a hundred years"}},
		{"quotes a key in base64", func(s *service) { s.status = quote }, []string{"echo/401"}},
		{"reads gzip that is not unpacked", func(s *service) {
			s.ask = func(ctx context.Context, s *service, q reputation.Query) (*http.Response, error) {
				req := s.request(ctx, q)
				req.Header.Set("Accept-Encoding", "gzip")
				return s.transport.RoundTrip(req)
			}
		}, []string{"answer/gzip"}},
		{"takes any type", func(s *service) { s.anyType = true }, []string{"answer/page that is the answer", "answer/no type"}},
		{"takes any depth", func(s *service) {
			s.ask = func(ctx context.Context, s *service, q reputation.Query) (*http.Response, error) {
				resp, err := once(ctx, s, q)
				if err != nil {
					return nil, err
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				resp.Body = io.NopCloser(bytes.NewReader(bytes.ReplaceAll(body, []byte("[["), []byte("[ ["))))
				return resp, err
			}
		}, []string{"answer/deep in a member"}},
		{"takes the 404 of a gateway for not found", func(s *service) {
			s.status = func(resp *http.Response, body []byte) error {
				if resp.StatusCode == http.StatusNotFound && json.Valid(body) {
					return reputation.ErrUnknown
				}
				return classify(resp, body)
			}
		}, []string{"answer/404 of a gateway", "answer/404 of a framework", "answer/404 of a server"}},
		{"takes null for clean", func(s *service) {
			s.decode = func(body []byte, r *reputation.Report) error {
				if err := strict(body, r); err != nil && json.Valid(body) {
					*r = reputation.Report{Severity: -1, Confidence: 1}
				}
				return nil
			}
		}, []string{"answer/an object", "answer/null", "answer/a list", "answer/a gateway", "answer/an error",
			"answer/without a member", "answer/with a null", "answer/with another type", "answer/with a list"}},
		{"passes on any number", func(s *service) {
			s.decode = func(body []byte, r *reputation.Report) error {
				var answer struct{ Risk *float64 }
				if json.Unmarshal(body, &answer) != nil || answer.Risk == nil {
					return reputation.ErrBadAnswer
				}
				*r = reputation.Report{Severity: *answer.Risk, LastSeen: time.Unix(int64(*answer.Risk), 0)}
				return nil
			}
		}, []string{"answer/with a huge number", "answer/with a long number", "answer/with a negative number"}},
		{"passes on any time", func(s *service) {
			s.decode = func(body []byte, r *reputation.Report) error {
				var answer struct{ Seen time.Time }
				err := errors.Join(json.Unmarshal(body, &answer), strict(body, r))
				r.LastSeen = answer.Seen.UTC()
				return err
			}
		}, []string{"answer/with a time before the year 0", "answer/with a time after the year 9999"}},
		{"passes on any text", func(s *service) {
			s.profile.Capabilities.ASN = true
			s.decode = func(body []byte, r *reputation.Report) error {
				var answer struct{ Land string }
				_ = json.Unmarshal(body, &answer)
				err := strict(body, r)
				r.Facts.ASN, r.Facts.ASName = 64500, answer.Land
				return err
			}
		}, []string{"answer/with a long text"}},
		{"out of range", func(s *service) {
			s.decode = func(_ []byte, r *reputation.Report) error { r.Severity = 90; return nil }
		}, []string{"answer/bad"}},
		{"panics", func(s *service) {
			s.status = func(_ *http.Response, body []byte) error { panic("status") }
		}, []string{"answer/500"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := config(tc.flaw)
			if tc.name == "ignores the context" || tc.name == "reads from another protocol" {
				c.timeout = 400 * time.Millisecond // these calls never return by themselves
			}
			if failed := unnoticed(t, c, tc.want...); len(failed) > 0 {
				t.Errorf("not found by %s", strings.Join(failed, ", "))
			}
		})
	}
}

// unnoticed runs the sub-tests that should find something and returns those that did not.
func unnoticed(t *testing.T, c Config, want ...string) []string {
	t.Helper()
	checks, err := c.checks()
	if err != nil {
		t.Fatal(err)
	}
	var missed []string
	for _, name := range want {
		i := slices.IndexFunc(checks, func(c check) bool { return c.name == name })
		if i < 0 {
			t.Fatalf("there is no sub-test %q", name)
		}
		t.Run(name, func(t *testing.T) {
			if checks[i].run(t) == nil {
				missed = append(missed, name)
			}
		})
	}
	return missed
}

// quiet hides what it wraps from those who only print it.
type quiet struct{ err error }

func (quiet) Error() string   { return "no answer" }
func (q quiet) Unwrap() error { return q.err }

func TestAddressIsChecked(t *testing.T) {
	c := config(nil)
	c.NoAddress = false // its answers name none
	if missed := unnoticed(t, c, "answer/about another address"); len(missed) > 0 {
		t.Error("an answer about another address was not found")
	}
}

func TestUnsupportedIsChecked(t *testing.T) {
	c := config(nil)
	c.Unsupported = []netip.Addr{netip.MustParseAddr("203.0.113.1")} // it does ask about this one
	if missed := unnoticed(t, c, "call/unsupported 203.0.113.1"); len(missed) > 0 {
		t.Errorf("not found by %v", missed)
	}
}

func TestReportsAreCompared(t *testing.T) {
	want := reputation.Report{
		Severity: 0.37, Confidence: 0.75, Categories: reputation.CategoriesOf(reputation.Abuse),
		Facts:    reputation.Facts{Country: "NL", Nature: reputation.Nature{}.With(reputation.NatureTor, false)},
		LastSeen: time.Date(2026, 11, 1, 10, 11, 12, 0, time.UTC),
	}
	same := want
	same.Severity += 1e-9
	same.LastSeen = same.LastSeen.In(time.FixedZone("", 3600))
	if err := compare(same, want); err != nil {
		t.Errorf("the same report in other words: %v", err)
	}
	for name, change := range map[string]func(*reputation.Report){
		"severity":   func(r *reputation.Report) { r.Severity = 0.38 },
		"confidence": func(r *reputation.Report) { r.Confidence = 0.5 },
		"categories": func(r *reputation.Report) { r.Categories = 0 },
		"nature":     func(r *reputation.Report) { r.Facts.Nature = reputation.Nature{} },
		"seen":       func(r *reputation.Report) { r.LastSeen = time.Time{} },
		"ttl":        func(r *reputation.Report) { r.TTL = time.Hour },
	} {
		got := want
		change(&got)
		if compare(got, want) == nil {
			t.Errorf("another %s was not noticed", name)
		}
	}
}

func TestBadConfigs(t *testing.T) {
	for name, cases := range map[string][]Case{
		"no sample": {{Name: "refused", Status: 401, Result: reputation.ResultRefused}},
		"no file":   {{Name: "bad", BodyFile: "testdata/absent.json"}},
	} {
		if _, err := (Config{Cases: cases}).checks(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
