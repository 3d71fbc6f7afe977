package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	asked  = netip.MustParseAddr("203.0.113.10")
	asked6 = netip.MustParseAddr("2001:db8:1:2::7")
)

// service is a provider in each of the forms that services have.
type service struct {
	Endpoint
	api      API
	question func(q reputation.Query) Request
}

type verdict struct {
	IP   string   `json:"ip"`
	Risk *float64 `json:"risk"`
	Fail string   `json:"fail"`
}

func (s *service) Profile() reputation.Profile { return s.api.Profile }

func (s *service) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	return Ask(ctx, &s.Endpoint, q, s.question(q), func(v *verdict, a *Response) (reputation.Report, error) {
		switch {
		case v.Fail == "quota":
			return reputation.Report{}, a.Throttled()
		case v.Fail == "key":
			return reputation.Report{}, fmt.Errorf("%w%s", reputation.ErrRefused, a.Quote(v.Fail))
		case a.Status == http.StatusNotFound && v.IP == q.Addr.String():
			return reputation.Report{}, reputation.ErrUnknown
		case v.Risk == nil || !SameAddr(v.IP, q.Addr):
			return reputation.Report{}, fmt.Errorf("%w: no risk of this address", reputation.ErrBadAnswer)
		}
		return reputation.Report{Severity: min(max(*v.Risk, -1), 1), Confidence: .5}, nil
	})
}

// open returns a service whose API is at an address.
func open(tb testing.TB, address string, change func(*service)) *service {
	tb.Helper()
	s := &service{
		Endpoint: Endpoint{URL: address},
		api: API{
			Profile: reputation.Profile{Name: "acme"}, Title: "Acme", URL: "https://api.example.com/v1",
			ResetHeader: "X-RateLimit-Reset", Detail: Message("message"),
		},
		question: func(q reputation.Query) Request {
			return Request{Path: []string{"ip", q.Addr.String()}, Header: map[string]string{"X-Key": q.Key}}
		},
	}
	if change != nil {
		change(s)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	tb.Cleanup(cancel)
	if err := s.Open(ctx, s.api); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Cleanup() })
	return s
}

func TestContract(t *testing.T) {
	const found, missing = `{"ip":"203.0.113.10","risk":0.5}`, `{"ip":"203.0.113.10"}`
	half := reputation.Report{Severity: .5, Confidence: .5}
	cases := []providertest.Case{
		{Name: "found", Body: found, Report: half},
		{Name: "error in a 200", Body: `{"fail":"key"}`, Result: reputation.ResultRefused},
		{Name: "quota in a 200", Body: `{"fail":"quota"}`, Header: http.Header{"Retry-After": {"60"}},
			Result: reputation.ResultThrottled, RetryAfter: time.Minute},
		{Name: "another address", Addr: netip.MustParseAddr("203.0.113.11"), Body: found, Result: reputation.ResultBadAnswer},
		{Name: "vendor's type", Body: found, Header: http.Header{"Content-Type": {"application/vnd.acme.ip+json; charset=UTF-8"}}, Report: half},
		{Name: "206", Status: 206, Body: found, Result: reputation.ResultBadAnswer},
		{Name: "402", Status: 402, Body: `{}`, Result: reputation.ResultRefused},
		{Name: "404", Status: 404, Body: missing, Result: reputation.ResultError},
	}
	for name, tc := range map[string]struct {
		change func(*service)
		prefix string

		noKey, notFound bool

		cases []providertest.Case
	}{
		"key in a header": {},
		"key in the query": {change: func(s *service) {
			s.question = func(q reputation.Query) Request {
				return Request{Params: map[string][]string{"key": {q.Key}, "ip": {q.Addr.String()}}}
			}
		}},
		"key in the path": {change: func(s *service) {
			s.question = func(q reputation.Query) Request { return Request{Path: []string{"json", q.Key, q.Addr.String()}} }
		}},
		"basic authentication": {prefix: "12345:", change: func(s *service) {
			s.question = func(q reputation.Query) Request { return Request{Path: []string{q.Addr.String()}, Basic: q.Key} }
		}},
		"POST": {change: func(s *service) {
			s.question = func(q reputation.Query) Request {
				return Request{JSON: map[string]any{"ips": []netip.Addr{q.Addr}}, Header: map[string]string{"X-Key": q.Key}}
			}
		}},
		"no key": {noKey: true, change: func(s *service) { s.api.Profile.Key = reputation.KeyNone }},
		"404 and 206 are answers": {
			change: func(s *service) {
				ask := s.question
				s.question = func(q reputation.Query) Request {
					r := ask(q)
					r.Answers = []int{http.StatusNotFound, http.StatusPartialContent}
					return r
				}
			},
			cases: []providertest.Case{
				{Name: "404", Status: 404, Body: missing, Result: reputation.ResultNotFound},
				{Name: "404 of somebody else", Status: 404, Body: `{"message":"no such route"}`, Result: reputation.ResultBadAnswer},
				{Name: "206", Status: 206, Body: found, Report: half},
			},
		},
		"404 whatever its body": {
			notFound: true,
			change: func(s *service) {
				s.question = func(q reputation.Query) Request {
					return Request{Header: map[string]string{"Authorization": Bearer(q.Key)}, Unknown: []int{404, 204}}
				}
			},
			cases: []providertest.Case{
				{Name: "found", Body: found, Report: half},
				{Name: "404", Status: 404, Body: "no such record", Result: reputation.ResultNotFound, Header: http.Header{"Content-Type": {"text/plain"}}},
				{Name: "204", Status: 204, Result: reputation.ResultNotFound},
			},
		},
		"JSON that calls itself text": {
			change: func(s *service) { s.api.MediaTypes = []string{"text/plain"} },
			cases: []providertest.Case{
				{Name: "text", Body: found, Report: half, Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}}},
			},
		},
		"IPv4 only": {change: func(s *service) { s.api.Profile.Covers = reputation.IPv4 }},
	} {
		t.Run(name, func(t *testing.T) {
			all := tc.cases
			if all == nil {
				all = cases
			}
			if tc.change != nil && name == "404 and 206 are answers" {
				all = append([]providertest.Case{cases[0]}, tc.cases...)
			}
			providertest.Run(t, providertest.Config{
				New:   func(tb testing.TB, url string) reputation.Provider { return open(tb, url, tc.change) },
				NoKey: tc.noKey, NotFound: tc.notFound, KeyPrefix: tc.prefix, Cases: all,
			})
		})
	}
}

