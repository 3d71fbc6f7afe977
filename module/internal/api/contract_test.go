package api

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// contract is our document, read by somebody else.
type contract struct {
	doc    *openapi3.T
	router routers.Router
	seen   map[string]bool // "operation status"
}

// readContract reads the document. Objects may have no members that it does not name, which it allows to others.
func readContract(tb testing.TB) *contract {
	tb.Helper()
	var raw map[string]any
	if err := json.Unmarshal(Document, &raw); err != nil {
		tb.Fatal(err)
	}
	closeSchemas(raw)
	raw["servers"] = []any{map[string]any{"url": "http://api.example.com"}}
	strict, err := json.Marshal(raw)
	if err != nil {
		tb.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(strict)
	if err != nil {
		tb.Fatal(err)
	}
	if err := doc.Validate(tb.Context()); err != nil {
		tb.Fatalf("the document is not OpenAPI: %v", err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		tb.Fatal(err)
	}
	return &contract{doc, router, map[string]bool{}}
}

// closeSchemas lets no schema have members that it does not name.
func closeSchemas(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["properties"].(map[string]any); ok && v["type"] == "object" {
			v["additionalProperties"] = false
		}
		for _, member := range v {
			closeSchemas(member)
		}
	case []any:
		for _, member := range v {
			closeSchemas(member)
		}
	}
}

// check holds an answer against the document. The question is held against it, too, if it was a good one.
func (c *contract) check(t *testing.T, r *http.Request, body string, w *httptest.ResponseRecorder) {
	t.Helper()
	route, params, err := c.router.FindRoute(r)
	if err != nil {
		if w.Code != http.StatusNotFound && w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s %s is answered with %d and not in the document: %v", r.Method, r.URL, w.Code, err)
		}
		return
	}
	options := &openapi3filter.Options{IncludeResponseStatus: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}
	input := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route, Options: options}
	if w.Code < 300 {
		r.Body = http.NoBody
		if body != "" {
			r = r.Clone(r.Context())
			r.Body = httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)).Body
			input.Request = r
		}
		if err := openapi3filter.ValidateRequest(context.Background(), input); err != nil {
			t.Errorf("%s %s is answered, and not a question of the document: %v", r.Method, r.URL, err)
		}
	}
	response := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: w.Code, Header: w.Header(), Options: options}
	response.SetBodyBytes(w.Body.Bytes())
	if err := openapi3filter.ValidateResponse(context.Background(), response); err != nil {
		t.Errorf("%s %s: %v\n%s", r.Method, r.URL, err, w.Body)
	}
	c.seen[route.Operation.OperationID+" "+strconv.Itoa(w.Code)] = true
}

