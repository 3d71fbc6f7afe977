package httpjson_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/httpjson"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// service is a service that a test plays.
type service struct {
	*httptest.Server
	answer  http.HandlerFunc
	request *http.Request
	body    string
}

func startService(tb testing.TB, answer http.HandlerFunc) *service {
	tb.Helper()
	s := &service{answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.request, s.body = r, string(body)
		w.Header().Set("Content-Type", "application/json")
		s.answer(w, r)
	}))
	tb.Cleanup(s.Close)
	return s
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// question is about an address, with a key that no text may hold.
var question = reputation.Query{Addr: addr("203.0.113.10"), Key: "s3cret/k?y&x"}

// acme is a service with the least settings.
func acme(base string) *httpjson.HTTPJSON {
	return &httpjson.HTTPJSON{Name: "acme", URL: base + "/{ip}", Severity: "body.risk"}
}

const noTime = "last_seen: the value is not a time since 1970: " +
	"as 2027-03-31, 2027-03-31 12:00:00 (UTC), RFC 3339 or in seconds"

// TestAnswers: what becomes of an answer, and of one that is not as the expressions expect.
func TestAnswers(t *testing.T) {
	for _, tc := range []struct {
		name   string
		set    func(h *httpjson.HTTPJSON)
		status int
		body   string
		want   reputation.Report
		err    string // what comes after "asking acme: "
	}{
		{name: "a number", body: `{"risk": 0.5}`, want: reputation.Report{Severity: .5, Confidence: .5}},
		{name: "a whole number", body: `{"risk": -1}`, want: reputation.Report{Severity: -1, Confidence: .5}},
		{name: "out of range", body: `{"risk": 85}`, err: "severity: the value is not a number from -1 to 1"},
		{name: "not there", body: `{}`, err: `severity: the answer has no "risk"`},
		{name: "null", body: `{"risk": null}`, err: "severity: the answer has no value for it"},
		{name: "a string", body: `{"risk": "0.5"}`, err: "severity: the value is not a number from -1 to 1"},
		{name: "no object", body: `[1]`, err: "severity: a value has another type than the expression expects"},
		{name: "null alone", body: `null`, err: `severity: the answer has no "risk"`},
		{
			name: "NaN", set: func(h *httpjson.HTTPJSON) { h.Severity = "body.risk / body.risk" }, body: `{"risk": 0}`,
			err: "severity: the value is not a number from -1 to 1",
		},
		{
			name: "infinite", set: func(h *httpjson.HTTPJSON) { h.Severity = "1.0 / body.risk" }, body: `{"risk": 0}`,
			err: "severity: the value is not a number from -1 to 1",
		},
		{
			name: "optional and missing", set: func(h *httpjson.HTTPJSON) { h.Severity = "body.?risk" }, body: `{}`,
			err: "severity: the answer has no value for it",
		},
		{
			name: "a default", set: func(h *httpjson.HTTPJSON) { h.Severity = "body.?a.?b.orValue(0.25)" },
			body: `{"a": {}}`,
			want: reputation.Report{Severity: .25, Confidence: .5},
		},
		{
			name: "confidence", set: func(h *httpjson.HTTPJSON) { h.Confidence = "body.sure" },
			body: `{"risk": 0, "sure": 1.5}`,
			err:  "confidence: the value is not a number from 0 to 1",
		},
		{
			name: "facts",
			body: `{"risk": 0, "cc": "nl", "as": "AS64496 Example", "tor": true, "vpn": false, "seen": "2026-11-01", "for": 3600}`,
			set:  facts,
			want: reputation.Report{
				Confidence: .5, Categories: reputation.CategoriesOf(reputation.Tor),
				Facts: reputation.Facts{
					Country: "NL", ASN: 64496,
					Nature: nature(reputation.KindsOf(reputation.NatureTor), reputation.KindsOf(reputation.NatureVPN)),
				},
				LastSeen: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), TTL: time.Hour,
			},
		},
		{name: "no facts", body: `{"risk": 0}`, set: facts, want: reputation.Report{Confidence: .5}},
		{
			name: "null facts",
			body: `{"risk": 0, "cc": null, "as": null, "tor": null, "vpn": null, "seen": null, "for": null}`,
			set:  facts, want: reputation.Report{Confidence: .5},
		},
		{
			name: "empty facts", body: `{"risk": 0, "cc": "", "as": 0, "seen": ""}`,
			set: facts, want: reputation.Report{Confidence: .5},
		},
		{
			name: "numbers", body: `{"risk": 0, "as": 4294967295, "seen": 1790000000.5}`, set: facts,
			want: reputation.Report{
				Confidence: .5, Facts: reputation.Facts{ASN: 4294967295}, LastSeen: time.Unix(1790000000, 0).UTC(),
			},
		},
		{
			name: "no country", body: `{"risk": 0, "cc": "xx"}`, set: facts,
			want: reputation.Report{Confidence: .5},
		},
		{
			name: "country", body: `{"risk": 0, "cc": "Netherlands"}`, set: facts,
			err: "country: the value is not a code of two letters",
		},
		{
			name: "network", body: `{"risk": 0, "as": 1.5}`, set: facts,
			err: "asn: the value is not the number of a network",
		},
		{
			name: "large network", body: `{"risk": 0, "as": 4294967296}`, set: facts,
			err: "asn: the value is not the number of a network",
		},
		{
			name: "network's name", body: `{"risk": 0, "as": "Example"}`, set: facts,
			err: "asn: the value is not the number of a network",
		},
		{
			name: "nature", body: `{"risk": 0, "vpn": "yes"}`, set: facts,
			err: "nature vpn: the value is not true or false",
		},
		{
			name: "category", body: `{"risk": 0, "tor": 1}`, set: facts,
			err: "category tor: the value is not true or false",
		},
		{
			name: "seen", body: `{"risk": 0, "seen": "yesterday"}`, set: facts,
			err: noTime,
		},
		{
			name: "seen in milliseconds", body: `{"risk": 0, "seen": 1790000000000}`, set: facts,
			err: noTime,
		},
		{
			name: "valid for nothing", body: `{"risk": 0, "for": 0}`, set: facts,
			err: "valid_for: the value is not a duration from 1s to a year",
		},
		{
			name: "valid for ever", body: `{"risk": 0, "for": 1e300}`, set: facts,
			err: "valid_for: the value is not a duration from 1s to a year",
		},
		{
			name: "a duration", set: func(h *httpjson.HTTPJSON) { h.ValidFor = `duration("90m")` }, body: `{"risk": 0}`,
			want: reputation.Report{Confidence: .5, TTL: 90 * time.Minute},
		},
		{
			name: "about another", set: func(h *httpjson.HTTPJSON) { h.Address = "body.ip" },
			body: `{"risk": 0, "ip": "203.0.113.11"}`,
			err:  "address: it is not the address that was asked about",
		},
		{
			name: "about nobody", set: func(h *httpjson.HTTPJSON) { h.Address = "body.?ip" }, body: `{"risk": 0}`,
			err: "address: it is not the address that was asked about",
		},
		{
			name: "a quoted text", set: func(h *httpjson.HTTPJSON) { h.Severity = "double(body.risk)" },
			body: `{"risk": "s3cret/k?y&x"}`,
			err:  "severity: a value has another type than the expression expects",
		},
		{
			name: "a quoted time", set: func(h *httpjson.HTTPJSON) { h.LastSeen = "timestamp(body.risk)" },
			body: `{"risk": "s3cret/k?y&x"}`,
			err:  "severity: the value is not a number from -1 to 1",
		},
		{
			name: "a quoted member", set: func(h *httpjson.HTTPJSON) { h.Severity = "body[body.risk]" },
			body: `{"risk": "s3cret/k?y&x"}`,
			err:  "severity: a key is missing, in the answer or in a map of the expression",
		},
		{
			name: "a short list", set: func(h *httpjson.HTTPJSON) { h.Severity = "body[3]" }, body: `[]`,
			err: "severity: a list is shorter than the expression expects",
		},
		{
			name: "refused", set: kinds, body: `{"error": "key"}`,
			err: "the service refused the key: the expression of refused holds, status 200",
		},
		{
			name: "refused, by the status", set: kinds, status: 400, body: `{"error": "key"}`,
			err: "the service refused the key: the expression of refused holds, status 400",
		},
		{
			name: "throttled", set: kinds, body: `{"error": "quota"}`,
			err: "the service asks for fewer requests: the expression of throttled holds, status 200",
		},
		{
			name: "not found", set: kinds, status: 404, body: `{"error": "unknown"}`,
			err: "the service knows nothing of the address: the expression of not_found holds, status 404",
		},
		{
			name: "an error", set: kinds, body: `{"error": "on fire"}`,
			err: "the service gave an answer that is not of its protocol: the expression of error holds, status 200",
		},
		{name: "another status", set: kinds, status: 500, body: `{"error": "on fire"}`, err: "no answer, status 500"},
		{name: "a page", set: kinds, status: 404, body: `<html>`, err: "no answer, status 404"},
		{
			name: "a kind that fails", set: kinds, body: `{"error": 1}`,
			err: "refused: a value has another type than the expression expects",
		},
		{
			name: "a kind that fails, by its status", set: kinds, status: 429, body: `{"error": 1}`,
			err: "the service asks for fewer requests: status 429",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status := tc.status
			if status == 0 {
				status = http.StatusOK
			}
			s := startService(t, says(status, tc.body))
			h := acme(s.URL)
			if tc.set != nil {
				tc.set(h)
			}
			got, err := load(t, h).Check(t.Context(), question)
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.HasSuffix(err.Error(), tc.err)) {
				t.Errorf("the error is %v, want %q", err, tc.err)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error holds what the service said: %v", err)
			}
			if got != tc.want {
				t.Errorf("the report is %+v, want %+v", got, tc.want)
			}
		})
	}
}

