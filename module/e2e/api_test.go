package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// The tokens of the tests, and the variables that hold them.
var apiTokens = map[string]string{
	"read": "token-of-a-reader-0123456789", "ask": "token-of-one-who-asks-01234567", "history": "token-of-an-analyst-0123456789",
	"report": "token-of-who-reports-0123456789", "forum": "token-of-the-forum-0123456789",
}

// withAPI lets the site answer applications, with a token for each scope. Settings are added to the handler's.
func (c *config) withAPI(tb testing.TB, settings object) *config {
	tb.Helper()
	var tokens []any
	for _, t := range []struct {
		name   string
		scopes []any
	}{{"read", []any{"read"}}, {"ask", []any{"read", "ask"}}, {"history", []any{"history"}}} {
		tb.Setenv("TEST_API_"+strings.ToUpper(t.name), apiTokens[t.name])
		tokens = append(tokens, object{
			"secret": object{"value": "{env.TEST_API_" + strings.ToUpper(t.name) + "}"}, "scopes": t.scopes, "name": t.name,
		})
	}
	handler := object{"handler": "ip_reputation_api", "tokens": tokens}
	maps.Copy(handler, settings)
	c.next = []any{handler}
	return c
}

// look sends a question to the API, with the token of that name, as a client of its own.
func (r *running) look(tb testing.TB, token, method, path, body string, header http.Header) reply {
	tb.Helper()
	all := http.Header{"X-Forwarded-For": {"198.51.100.200"}}
	if value, ok := apiTokens[token]; ok {
		token = value
	}
	if token != "" {
		all.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		all.Set("Content-Type", "application/json")
	}
	maps.Copy(all, header)
	return send(tb, method, r.site+path, body, all)
}

// known is an answer of the API, as far as the tests look at it.
type known struct {
	Address, Subject, Country, Code, Detail string
	Status                                  any    // a number in problems
	RequestID                               string `json:"request_id"`
	Score                                   *int
	Coverage                                float64
	Categories                              []string
	Nature                                  map[string]bool
	Reasons                                 []struct {
		Source string
		Points float64
	}
	Results []known
	Error   string
}

func (k known) String() string {
	score := "none"
	if k.Score != nil {
		score = strconv.Itoa(*k.Score)
	}
	return fmt.Sprint(k.Address, " ", k.Status, " ", score)
}

