package handler

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// TestRulesOnRequests proves what becomes of a request to a site whose rules ask for its path, method and header, beside
// what is known of the client, and which rule decides.
func TestRulesOnRequests(t *testing.T) {
	ctx := testContext(t)
	scanner, login := []any{"scanner"}, []any{"/login", "/admin/*"}
	h := loadHandler(t, ctx, object{"mode": "enforce", "rules": []any{
		object{"action": "pass", "path": []any{"/health"}},
		object{"action": "block", "path": login, "category": scanner},
		object{"action": "block", "status_code": 451, "method": []any{"post"}, "path": login,
			"header": object{"sec-fetch-site": []any{"cross-site"}}},
		object{"action": "drop", "header": object{"User-Agent": nil}},
		object{"action": "block", "network": []any{"198.51.100.0/25"}, "path": []any{"*.php"}},
		object{"action": "limit", "limit": "1/1h", "path": []any{"/search"}},
	}})
	for name, tc := range map[string]struct {
		client, method, target string
		header                 []string
		want                   int
	}{
		"somewhere":                  {cleanAddr, "GET", "/", nil, 204},
		"a scanner somewhere":        {listedAddr, "GET", "/", nil, 204},
		"a scanner logs in":          {listedAddr, "GET", "/login", nil, 403},
		"a scanner, in capitals":     {listedAddr, "GET", "/LOGIN", nil, 403},
		"a scanner, by a detour":     {listedAddr, "GET", "/x/..//login", nil, 403},
		"a scanner, escaped":         {listedAddr, "GET", "/%6cogin", nil, 403},
		"a scanner, with a query":    {listedAddr, "GET", "/login?next=/", nil, 403},
		"a scanner administers":      {listedAddr, "GET", "/admin/users", nil, 403},
		"not below the folder":       {listedAddr, "GET", "/admin", nil, 204},
		"somebody logs in":           {cleanAddr, "POST", "/login", []string{"Sec-Fetch-Site", "same-origin"}, 204},
		"a foreign page logs in":     {cleanAddr, "POST", "/login", []string{"Sec-Fetch-Site", "cross-site"}, 451},
		"a foreign page only looks":  {cleanAddr, "GET", "/login", []string{"Sec-Fetch-Site", "cross-site"}, 204},
		"without a user agent":       {cleanAddr, "GET", "/", []string{"User-Agent", ""}, 0},
		"the first rule decides":     {deniedAddr, "GET", "/health", []string{"User-Agent", ""}, 204},
		"a network, elsewhere":       {listedAddr, "GET", "/index.html", nil, 204},
		"a network, a path":          {listedAddr, "GET", "/wp/index.php", nil, 403},
		"another network, the path":  {cleanAddr, "GET", "/wp/index.php", nil, 204},
		"denied, whatever the rules": {deniedAddr, "GET", "/search", nil, 403},
	} {
		t.Run(name, func(t *testing.T) {
			r := prepared(t, tc.client)()
			setTarget(t, r, tc.method, tc.target)
			for i := 0; i < len(tc.header); i += 2 {
				if r.Header.Set(tc.header[i], tc.header[i+1]); tc.header[i+1] == "" {
					r.Header.Del(tc.header[i])
				}
			}
			got := serve(h, r)
			if got.dropped {
				got.Code = 0
			}
			if got.Code != tc.want || got.err != nil {
				t.Errorf("got %d, %v; want %d", got.Code, got.err, tc.want)
			}
		})
	}
	for i, want := range []int{204, 429} {
		r := prepared(t, cleanAddr)()
		setTarget(t, r, "GET", "/search")
		if got := serve(h, r); got.Code != want {
			t.Errorf("search %d: got %d, want %d", i+1, got.Code, want)
		}
	}
}

func setTarget(tb testing.TB, r *http.Request, method, target string) {
	tb.Helper()
	u, err := r.URL.Parse("http://app.example.com" + target)
	if err != nil {
		tb.Fatal(err)
	}
	r.Method, r.URL, r.RequestURI = method, u, target
}