func facts(h *httpjson.HTTPJSON) {
	h.Country, h.ASN, h.LastSeen, h.ValidFor = "body.?cc", "body.?as", "body.?seen", "body.?for"
	h.Categories = map[string]string{"tor": "body.?tor"}
	h.Natures = map[string]string{"tor": "body.?tor", "vpn": "body.?vpn"}
}

func kinds(h *httpjson.HTTPJSON) {
	h.Refused = `body.error.contains("key")`
	h.Throttled = `body.error.contains("quota")`
	h.NotFound = `body.error == "unknown"`
	h.Error = `has(body.error)`
}

// TestVariables: what expressions see besides the body.
func TestVariables(t *testing.T) {
	s := startService(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["X-Risk"] = []string{"0.25", "x"}
		_, _ = io.WriteString(w, `{"203.0.113.10": {"seen": "2020-01-01T00:00:00Z"}}`)
	})
	h := acme(s.URL)
	h.Severity = `double(header["x-risk"].split(",")[0])`
	h.Confidence = `status == 200 ? 0.75 : 0.0`
	h.Categories = map[string]string{"scanner": `now - timestamp(body[ip].seen) > duration("24h")`}
	got, err := load(t, h).Check(t.Context(), question)
	want := reputation.Report{Severity: .25, Confidence: .75, Categories: reputation.CategoriesOf(reputation.Scanner)}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestCost: an expression whose work depends on the answer ends, however the answer is made.