// TestAPI proves that applications are told what is known, that providers are asked only where somebody may and says so, and
// that all answers of a real Caddy are those of the document that it serves.
func TestAPI(t *testing.T) {
	s := startStandIn(t)
	s.know(badClient, 100, 60)
	s.know("2001:db8:5::1", 100, 60)
	c := newConfig(t).withAPI(t, nil)
	c.ask(s)
	c.app["feeds"] = []any{object{"name": "mine", "sources": []any{"203.0.113.0/30"}, "category": []any{"scanner"}}}
	c.app["exempt"] = []any{"192.0.2.1"}
	c.handler = nil
	r := startCaddy(t, c)
	contract := r.readContract(t)
	get := func(token, path string, want int) known {
		t.Helper()
		got := r.look(t, token, http.MethodGet, path, "", nil)
		if got.status != want {
			t.Errorf("%s with %s is answered with %d %s", path, token, got.status, got.body)
		}
		contract(http.MethodGet, path, "", got)
		k := into[known](t, got)
		if want >= 400 && k.RequestID != got.header.Get("X-Request-Id") || !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(got.header.Get("X-Request-Id")) {
			t.Errorf("%s: the problem names request %q, the header %q", path, k.RequestID, got.header.Get("X-Request-Id"))
		}
		return k
	}
	post := func(token, body string, want int) known {
		t.Helper()
		got := r.look(t, token, http.MethodPost, "/v1/ip", body, nil)
		if got.status != want {
			t.Errorf("%s with %s is answered with %d %s", body, token, got.status, got.body)
		}
		contract(http.MethodPost, "/v1/ip", body, got)
		return into[known](t, got)
	}

	asked := r.outcomes(t)
	for address, want := range map[string]string{
		badClient: badClient + " partial 1", "203.0.113.1": "203.0.113.1 partial", "192.0.2.1": "192.0.2.1 exempt none",
		"127.0.0.1": "127.0.0.1 exempt none", "::ffff:" + badClient: badClient + " partial 1",
	} {
		for _, token := range []string{"read", "ask"} {
			if k := get(token, "/v1/ip/"+address, 200); !strings.HasPrefix(k.String(), want) {
				t.Errorf("%s: %v, want %s", address, k, want)
			}
		}
	}
	get("read", "/v1/me", 200)
	get("read", "/v1/ip/"+badClient+"?ask", 403)
	post("read", `{"addresses":["`+badClient+`"],"ask":true}`, 403)
	post("ask", `{"addresses":["`+badClient+`","203.0.113.1"]}`, 200)
	if n := s.asked(); n != 0 || len(r.outcomesSince(t, asked)) != 0 {
		t.Errorf("the provider was asked %d times by those who only read: %v", n, r.outcomesSince(t, asked))
	}

	k := get("ask", "/v1/ip/"+badClient+"?ask=true", 200)
	if k.String() != badClient+" fresh 88" || k.Coverage != 1 || k.Country != "NL" || !k.Nature["hosting"] || len(k.Reasons) != 1 ||
		k.Reasons[0].Points != 28.8 || k.Subject != badClient+"/32" {
		t.Errorf("asked, it is %+v", k)
	}
	if k := get("read", "/v1/ip/"+badClient, 200); k.String() != badClient+" fresh 88" {
		t.Errorf("afterwards, it is %v", k)
	}
	get("ask", "/v1/ip/"+badClient+"?ask=true", 200)
	if s.asked() != 1 {
		t.Errorf("the provider was asked %d times", s.asked())
	}
	several := post("ask", `{"addresses":["`+badClient+`","2001:db8:5::1","nobody","198.51.100.3"],"ask":true}`, 200)
	if got := fmt.Sprint(several.Results); !strings.HasPrefix(got, "["+badClient+" fresh 88 2001:db8:5::1 fresh 88 nobody <nil> none 198.51.100.3 fresh ") {
		t.Errorf("several are %s", got)
	}
	if s.asked() != 3 || s.asked("2001:db8:5::1") != 1 {
		t.Errorf("the provider was asked %v", s.calls)
	}
	if k := get("ask", "/v1/me?ask", 200); k.Address != "198.51.100.200" || k.Status != "fresh" {
		t.Errorf("I am %v", k)
	}

	for path, code := range map[string]string{
		"/v1/ip/nobody": "400 invalid_request", "/v1/ip/" + badClient + "?x": "400 invalid_request", "/v1/nothing": "404 not_found", "/": "404 not_found",
	} {
		status, _ := strconv.Atoi(code[:3])
		if k := get("read", path, status); k.Code != code[4:] {
			t.Errorf("%s: %s, want %s", path, k.Code, code)
		}
	}
	for _, path := range []string{"/v1/ip/" + badClient + "/history", "/v1/history/worst?by=network", "/v1/history/rules?from=7d"} {
		if k := get("history", path, 404); k.Code != "no_history" {
			t.Errorf("%s: %s", path, k.Code)
		}
		get("ask", path, 403)
		get("", path, 401)
	}
	for _, token := range []string{"", "token-of-somebody-else-entirely"} {
		get(token, "/v1/ip/"+badClient, 401)
		post(token, `{"addresses":["`+badClient+`"]}`, 401)
	}
	if got := r.look(t, "", http.MethodGet, "/v1/health", "", nil); got.status != 200 || got.body != `{"status":"pass"}` {
		t.Errorf("health is %d %s", got.status, got.body)
	}
	if n := r.metric(t, `api_requests_total{code="401",route="history"}`) + r.metric(t, `api_requests_total{code="404",route="worst"}`); n < 2 {
		t.Errorf("%v answers are counted", n)
	}
	if log := r.logs(t); strings.Contains(log, "panic") || strings.Contains(log, `"level":"error"`) {
		t.Errorf("the log says:\n%s", log)
	}
}

// readContract reads the document that the site serves, and returns what holds an answer against it.
func (r *running) readContract(tb testing.TB) func(method, path, body string, got reply) {
	tb.Helper()
	served := send(tb, http.MethodGet, r.site+"/openapi.json", "", nil)
	if served.status != 200 || served.header.Get("Cache-Control") != "public, max-age=3600" {
		tb.Fatalf("the document is %d %v", served.status, served.header)
	}
	doc, err := openapi3.NewLoader().LoadFromData([]byte(served.body))
	if err != nil {
		tb.Fatal(err)
	}
	doc.Servers = openapi3.Servers{{URL: r.site}}
	if err := doc.Validate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		tb.Fatal(err)
	}
	options := &openapi3filter.Options{IncludeResponseStatus: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}
	return func(method, path, body string, got reply) {
		tb.Helper()
		req, err := http.NewRequestWithContext(context.Background(), method, r.site+path, strings.NewReader(body))
		if err != nil {
			tb.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		route, params, err := router.FindRoute(req)
		if err != nil {
			if got.status != 404 {
				tb.Errorf("%s is answered with %d and not in the document", path, got.status)
			}
			return
		}
		question := &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route, Options: options}
		if err := openapi3filter.ValidateRequest(context.Background(), question); err != nil && got.status == 200 {
			tb.Errorf("%s %s: %v", path, body, err)
		}
		answer := &openapi3filter.ResponseValidationInput{RequestValidationInput: question, Status: got.status, Header: got.header, Options: options}
		answer.SetBodyBytes([]byte(got.body))
		if err := openapi3filter.ValidateResponse(context.Background(), answer); err != nil {
			tb.Errorf("%s %s: %v\n%s", method, path, err, got.body)
		}
	}
}