// TestRequestConditionsAreCaddys compares with Caddy's own matchers.
func TestRequestConditionsAreCaddys(t *testing.T) {
	ctx := testContext(t)
	request := prepared(t, cleanAddr)
	paths := []string{"/login", "/Login", "/api/*", "*.php", "*/admin/*", "/a/*/b", "/x//y", "/caf%C3%A9", "{http.request.host}"}
	targets := []string{"/", "/login", "/LOGIN/", "/api/", "/api//v1", "/a/1/b", "/x//y", "/x/y", "/caf%C3%A9", "/1/admin/2.php"}
	rapid.Check(t, func(t *rapid.T) {
		var c RequestConditions
		some := func(pool []string, name string) []string {
			return rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 0, 2, strings.ToLower).Draw(t, name)
		}
		c.Path, c.Method = some(paths, "path"), some([]string{"GET", "post", "Put"}, "method")
		values := some([]string{"cross-site", "same-*", "*-origin", "*", "*e-o*", "none"}, "value")
		if rapid.Bool().Draw(t, "header?") {
			if len(values) == 0 {
				values = nil
			}
			c.Header = map[string][]string{"sec-fetch-site": values}
		}
		m, err := c.compileRequest()
		if err != nil {
			t.Fatal(err)
		}
		r := request()
		u, _ := r.URL.Parse(rapid.SampledFrom(targets).Draw(t, "target"))
		r.URL, r.Method = u, rapid.SampledFrom([]string{"GET", "POST", "HEAD"}).Draw(t, "verb")
		if site := rapid.SampledFrom([]string{"", "cross-site", "same-origin"}).Draw(t, "site"); site != "" {
			r.Header.Set("Sec-Fetch-Site", site)
		}
		want := true
		for id, condition := range map[string]any{"path": c.Path, "method": c.Method, "header": c.Header} {
			if id == "path" && len(c.Path) == 0 || id == "method" && len(c.Method) == 0 || id == "header" && len(c.Header) == 0 {
				continue
			}
			matcher := loadModule(t, ctx, "http.matchers."+id, condition).(caddyhttp.RequestMatcherWithError)
			match, err := matcher.MatchWithError(r)
			if err != nil {
				t.Fatal(err)
			}
			want = want && match
		}
		if got := m.holds(r); got != want {
			t.Fatalf("%+v holds for %s %s: %v, want %v", c, r.Method, r.URL, got, want)
		}
	})
}

func TestRequestConditionErrors(t *testing.T) {
	path := func(values ...string) RequestConditions { return RequestConditions{Path: values} }
	method := func(values ...string) RequestConditions { return RequestConditions{Method: values} }
	header := func(name string, values ...string) RequestConditions {
		return RequestConditions{Header: map[string][]string{name: values}}
	}
	for _, tc := range []struct {
		conditions RequestConditions
		want       string // a part of the error, or nothing
	}{
		{path("/"), ""},
		{path("/login", "*.php", "*/admin/*", "/a/*/b", "/a//b", "/a/", "/caf%C3%A9", "/x%2Fy", "{vars.path}", "/[ab]", "/a[*"), ""},
		{path(""), `path "": write one that begins with a slash`},
		{path("*"), `path "*" holds for every request: remove the condition`},
		{path("**"), `path "**" holds for every request`},
		{path("/*"), `path "/*" holds for every request`},
		{path("login"), `path "login" never holds, because paths begin with a slash: write "/login", or "*login" for what ends so`},
		{path("/a", "/A"), `path "/A" is written twice: remove one`},
		{path("/search?q=*"), `path "/search?q=*" has a query, which is no part of the path`},
		{path("/a/../b"), `path "/a/../b" never holds, because the request's path is cleaned first: write "/b"`},
		{path("/a/./b/*"), `write "/a/b/*"`},
		{path("/a[b"), `path "/a[b" never holds, because [ begins a set of characters`},
		{method("GET", "post", "PROPFIND", "version-control"), ""},
		{method("POTS"), `method "POTS" is none of HTTP: write one such as POST, or several as in POST,PUT`},
		{method(""), `method "" is none of HTTP`},
		{method("GET HEAD"), `method "GET HEAD" is none of HTTP`},
		{method("post", "POST"), `method "POST" is written twice: remove one`},
		{header("Sec-Fetch-Site", "cross-site", "same-site"), ""},
		{header("x_y", "*"), ""},
		{header("X-Empty", ""), ""},
		{header("X-Request-ID", "*"), ""},
		{header("x-request-id", "*"), ""},
		{RequestConditions{Header: map[string][]string{"Referer": nil, "Origin": {}}}, ""},
		{header("", "x"), `header "" is not the name of a field: write one such as Sec-Fetch-Site`},
		{header("User Agent", "x"), `header "User Agent" is not the name of a field`},
		{header("Größe", "x"), `is not the name of a field`},
		{header("X-IP-Reputation-Score", "85"), `header X-IP-Reputation-Score: what clients send under this name is removed`},
		{header("x_ip_reputation_score", "85"), `write a condition such as score 85`},
		{header("X-A", "1", "1"), `header X-A has a value twice: remove one`},
		{header("X-A", "a\nb"), `header X-A never holds, because its value has a control character: remove it`},
		{RequestConditions{Header: map[string][]string{"X-A": {"1"}, "x-a": {"2"}}}, `header "x-a" is written twice: remove one`},
	} {
		_, err := tc.conditions.compileRequest()
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: error %v, want one that contains %q", tc.conditions, err, tc.want)
		}
	}
}

