package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

var others = []netip.Addr{asked, asked6, netip.MustParseAddr("198.51.100.7")}

// askVerdicts asks about several addresses. The answer is an object with a member for each of them.
func askVerdicts(ctx context.Context, s *service, addrs []netip.Addr) ([]reputation.Answer, error) {
	r := Request{Path: []string{"bulk"}, JSON: addrs, Unknown: []int{http.StatusNotFound}}
	return AskAll(ctx, &s.Endpoint, "s3cr3t-k3y", addrs, r, func(v *Members[verdict], a *Response, answers *Answers) error {
		for _, m := range *v {
			m.Into(answers, m.Name, func(v *verdict, _ netip.Addr) (reputation.Report, error) {
				switch {
				case v.Fail != "":
					return reputation.Report{}, fmt.Errorf("%w%s", reputation.ErrBadAnswer, a.Quote(v.Fail))
				case v.Risk == nil:
					return reputation.Report{}, reputation.ErrUnknown
				}
				return reputation.Report{Severity: *v.Risk}, nil
			})
		}
		return nil
	})
}

// TestAskAll proves that each address gets what is said of it, in any spelling, and that what is wrong with one entry is
// an error of its address alone.
func TestAskAll(t *testing.T) {
	for name, tc := range map[string]struct {
		body string
		want string // the severity, or what is in the error, of each address
	}{
		"another order":  {`{"198.51.100.7":{"risk":0.7},"2001:db8:1:2::7":{"risk":0.6},"203.0.113.10":{"risk":0.5}}`, "0.5 0.6 0.7"},
		"other spelling": {`{"::ffff:203.0.113.10":{"risk":0.5},"2001:0DB8:0001:2:0:0:0:7":{"risk":0.6},"198.51.100.7":{"risk":0.7}}`, "0.5 0.6 0.7"},
		"missing":        {`{"203.0.113.10":{"risk":0.5}}`, "0.5 leaves_out leaves_out"},
		"unknown":        {`{"203.0.113.10":{},"2001:db8:1:2::7":{"risk":null},"198.51.100.7":{"risk":0.7}}`, "nothing nothing 0.7"},
		"twice":          {`{"203.0.113.10":{"risk":0.5},"203.0.113.10":{"risk":0},"2001:db8:1:2::7":{"risk":0.6},"2001:db8:1:2:0::7":{"risk":0.6}}`, "twice twice leaves_out"},
		"foreign":        {`{"203.0.113.99":{"risk":1},"":{"risk":1},"status":"ok","198.51.100.7%eth0":{"risk":1},"203.0.113.10":{"risk":0.5}}`, "0.5 leaves_out leaves_out"},
		"other types":    {`{"203.0.113.10":7,"2001:db8:1:2::7":{"risk":"high"},"198.51.100.7":{"risk":0.7}}`, "type type 0.7"},
		"own words":      {`{"203.0.113.10":{"fail":"too new"},"2001:db8:1:2::7":{"fail":"ask for 198.51.100.7"},"198.51.100.7":{"fail":"with s3cr3t-k3y"}}`, ":_too_new protocol protocol"},
		"nothing":        {`{}`, "leaves_out leaves_out leaves_out"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(tc.body))
			}))
			defer server.Close()
			answers, err := askVerdicts(t.Context(), open(t, server.URL, nil), others)
			if err != nil || len(answers) != len(others) {
				t.Fatalf("%d answers, %v", len(answers), err)
			}
			for i, want := range strings.Fields(tc.want) {
				got, a := fmt.Sprint(answers[i].Report.Severity), answers[i]
				if a.Err != nil {
					got = a.Err.Error()
					if a.Report != (reputation.Report{}) || !strings.HasPrefix(got, "asking Acme: ") || strings.Contains(got, "198.51") || strings.Contains(got, "s3cr3t") {
						t.Errorf("address %d: %+v, %s", i, a.Report, got)
					}
				}
				if !strings.Contains(got, strings.ReplaceAll(want, "_", " ")) || a.Err == nil && got != want {
					t.Errorf("address %d: %s, want %s", i, got, want)
				}
			}
		})
	}
}