func TestTarget(t *testing.T) {
	s := open(t, "https://gateway.example/a%2Fb/", nil)
	for _, tc := range []struct {
		name string
		r    Request
		want string
	}{
		{"nothing", Request{}, "https://gateway.example/a%2Fb"},
		{"elements", Request{Path: []string{"ip", "2001:db8::7"}}, "https://gateway.example/a%2Fb/ip/2001:db8::7"},
		{"slash at the end", Request{Path: []string{"general", ""}}, "https://gateway.example/a%2Fb/general/"},
		{"escaped", Request{Path: []string{"k/e?y#1 %"}}, "https://gateway.example/a%2Fb/k%2Fe%3Fy%231%20%25"},
		{"query", Request{Params: map[string][]string{"q": {"a&b"}, "flag": {""}}}, "https://gateway.example/a%2Fb?flag=&q=a%26b"},
		{"a key of dots", Request{Path: []string{"..", "x"}}, ""},
		{"an empty key", Request{Path: []string{"", "x"}}, ""},
	} {
		got, err := s.Target(&tc.r)
		if err != nil && tc.want != "" || err == nil && got.String() != tc.want {
			t.Errorf("%s: got %v, %v; want %s", tc.name, got, err, tc.want)
		}
	}
}

func TestOpen(t *testing.T) {
	t.Setenv("REST_TEST_URL", "https://user:hunter2@example.org")
	for _, tc := range []struct {
		name, url string
		change    func(*API)
		want      string
	}{
		{"default", "", nil, ""},
		{"clear text by the operator", "http://gateway.example", nil, ""},
		{"clear text by the author", "", func(a *API) { a.URL = "http://api.example.com" }, "its API.URL must begin with https://"},
		{"nothing else offered", "", func(a *API) { a.URL, a.ClearText = "http://api.example.com", true }, ""},
		{"loopback", "", func(a *API) { a.URL = "http://127.0.0.1:8080" }, ""},
		{"no URL", "", func(a *API) { a.URL = "" }, "the provider acme is not complete: its API.URL is"},
		{"self-hosted", "http://10.0.0.5:8080", func(a *API) { a.URL, a.SelfHosted = "http://10.0.0.1:8080", true }, ""},
		{"self-hosted, no url", "", func(a *API) { a.URL, a.SelfHosted = "http://10.0.0.1:8080", true },
			"acme has no url: set it to the address of your service, such as http://10.0.0.1:8080"},
		{"no profile", "", func(a *API) { a.Profile = reputation.Profile{} }, "the provider is not complete: profile: Name"},
		{"no placeholder", "{env.REST_TEST_ABSENT}", nil, "resolving the url of acme"},
		{"user", "{env.REST_TEST_URL}", nil, "reading the url of acme: it holds a user name"},
		{"query", "https://example.org/?key=x", nil, "it holds a query or a fragment"},
		{"a space", "http://a b/", nil, "not a URL: use one like https://api.example.com"},
		{"no scheme", "api.example.com/v2", nil, "use one that begins with https://"},
		{"another scheme", "ftp://example.org", nil, `its scheme is "ftp"`},
		{"no host", "https:///api", nil, "it names no host"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api := API{Profile: reputation.Profile{Name: "acme"}, URL: "https://api.example.com"}
			if tc.change != nil {
				tc.change(&api)
			}
			ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
			t.Cleanup(cancel)
			e := Endpoint{URL: tc.url}
			err := e.Open(ctx, api)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("the error is %v, want %q", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error holds a secret: %v", err)
			}
			if out, _ := json.Marshal(&e); tc.url != "" && !bytes.Contains(out, []byte(tc.url)) {
				t.Errorf("the configuration became %s", out)
			}
		})
	}
	closed := service{question: func(reputation.Query) Request { return Request{} }}
	if _, err := closed.Check(t.Context(), reputation.Query{Addr: asked}); err == nil {
		t.Error("an endpoint that is not open was asked")
	}
	if target, err := new(Endpoint).Target(new(Request)); err == nil {
		t.Errorf("an endpoint that is not open asks %s", target)
	}
}