// TestCompilingLeavesTheConfigurationAlone proves that the text of a rule and the identity of a limit stay as they are written.
func TestCompilingLeavesTheConfigurationAlone(t *testing.T) {
	r := Rule{Action: "block", RequestConditions: RequestConditions{
		Path: []string{"/Login", "/Über"}, Method: []string{"post"},
		Header: map[string][]string{"sec-fetch-site": {"cross-site", "a b"}, "Referer": nil, "authorization": {"Bearer s3cret"}},
	}}
	const want = `block method post path /Login,/Über header !Referer header authorization REDACTED ` +
		`header sec-fetch-site cross-site header sec-fetch-site "a b"`
	for range 2 {
		if got := r.text(); got != want {
			t.Errorf("the rule's text is\n%s, want\n%s", got, want)
		}
		if _, err := r.compileRequest(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSecretsInHeaders proves that a secret that a rule compares with is read once, is in no text, and must not be empty.
func TestSecretsInHeaders(t *testing.T) {
	ctx := testContext(t)
	t.Setenv("TEST_MONITOR_TOKEN", "a-secret-token")
	rules := []any{
		object{"action": "pass", "header": object{"X-Monitor": []any{"{env.TEST_MONITOR_TOKEN}"}, "X-Host": []any{"{http.request.host}"}}},
		object{"action": "block", "path": []any{"/*.html", "/"}},
	}
	h := loadHandler(t, ctx, object{"mode": "enforce", "rules": rules})
	if text := h.rules[1].text; text != "pass header X-Host {http.request.host} header X-Monitor {env.TEST_MONITOR_TOKEN}" {
		t.Errorf("the rule's text is %s", text)
	}
	t.Setenv("TEST_MONITOR_TOKEN", "")
	for token, want := range map[string]int{"a-secret-token": 204, "another": 403, "": 403} {
		r := prepared(t, cleanAddr)()
		r.Header["X-Monitor"], r.Header["X-Host"] = []string{token}, []string{"app.example.com"}
		if got := serve(h, r); got.Code != want {
			t.Errorf("with the token %q: got %d, want %d", token, got.Code, want)
		}
	}
	raw, err := json.Marshal(object{"rules": rules})
	if err != nil {
		t.Fatal(err)
	}
	_, err = ctx.LoadModuleByID("http.handlers.ip_reputation", raw)
	if err == nil || !strings.Contains(err.Error(), "header X-Monitor: evaluated placeholder {env.TEST_MONITOR_TOKEN} is empty: set it") {
		t.Errorf("without a secret: %v", err)
	}
}

// TestNeverTried proves that only a rule without any condition ends the rules.
func TestNeverTried(t *testing.T) {
	h := new(Handler)
	for _, tc := range []struct {
		rule Rule
		want string
	}{
		{Rule{Action: "pass"}, "rule 2 (block) is never tried, because rule 1 has no conditions"},
		{Rule{Action: "pass", RequestConditions: RequestConditions{Path: []string{"/health"}}}, ""},
		{Rule{Action: "pass", Conditions: Conditions{Network: []string{"203.0.113.0/24"}}}, ""},
	} {
		h.Rules = []Rule{tc.rule, {Action: "block", RequestConditions: RequestConditions{Method: []string{"TRACE"}}}}
		err := h.CheckRules(Names{})
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", tc.rule.text(), err, tc.want)
		}
	}
}

// TestRulesOnRequestsAllocateNothing proves that conditions on requests and ranges cost a warm request no allocation, and
// neither does a limit by network.
func TestRulesOnRequestsAllocateNothing(t *testing.T) {
	if testenv.Race {
		t.Skip("the race detector allocates")
	}
	h, w := warmHandler(t), header{http.Header{}}
	request := prepared(t, cleanAddr)
	allocations := func() float64 {
		return testing.AllocsPerRun(200, func() { _ = h.ServeHTTP(w, request(), passOn) })
	}
	before := allocations()
	rules := []Rule{
		{Action: "block", RequestConditions: RequestConditions{Path: []string{"/login", "/admin/*", "*.php"}}},
		{Action: "block", RequestConditions: RequestConditions{
			Method: []string{"GET"}, Header: map[string][]string{"Sec-Fetch-Site": {"cross-site"}, "User-Agent": nil},
		}},
		{Action: "block", Conditions: Conditions{Network: []string{"198.51.100.0/24", "2001:db8::/32"}}},
		{Action: "limit", Limit: "100000/1s", By: "network"},
	}
	var err error
	if h.policy, err = compilePolicy(rules, "", nil, nil); err != nil {
		t.Fatal(err)
	}
	if h.rules, _, err = compileRules(rules, "enforce"); err != nil {
		t.Fatal(err)
	}
	if err := h.runtime.UseLimits(); err != nil {
		t.Fatal(err)
	}
	if after := allocations(); after > before {
		t.Errorf("%v allocations, %v without the rules", after, before)
	}
}

func BenchmarkRequestConditions(b *testing.B) {
	for name, c := range map[string]RequestConditions{
		"none": {}, "method": {Method: []string{"POST"}}, "path": {Path: []string{"/login", "/admin/*"}},
		"header": {Header: map[string][]string{"Sec-Fetch-Site": {"cross-site"}}},
	} {
		b.Run(name, func(b *testing.B) {
			m, err := c.compileRequest()
			if err != nil {
				b.Fatal(err)
			}
			r := prepared(b, cleanAddr)()
			setTarget(b, r, "GET", "/some/page")
			b.ReportAllocs()
			for b.Loop() {
				m.holds(r)
			}
		})
	}
}