// TestTheContract proves that every answer is one of the OpenAPI document, and that every answer of the document is given:
// each route with each status.
func TestTheContract(t *testing.T) {
	c := readContract(t)
	bad := map[string]func(*fixture){
		"limited":   func(f *fixture) { f.left = 0 },
		"panics":    func(f *fixture) { f.panics = true },
		"down":      func(f *fixture) { f.down = true },
		"hidden":    func(f *fixture) { f.hidden = true },
		"unknown":   func(f *fixture) { f.o.Client = nobody },
		"away":      func(f *fixture) { f.err = fmt.Errorf("asking db.internal: %w", history.ErrUnavailable) },
		"schema":    func(f *fixture) { f.err = fmt.Errorf("asking db.internal: %w", history.ErrSchema) },
		"slow":      func(f *fixture) { f.err = fmt.Errorf("asking db.internal: %w", history.ErrSlow) },
		"senseless": func(f *fixture) { f.err = fmt.Errorf("%w: after is of another question", history.ErrQuery) },
		"breaks":    func(f *fixture) { f.err = errors.New("db.internal: relation does not exist") },
		"none":      func(f *fixture) { f.none = true },
	}
	tests := []struct {
		call
		state  string
		status int
		code   string
	}{
		{call{path: "/v1/ip/203.0.113.5", token: readToken}, "", 200, ""},
		{call{path: "/v1/ip/2001:db8::5", token: readToken}, "", 200, ""},
		{call{path: "/v1/ip/::ffff:203.0.113.5", token: readToken}, "", 200, ""},
		{call{path: "/v1/ip/203.0.113.5?ask=false", token: readToken}, "", 200, ""},
		{call{path: "/v1/ip/203.0.113.5?ask", token: askToken}, "", 200, ""},
		{call{path: "/v1/ip/203.0.113.5", token: readToken, header: http.Header{"If-None-Match": {"*"}}}, "", 304, ""},
		{call{path: "/v1/ip/nobody", token: readToken}, "", 400, "invalid_request"},
		{call{path: "/v1/ip/fe80::1%25eth0", token: readToken}, "", 400, "invalid_request"},
		{call{path: "/v1/ip/203.0.113.5?fresh", token: readToken}, "", 400, "invalid_request"},
		{call{path: "/v1/ip/203.0.113.5?ask=yes", token: askToken}, "", 400, "invalid_request"},
		{call{path: "/v1/ip/203.0.113.5?ask&ask", token: askToken}, "", 400, "invalid_request"},
		{call{path: "/v1/ip/203.0.113.5?%zz", token: askToken}, "", 400, "invalid_request"},
		{call{path: "/v1/ip/203.0.113.5"}, "", 401, "missing_token"},
		{call{path: "/v1/ip/203.0.113.5", token: "token-of-somebody-else-entirely"}, "", 401, "invalid_token"},
		{call{path: "/v1/ip/203.0.113.5", token: historyToken}, "", 403, "insufficient_scope"},
		{call{path: "/v1/ip/203.0.113.5?ask=true", token: readToken}, "", 403, "insufficient_scope"},
		{call{path: "/v1/ip/203.0.113.5", token: readToken}, "limited", 429, "too_many_requests"},
		{call{path: "/v1/ip/203.0.113.5", token: readToken}, "panics", 500, "internal"},

		{call{path: "/v1/me", token: readToken}, "", 200, ""},
		{call{path: "/v1/me?ask", token: askToken}, "", 200, ""},
		{call{path: "/v1/me", token: readToken, header: http.Header{"If-None-Match": {"*"}}}, "", 304, ""},
		{call{path: "/v1/me?x", token: readToken}, "", 400, "invalid_request"},
		{call{path: "/v1/me"}, "", 401, "missing_token"},
		{call{path: "/v1/me?ask", token: readToken}, "", 403, "insufficient_scope"},
		{call{path: "/v1/me", token: readToken}, "unknown", 404, "address_unknown"},
		{call{path: "/v1/me", token: readToken}, "limited", 429, "too_many_requests"},
		{call{path: "/v1/me", token: readToken}, "panics", 500, "internal"},

		{call{method: "POST", path: "/v1/ip", token: readToken, body: `{"addresses":["203.0.113.5","2001:db8::5"]}`}, "", 200, ""},
		{call{method: "POST", path: "/v1/ip", token: readToken, body: `{"addresses":["203.0.113.5","nobody"],"ask":false}`}, "", 200, ""},
		{call{method: "POST", path: "/v1/ip", token: askToken, body: `{"addresses":["203.0.113.5"],"ask":true}`}, "", 200, ""},
		{call{method: "POST", path: "/v1/ip", token: readToken, body: `{"addresses":[]}`}, "", 400, "invalid_request"},
		{call{method: "POST", path: "/v1/ip", token: readToken, body: `null`}, "", 400, "invalid_request"},
		{call{method: "POST", path: "/v1/ip", token: readToken, body: `{"addresses":["::1"],"fresh":true}`}, "", 400, "invalid_request"},
		{call{method: "POST", path: "/v1/ip", token: readToken, body: `{"addresses":["::1"]} {}`}, "", 400, "invalid_request"},
		{call{method: "POST", path: "/v1/ip", token: readToken, body: `{"addresses":[1]}`}, "", 400, "invalid_request"},
		{call{method: "POST", path: "/v1/ip", token: readToken, body: many(101)}, "", 400, "invalid_request"},
		{call{method: "POST", path: "/v1/ip?ask", token: askToken, body: many(1)}, "", 400, "invalid_request"},
		{call{method: "POST", path: "/v1/ip", body: many(1)}, "", 401, "missing_token"},
		{call{method: "POST", path: "/v1/ip", token: readToken, body: `{"addresses":["::1"],"ask":true}`}, "", 403, "insufficient_scope"},
		{call{method: "POST", path: "/v1/ip", token: readToken, body: many(100)}, "", 200, ""},
		{call{method: "POST", path: "/v1/ip", token: readToken, body: many(1100)}, "", 413, "body_too_large"},
		{call{method: "POST", path: "/v1/ip", token: readToken, body: many(1), header: http.Header{"Content-Type": {"text/plain"}}}, "", 415, "unsupported_media_type"},
		{call{method: "POST", path: "/v1/ip", token: readToken, body: many(1)}, "limited", 429, "too_many_requests"},
		{call{method: "POST", path: "/v1/ip", token: readToken, body: many(1)}, "panics", 500, "internal"},

		{call{method: "POST", path: "/v1/violations", token: reportToken, body: spam("")}, "", 200, ""},
		{call{method: "POST", path: "/v1/violations", token: reportToken, body: spam(`,"path":"/a","request_id":"r"`)}, "", 200, ""},
		{call{method: "POST", path: "/v1/violations", token: spamToken, body: "[" + spam("") + `,{"address":"nobody","violation":"spam"},{"address":"203.0.113.5","violation":"trap"},{"address":"10.0.0.1","violation":"spam"}]`}, "", 200, ""},
		{call{method: "POST", path: "/v1/violations", token: reportToken, body: spam(`,"points":60`)}, "", 400, "invalid_request"},
		{call{method: "POST", path: "/v1/violations", token: reportToken, body: `[]`}, "", 400, "invalid_request"},
		{call{method: "POST", path: "/v1/violations", token: reportToken, body: `null`}, "", 400, "invalid_request"},
		{call{method: "POST", path: "/v1/violations", token: reportToken, body: "[" + strings.Repeat(spam("")+",", 100) + spam("") + "]"}, "", 400, "invalid_request"},
		{call{method: "POST", path: "/v1/violations?ask", token: reportToken, body: spam("")}, "", 400, "invalid_request"},
		{call{method: "POST", path: "/v1/violations", body: spam("")}, "", 401, "missing_token"},
		{call{method: "POST", path: "/v1/violations", token: askToken, body: spam("")}, "", 403, "insufficient_scope"},
		{call{method: "POST", path: "/v1/violations", token: spamToken, body: `{"address":"203.0.113.5","violation":"trap"}`}, "", 403, "insufficient_scope"},
		{call{method: "POST", path: "/v1/violations", token: reportToken, body: "[" + strings.Repeat(spam("")+",", 2000) + spam("") + "]"}, "", 413, "body_too_large"},
		{call{method: "POST", path: "/v1/violations", token: reportToken, body: spam(""), header: http.Header{"Content-Type": {"text/plain"}}}, "", 415, "unsupported_media_type"},
		{call{method: "POST", path: "/v1/violations", token: reportToken, body: spam("")}, "limited", 429, "too_many_requests"},
		{call{method: "POST", path: "/v1/violations", token: reportToken, body: spam("")}, "panics", 500, "internal"},

		{call{path: "/v1/ip/203.0.113.5/history", token: historyToken}, "", 200, ""},
		{call{path: "/v1/ip/2001:db8::5/history?view=timeline&from=7d&to=2099-01-01&limit=1000&after=x&bits=48", token: historyToken}, "", 200, ""},
		{call{path: "/v1/ip/203.0.113.5/history?view=changes&from=2027-03-31T12:00:00Z", token: historyToken}, "", 200, ""},
		{call{path: "/v1/ip/nobody/history", token: historyToken}, "", 400, "invalid_request"},
		{call{path: "/v1/ip/203.0.113.5/history?view=all", token: historyToken}, "", 400, "invalid_request"},
		{call{path: "/v1/ip/203.0.113.5/history?bits=7", token: historyToken}, "", 400, "invalid_request"},
		{call{path: "/v1/ip/203.0.113.5/history?bits=33", token: historyToken}, "", 400, "invalid_request"},
		{call{path: "/v1/ip/203.0.113.5/history?limit=0", token: historyToken}, "", 400, "invalid_request"},
		{call{path: "/v1/ip/203.0.113.5/history?from=now", token: historyToken}, "", 400, "invalid_request"},
		{call{path: "/v1/ip/203.0.113.5/history?from=1d&to=2d", token: historyToken}, "", 400, "invalid_request"},
		{call{path: "/v1/ip/203.0.113.5/history?after=y", token: historyToken}, "senseless", 400, "invalid_request"},
		{call{path: "/v1/ip/203.0.113.5/history"}, "", 401, "missing_token"},
		{call{path: "/v1/ip/203.0.113.5/history", token: askToken}, "", 403, "insufficient_scope"},
		{call{path: "/v1/ip/203.0.113.5/history", token: historyToken}, "hidden", 400, "invalid_request"},
		{call{path: "/v1/ip/203.0.113.5/history", token: historyToken}, "limited", 429, "too_many_requests"},
		{call{path: "/v1/ip/203.0.113.5/history", token: historyToken}, "panics", 500, "internal"},

		{call{path: "/v1/history/worst", token: historyToken}, "", 200, ""},
		{call{path: "/v1/history/worst?by=network&from=30d", token: historyToken}, "", 200, ""},
		{call{path: "/v1/history/worst?by=asn", token: historyToken}, "", 400, "invalid_request"},
		{call{path: "/v1/history/worst"}, "", 401, "missing_token"},
		{call{path: "/v1/history/worst", token: readToken}, "", 403, "insufficient_scope"},
		{call{path: "/v1/history/worst", token: historyToken}, "limited", 429, "too_many_requests"},
		{call{path: "/v1/history/rules", token: historyToken}, "", 200, ""},
		{call{path: "/v1/history/rules?by=network", token: historyToken}, "", 400, "invalid_request"},
		{call{path: "/v1/history/rules?limit=1001", token: historyToken}, "", 400, "invalid_request"},
		{call{path: "/v1/history/rules"}, "", 401, "missing_token"},
		{call{path: "/v1/history/rules", token: readToken}, "", 403, "insufficient_scope"},
		{call{path: "/v1/history/rules", token: historyToken}, "limited", 429, "too_many_requests"},

		{call{path: "/v1/health"}, "", 200, ""},
		{call{path: "/v1/health"}, "limited", 200, ""},
		{call{path: "/v1/health"}, "down", 503, ""},
		{call{path: "/openapi.json"}, "", 200, ""},
		{call{path: "/openapi.json", header: http.Header{"If-None-Match": {`"x", ` + documentTag}}}, "", 304, ""},
		{call{path: "/openapi.json"}, "limited", 429, "too_many_requests"},

		{call{path: "/"}, "", 404, "not_found"},
		{call{path: "/v1/ip/"}, "", 404, "not_found"},
		{call{path: "/v1/ip/203.0.113.5/", token: readToken}, "", 404, "not_found"},
		{call{path: "/v1/ip/203.0.113.5/history/x", token: readToken}, "", 404, "not_found"},
		{call{path: "/v2/ip/203.0.113.5", token: readToken}, "", 404, "not_found"},
	}
	for _, route := range []string{"/v1/ip/203.0.113.5/history", "/v1/history/worst", "/v1/history/rules"} {
		for state, want := range map[string]struct {
			status int
			code   string
		}{
			"none": {404, "no_history"}, "slow": {422, "too_slow"}, "away": {503, "history_away"}, "schema": {503, "history_away"},
			"breaks": {500, "internal"},
		} {
			tests = append(tests, struct {
				call
				state  string
				status int
				code   string
			}{call{path: route, token: historyToken}, state, want.status, want.code})
		}
	}
	for _, tc := range tests {
		f := start(t)
		if change := bad[tc.state]; change != nil {
			f = start(t, change)
		}
		w := f.send(tc.call)
		if code := codeOf(t, w); w.Code != tc.status || code != tc.code {
			t.Errorf("%s %s (%s) is answered with %d %s, want %d %s\n%s", tc.method, tc.path, tc.state, w.Code, code, tc.status, tc.code, w.Body)
		}
		if strings.Contains(w.Body.String(), "db.internal") || strings.Contains(w.Body.String(), "panic") {
			t.Errorf("%s (%s) shows what is behind: %s", tc.path, tc.state, w.Body)
		}
		c.check(t, tc.request(), tc.body, w)
	}
	c.everywhere(t)
	c.complete(t)
}