func TestCost(t *testing.T) {
	list := "[" + strings.Repeat("1,", 2_000) + "1]"
	for expression, want := range map[string]string{
		"body.exists(a, body.exists(b, a + b < 0.0)) ? 1.0 : 0.0":                    "severity: it took more than 20000 steps",
		"double(size(body.map(a, body.map(b, a))))":                                  "severity: it took more than 20000 steps",
		"body.exists(a, a > 2.0) ? 1.0 : 0.5":                                        "",
		"size(body) > 5 && body[0] == 1 ? 0.5 : 0.0":                                 "",
		"body[?200000].orValue(0.5) == 0.5 && body[1] in [1.0, 2.0] ? 0.5 : body[0]": "",
	} {
		h := acme(startService(t, says(200, list)).URL)
		h.Severity = expression
		r, err := load(t, h).Check(t.Context(), question)
		if want == "" && (err != nil || r.Severity != .5) || want != "" && (err == nil || !strings.HasSuffix(err.Error(), want)) {
			t.Errorf("%s: %v, %v, want %q", expression, r, err, want)
		}
	}
	// operations whose work CEL does not see: a million comparisons in each
	list = "[" + strings.Repeat("1,", 1_000) + "1]"
	for _, expression := range []string{
		"body.exists(a, (a + 1.0) in body) ? 1.0 : 0.0",
		"body.exists(a, body != body) ? 1.0 : 0.0",
		"body.exists(a, {'a': body} == {'a': body} && false) ? 1.0 : 0.0",
		"body.exists(a, math.greatest(body) > 5.0) ? 1.0 : 0.0",
	} {
		h := acme(startService(t, says(200, list)).URL)
		h.Severity = expression
		if r, err := load(t, h).Check(t.Context(), question); err == nil || !strings.HasSuffix(err.Error(), "it took more than 20000 steps") {
			t.Errorf("%s: %v, %v", expression, r, err)
		}
	}
	// a text that doubles with each binding
	text := `"` + strings.Repeat("x", 50_000) + `"`
	expression := "size(t)"
	for i := range 40 {
		expression = fmt.Sprintf("cel.bind(t, %s + %[1]s, %s)", map[bool]string{true: "body", false: "t"}[i == 39], expression)
	}
	h := acme(startService(t, says(200, text)).URL)
	h.Severity = expression
	if _, err := load(t, h).Check(t.Context(), question); err == nil || !strings.HasSuffix(err.Error(), "it took more than 20000 steps") {
		t.Errorf("a text that doubles: %v", err)
	}
}

// TestEnded: an evaluation ends with the call, and says so.
func TestEnded(t *testing.T) {
	h := acme("https://api.example.com")
	h.Severity = "body.exists(a, a > 2.0) ? 1.0 : 0.5"
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	list := []byte("[" + strings.Repeat("1,", 1_000) + "1]")
	if r, err := httpjson.Map(ctx, load(t, h), http.StatusOK, list, question.Addr); !errors.Is(err, context.Canceled) {
		t.Errorf("got %+v, %v", r, err)
	}
}