// TestAPIBesideTheHandler proves that a site may have both, behind a prefix, and that one request has one ID.
func TestAPIBesideTheHandler(t *testing.T) {
	c := newConfig(t).withAPI(t, nil)
	c.next = []any{
		object{"handler": "subroute", "routes": []any{object{
			"match": []any{object{"path": []any{"/rep/*"}}}, "terminal": true,
			"handle": []any{object{"handler": "rewrite", "strip_path_prefix": "/rep"}, c.next[0]},
		}}},
		object{"handler": "static_response", "body": "passed"},
	}
	c.server = object{"logs": object{}}
	r := startCaddy(t, c)
	got := r.look(t, "read", http.MethodGet, "/rep/v1/ip/nobody", "", http.Header{"X-Request-Id": {"from-the-proxy"}})
	if k := into[known](t, got); got.status != 400 || k.RequestID != "from-the-proxy" || len(got.header.Values("X-Request-Id")) != 1 {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
	if got := r.visit(t, cleanClient); got.body != "passed" {
		t.Errorf("the rest of the site answers %d %s", got.status, got.body)
	}
	c.handler = nil
	r.reload(t)
	got = r.look(t, "read", http.MethodGet, "/rep/v1/me", "", nil)
	id := got.header.Get("X-Request-Id")
	if got.status != 200 || id == "" || id == "from-the-proxy" {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
	eventually(t, "the access log has the ID", func() bool { return strings.Contains(r.logs(t), `"request_id":"`+id+`"`) })
}

// TestAPITokensChange proves that a token which is replaced in its file counts without a reload, and the old one no more, and that
// one which has ended does not count.
func TestAPITokensChange(t *testing.T) {
	c := newConfig(t)
	file := filepath.Join(c.dataDir, "a-token")
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("token-of-monday-0123456789")
	t.Setenv("TEST_API_ENDED", "token-of-yesterday-0123456789")
	c.withAPI(t, object{"tokens": []any{
		object{"secret": object{"value": "{file." + file + "}", "refresh": "1s"}, "scopes": []any{"read"}},
		object{"secret": object{"value": "{env.TEST_API_ENDED}", "expires": time.Now().AddDate(0, 0, -2).Format(time.DateOnly)}, "scopes": []any{"read"}, "name": "ended"},
	}})
	r := startCaddy(t, c)
	status := func(token string) int { return r.look(t, token, http.MethodGet, "/v1/me", "", nil).status }
	if got := status("token-of-monday-0123456789"); got != 200 {
		t.Errorf("the token is answered with %d", got)
	}
	if got := status("token-of-yesterday-0123456789"); got != 401 {
		t.Errorf("the token that has ended is answered with %d", got)
	}
	write("token-of-tuesday-0123456789")
	eventually(t, "the new token counts", func() bool {
		fresh := http.Header{"X-Forwarded-For": {"198.51.100." + strconv.Itoa(time.Now().Nanosecond()%250)}} // or it would be limited
		return r.look(t, "token-of-tuesday-0123456789", http.MethodGet, "/v1/me", "", fresh).status == 200
	})
	if got := r.look(t, "token-of-monday-0123456789", http.MethodGet, "/v1/me", "", http.Header{"X-Forwarded-For": {"203.0.113.99"}}).status; got != 401 {
		t.Errorf("the old token is answered with %d", got)
	}
	write("short")
	eventually(t, "the log says that it is too short", func() bool {
		status("token-of-tuesday-0123456789")
		return strings.Contains(r.logs(t), "a token of the API cannot be used, and nobody is let in with it")
	})
	var keys []struct{ Provider, State, Fingerprint string }
	if err := json.Unmarshal([]byte(r.ask(t, http.MethodGet, "keys", "").body), &keys); err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprint(keys)
	for _, want := range []string{"{api/token-1 unfit }", "{api/ended ended }"} {
		if !strings.Contains(shown, want) {
			t.Errorf("the keys are %s, which lacks %s", shown, want)
		}
	}
}

// TestAPILimits proves who is limited by what, over a real limiter.
func TestAPILimits(t *testing.T) {
	c := newConfig(t).withAPI(t, object{"limit": "50/1h"})
	tokens := c.next[0].(object)["tokens"].([]any)
	tokens[0].(object)["limit"] = "5/1h"
	r := startCaddy(t, c)
	from := func(client string) http.Header { return http.Header{"X-Forwarded-For": {client}} }

	refused := r.look(t, "read", http.MethodPost, "/v1/ip", `{"addresses":["`+strings.Repeat(`198.51.100.1","`, 5)+`198.51.100.1"]}`, from("192.0.2.10"))
	if refused.status != 400 || !strings.Contains(refused.body, "ask about up to 5") {
		t.Errorf("more than the limit at once: %d %s", refused.status, refused.body)
	}
	got := r.look(t, "read", http.MethodPost, "/v1/ip", `{"addresses":["198.51.100.1","198.51.100.2","198.51.100.3"]}`, from("192.0.2.11"))
	if got.status != 200 || got.header.Get("RateLimit-Policy") != `"token";q=5;w=3600` || !strings.HasPrefix(got.header.Get("RateLimit"), `"token";r=1;`) {
		t.Errorf("three addresses: %d %v", got.status, got.header)
	}
	for n, want := range []int{200, 429} {
		got := r.look(t, "read", http.MethodGet, "/v1/me", "", from("192.0.2.12"))
		if got.status != want || want == 429 && got.header.Get("Retry-After") == "" {
			t.Errorf("question %d: %d %v", n, got.status, got.header)
		}
	}
	if got := r.look(t, "ask", http.MethodGet, "/v1/me", "", from("192.0.2.12")); got.status != 200 || got.header.Get("RateLimit-Policy") != `"address";q=50;w=3600` {
		t.Errorf("another token: %d %v", got.status, got.header)
	}

	statuses := map[int]int{}
	for n := range 40 {
		statuses[r.look(t, fmt.Sprintf("token-of-a-guess-%010d", n), http.MethodGet, "/v1/me", "", from("192.0.2.13")).status]++
	}
	if statuses[401] < 30 || statuses[401] > 32 || statuses[429] != 40-statuses[401] {
		t.Errorf("guesses are answered with %v", statuses)
	}
	for n := range 51 {
		got := r.look(t, "", http.MethodGet, "/openapi.json", "", from("192.0.2.14"))
		if want := map[bool]int{true: 200, false: 429}[n < 50]; got.status != want {
			t.Errorf("request %d without a token: %d", n, got.status)
		}
	}
	if got := r.look(t, "", http.MethodGet, "/v1/health", "", from("192.0.2.14")); got.status != 200 {
		t.Errorf("health is limited: %d", got.status)
	}
}

// TestAPIIsNotForEverybody proves that what would let everybody in is refused when it is loaded.
func TestAPIIsNotForEverybody(t *testing.T) {
	for want, settings := range map[string]object{
		"an API for everybody is refused":              {"tokens": []any{}},
		`cors: origin "*" stands for sites`:            {"cors": []any{"*"}},
		"cors: origin null is what any page can be":    {"cors": []any{"null"}},
		"are the same token":                           {"tokens": []any{object{"secret": object{"value": "{env.TEST_API_READ}"}, "scopes": []any{"read"}}, object{"secret": object{"value": "{env.TEST_API_READ}"}, "scopes": []any{"history"}}}},
		"the token has 15 characters":                  {"tokens": []any{object{"secret": object{"value": "token-of-a-cat-"}, "scopes": []any{"read"}}}},
		"the token has no scope":                       {"tokens": []any{object{"secret": object{"value": "{env.TEST_API_READ}"}}}},
		`unknown scope "write"`:                        {"tokens": []any{object{"secret": object{"value": "{env.TEST_API_READ}"}, "scopes": []any{"write"}}}},
		"rate 1000000/1s is more than 100000 requests": {"limit": "1000000/1s"},
	} {
		c := newConfig(t).withAPI(t, settings)
		r := &running{config: c}
		err := r.tryReload(t)
		r.stop(t)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", settings, err, want)
		}
		if err != nil {
			wantSecrecy(t, map[string]string{"the error": err.Error()})
		}
	}
}

// TestAPIIsRead proves that what is behind the API does not show, whatever is down.
func TestAPIIsRead(t *testing.T) {
	s := startStandIn(t)
	s.behave(s.hang)
	c := newConfig(t).withAPI(t, nil)
	c.ask(s)
	c.app["redis"] = object{"addresses": []any{testenv.FreeAddr(t)}}
	c.app["wait"] = "100ms"
	c.app["providers"].([]any)[0].(object)["timeout"] = "30s" // longer than the API waits
	r := startCaddy(t, c)
	got := r.look(t, "ask", http.MethodGet, "/v1/ip/"+badClient+"?ask", "", nil)
	if k := into[known](t, got); got.status != 200 || k.Status != "pending" || k.Score != nil || !bytes.Contains([]byte(got.body), []byte(`"score":null`)) {
		t.Errorf("%d %s", got.status, got.body)
	}
	wantNone(t, "the answer", got.body, append(c.secrets(s), "redis", "127.0.0.1", "timeout")...)
}