func nobody(*http.Request) netip.Addr { return netip.Addr{} }

// everywhere checks what any route can answer.
func (c *contract) everywhere(t *testing.T) {
	t.Helper()
	for path := range c.doc.Paths.Map() {
		item := c.doc.Paths.Value(path)
		path = strings.ReplaceAll(path, "{address}", "203.0.113.5")
		for method := range item.Operations() {
			f := start(t)
			r := call{method: method, path: path, token: readToken}.request()
			r.TLS, r.ProtoMajor = &tls.ConnectionState{}, 3
			w := httptest.NewRecorder()
			f.ServeHTTP(w, r)
			if code := codeOf(t, w); code != "too_early" {
				t.Errorf("%s before the handshake is answered with %d", path, w.Code)
			}
			c.check(t, call{method: method, path: path, token: readToken}.request(), "", w)
			r.ProtoMajor = 1 // a listener wrapper may not know the state of TLS
			w = httptest.NewRecorder()
			if f.ServeHTTP(w, r); w.Code == http.StatusTooEarly {
				t.Errorf("%s is refused as early data over HTTP/1.1", path)
			}

			wrong := f.send(call{method: http.MethodDelete, path: path, token: readToken})
			if code := codeOf(t, wrong); code != "method_not_allowed" || !strings.Contains(wrong.Header().Get("Allow"), method) {
				t.Errorf("DELETE %s is answered with %d %v", path, wrong.Code, wrong.Header())
			}
			c.check(t, call{method: method, path: path}.request(), "", wrong)

			allowed := f.send(call{method: http.MethodOptions, path: path})
			if allowed.Code != http.StatusNoContent || allowed.Header().Get("Allow") != wrong.Header().Get("Allow") || allowed.Body.Len() > 0 {
				t.Errorf("OPTIONS %s is answered with %d %v", path, allowed.Code, allowed.Header())
			}
			f = start(t, func(f *fixture) { f.o.Backend = nil }) // which lets it panic
			if broken := f.send(call{method: method, path: path, token: historyToken}); broken.Code == http.StatusInternalServerError {
				c.check(t, call{method: method, path: path}.request(), "", broken)
			}
		}
	}
}