// TestWrongURL: whoever answers there is not the service, and the error says so.
func TestWrongURL(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, "<html>Please log in")
	}))
	t.Cleanup(page.Close)
	for address, want := range map[string]string{
		page.URL: "it is a web page, not JSON, check the url option",
		strings.Replace(page.URL, "http:", "https:", 1): "the host speaks http there, not https: check the url option",
	} {
		s := open(t, address, nil)
		_, err := s.Check(t.Context(), reputation.Query{Addr: asked6, Key: "0123456789abcdef"})
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("the error is %v, want it to end in %q", err, want)
		}
	}
}

// TestErrorsHelp: an error names the service and the cure, and quotes the service where that is harmless.
func TestErrorsHelp(t *testing.T) {
	const key, account = "0123456789abcdef", "987654:0123456789abcdef"
	basic := func(s *service) { s.question = func(q reputation.Query) Request { return Request{Basic: q.Key} } }
	for _, tc := range []struct {
		name, key string
		change    func(*service)
		status    int
		body      string
		want      string
	}{
		{"no key", "", nil, 200, ``, "there is none, set the key option"},
		{"a line break in the key", key + "\n", nil, 200, ``, "such as a line break"},
		{"half an account", key, basic, 200, ``, "write the account and the key with a colon between them"},
		{"no account", ":" + key, basic, 200, ``, "it has one part, write the account and the key with a colon between them"},
		{"an account alone", "987654:", basic, 200, ``, "it has one part, write the account and the key with a colon between them"},
		{"words", key, nil, 401, `{"message":"Your API key is\n revoked."}`, "status 401: Your API key is  revoked."},
		{"long words", key, nil, 422, `{"message":"` + strings.Repeat("ä", 300) + strings.Repeat("x", 300) + `"}`,
			"status 422: " + strings.Repeat("x", 200)},
		{"key", key, nil, 401, `{"message":"bad key ` + strings.ToUpper(key) + `"}`, "status 401"},
		{"half of a key", account, basic, 401, `{"message":"no account 987654"}`, "status 401"},
		{"address", key, nil, 422, `{"message":"ip:2001:DB8:1:2:0::7 is bad"}`, "status 422"},
		{"network", key, nil, 422, `{"message":"2001:db8:1:2::/64 is bad"}`, "status 422"},
		{"no words", key, nil, 500, `oops`, "no answer, status 500"},
		{"redirect", key, nil, 301, ``, "status 301, check the url option"},
		{"another type", key, nil, 200, `{"risk":"1"}`, `"risk" is of another type`},
		{"a list", key, nil, 200, `[]`, "it is of another type"},
		{"no JSON", key, nil, 200, `<html>`, "its body is not JSON"},
		{"deep", key, nil, 200, `{"x":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}`, "it is nested more than 64 deep"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.body))
			}))
			t.Cleanup(server.Close)
			s := open(t, server.URL, tc.change)
			_, err := s.Check(t.Context(), reputation.Query{Addr: asked6, Key: tc.key})
			if err == nil || !strings.HasPrefix(err.Error(), "asking Acme: ") || !strings.HasSuffix(err.Error(), tc.want) {
				t.Errorf("the error is %v, want it to end in %q", err, tc.want)
			}
		})
	}
}