// TestAskAllFails proves what concerns all of the addresses: there are no answers then.
func TestAskAllFails(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return (&providertest.Case{Status: status, Body: body, Header: http.Header{"Content-Type": {"application/json"}}}).ServeHTTP
	}
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		change func(*service)
		want   error
	}{
		"a status for all":    {answer(404, "{}"), nil, reputation.ErrBadAnswer},
		"refused":             {answer(401, "{}"), nil, reputation.ErrRefused},
		"a list":              {answer(200, "[]"), nil, reputation.ErrBadAnswer},
		"a member's name cut": {answer(200, `{"203.0.113.10"`), nil, reputation.ErrBadAnswer},
		"not all are covered": {answer(500, ""), func(s *service) { s.api.Profile.Covers = reputation.IPv4 }, reputation.ErrUnsupported},
		"too large":           {answer(200, strings.Repeat(" ", 3<<10)+"{}"), func(s *service) { s.api.MaxBody = 1 << 10 }, reputation.ErrBadAnswer},
		"much too large":      {answer(200, strings.Repeat(" ", maxBatchBody)+"{}"), func(s *service) { s.api.MaxBody = maxBatchBody - 1 }, reputation.ErrBadAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(tc.answer)
			defer server.Close()
			answers, err := askVerdicts(t.Context(), open(t, server.URL, tc.change), others)
			if answers != nil || !errors.Is(err, tc.want) || errors.Is(err, reputation.ErrUnknown) {
				t.Errorf("%d answers, %v, want %v", len(answers), err, tc.want)
			}
		})
	}
	t.Run("large enough", func(t *testing.T) {
		server := httptest.NewServer(answer(200, strings.Repeat(" ", 3<<10-2)+"{}"))
		defer server.Close()
		s := open(t, server.URL, func(s *service) { s.api.MaxBody = 1 << 10 })
		if answers, err := askVerdicts(t.Context(), s, others); len(answers) != 3 || err != nil {
			t.Errorf("%d answers, %v", len(answers), err)
		}
	})
	if answers, err := askVerdicts(t.Context(), open(t, "http://127.0.0.1:1", nil), nil); len(answers) != 0 || err != nil {
		t.Errorf("about nobody: %v, %v", answers, err)
	}
}

// FuzzAskAll: whatever an answer has, each address has its own report or an error of a class, without a secret.
func FuzzAskAll(f *testing.F) {
	f.Add([]byte(`{"203.0.113.10":{"risk":0.5},"2001:db8:1:2::7":7,"198.51.100.7":{"fail":"no 203.0.113.10"}}`))
	f.Add([]byte(`{"203.0.113.10":{"risk":0.5},"203.0.113.10":null}`))
	f.Add([]byte(`{"::ffff:203.0.113.10":[],"":{}}`))
	s := open(f, "http://127.0.0.1:1", nil)
	f.Fuzz(func(t *testing.T, body []byte) {
		a := &Response{Status: 200, body: body, question: question{"s3cr3t-k3y", others}, endpoint: &s.Endpoint}
		var v Members[verdict]
		if err := a.decode(&v); err != nil {
			if !errors.Is(err, reputation.ErrBadAnswer) {
				t.Fatal(err)
			}
			return
		}
		answers := newAnswers(others)
		for _, m := range v {
			m.Into(answers, m.Name, func(*verdict, netip.Addr) (reputation.Report, error) {
				return reputation.Report{Severity: .5}, nil
			})
		}
		for i, got := range answers.list {
			if got.Err == nil && !strings.Contains(string(body), ":") {
				t.Errorf("address %d has a report out of %q", i, body)
			}
			if got.Err != nil && (!errors.Is(got.Err, reputation.ErrBadAnswer) || got.Report != reputation.Report{}) {
				t.Errorf("address %d: %+v", i, got)
			}
		}
	})
}