// complete fails the test for what the document has and nobody has answered.
func (c *contract) complete(t *testing.T) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(c.doc.Paths.Map())) {
		for _, operation := range c.doc.Paths.Value(path).Operations() {
			for status := range operation.Responses.Map() {
				key := operation.OperationID + " " + status
				if !c.seen[key] && key != "getDocument 500" { // the document cannot fail; clients should be ready for it all the same
					t.Errorf("nobody has answered %s", key)
				}
			}
		}
	}
}

// many is a body with so many addresses.
func many(n int) string {
	return `{"addresses":["` + strings.TrimSuffix(strings.Repeat(`203.0.113.255","`, n), `","`) + `"]}`
}

// spam is a violation with more members.
func spam(more string) string { return `{"address":"203.0.113.5","violation":"spam"` + more + `}` }

// TestTheDocumentationIsComplete proves that docs/api.md has every route, every code and every scope.
func TestTheDocumentationIsComplete(t *testing.T) {
	text, err := os.ReadFile("../../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	c := readContract(t)
	wanted := []string{"`" + ScopeRead.String() + "`", "`" + ScopeAsk.String() + "`", "`" + ScopeHistory.String() + "`", "`" + ScopeViolations.String() + "`"}
	for path := range c.doc.Paths.Map() {
		for method := range c.doc.Paths.Value(path).Operations() {
			wanted = append(wanted, "| `"+method+" "+path+"` |")
		}
	}
	for _, code := range c.doc.Components.Schemas["Problem"].Value.Properties["code"].Value.Enum {
		wanted = append(wanted, fmt.Sprintf("| `%s` |", code))
	}
	for _, want := range wanted {
		if !strings.Contains(string(text), want) {
			t.Errorf("docs/api.md lacks %s", want)
		}
	}
}