// TestHeader: a header field without a value is not sent, and the provider's Accept goes before ours.
func TestHeader(t *testing.T) {
	s := open(t, "", nil)
	req, err := s.request(t.Context(), &Request{Header: map[string]string{"X-Key": "", "accept": "text/plain"}})
	if err != nil || len(req.Header) != 2 || req.Header.Get("Accept") != "text/plain" || req.Header.Get("User-Agent") != userAgent {
		t.Errorf("the header is %v, %v", req.Header, err)
	}
	if _, err := s.request(t.Context(), &Request{JSON: func() {}}); err == nil {
		t.Error("a body that is no JSON was accepted")
	}
}

// TestLongHeader: the header of an answer has a limit, over HTTP/1 and HTTP/2.
func TestLongHeader(t *testing.T) {
	for protocol, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(protocol, func(t *testing.T) {
			var long atomic.Bool
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if long.Load() {
					w.Header().Set("X", strings.Repeat("x", 2*maxHeader))
				}
				_, _ = w.Write([]byte(`{"ip":"203.0.113.10","risk":0}`))
			}))
			server.EnableHTTP2 = http2
			server.StartTLS()
			t.Cleanup(server.Close)
			s := open(t, server.URL, nil)
			s.transport.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			for _, refused := range []bool{false, true} {
				long.Store(refused)
				if _, err := s.Check(t.Context(), reputation.Query{Addr: asked, Key: "k"}); (err != nil) != refused {
					t.Errorf("long %t: %v", refused, err)
				}
			}
			if err := s.Cleanup(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestConnections proves that one connection serves calls one after the other, also over HTTP/2, that Cleanup closes it,
// and that calls which have waited until then leave none behind.
func TestConnections(t *testing.T) {
	closed := make(chan struct{}, 10)
	opened := make(chan struct{}, 10)
	protocols := make(chan string, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocols <- r.Proto
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"ip":"203.0.113.10","risk":0}`))
	}))
	server.EnableHTTP2 = true
	server.Config.ConnState = connStates(opened, closed)
	server.StartTLS()
	t.Cleanup(server.Close)

	a := open(t, server.URL, nil)
	a.transport.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	for range 5 {
		if _, err := a.Check(t.Context(), reputation.Query{Addr: asked, Key: "k"}); err != nil {
			t.Fatal(err)
		}
		if got := <-protocols; got != "HTTP/2.0" {
			t.Errorf("asked over %s, want HTTP/2.0", got)
		}
	}
	if len(opened) != 1 {
		t.Errorf("%d connections were opened for 5 calls, want 1", len(opened))
	}
	if err := a.Cleanup(); err != nil {
		t.Fatal(err)
	}
	<-closed // or the test ends in a timeout
	for range 2 {
		if _, err := a.Check(t.Context(), reputation.Query{Addr: asked, Key: "k"}); err != nil {
			t.Fatal(err)
		}
		<-closed
	}
}

// connStates tells which connections a server gets and loses.
func connStates(opened, closed chan<- struct{}) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			opened <- struct{}{}
		case http.StateClosed:
			closed <- struct{}{}
		}
	}
}

// TestCause: what is not known to be harmless is not repeated.
func TestCause(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"proxy", errors.New(`invalid proxy address "http://user:hunter2@proxy"`), "the connection failed before the answer was complete"},
		{"dial", &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}, "dial tcp: connection refused"},
		{"timeout", &net.DNSError{Err: "i/o timeout", Name: "api.abuseipdb.com", IsTimeout: true}, os.ErrDeadlineExceeded.Error()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := cause(t.Context(), tc.err); got.Error() != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
