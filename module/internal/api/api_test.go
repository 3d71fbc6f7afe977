package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

func TestNewNeedsATokenAndOrigins(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("an API for everybody is made")
	}
	if _, err := New(Options{Tokens: []Token{{}}, Origins: []string{"*"}}); err == nil {
		t.Error("an API for all pages is made")
	}
}

// TestAskingIsOnPurpose proves that providers are asked only where the token may and the request says so.
func TestAskingIsOnPurpose(t *testing.T) {
	f := start(t)
	for _, c := range []call{
		{path: "/v1/ip/203.0.113.5", token: readToken},
		{path: "/v1/ip/203.0.113.5", token: askToken},
		{path: "/v1/ip/203.0.113.5?ask=false", token: askToken},
		{path: "/v1/ip/203.0.113.5?ask=true", token: readToken},
		{path: "/v1/me", token: askToken},
		{path: "/v1/me?ask", token: readToken},
		{method: "POST", path: "/v1/ip", token: askToken, body: many(100)},
		{method: "POST", path: "/v1/ip", token: readToken, body: `{"addresses":["203.0.113.5"],"ask":true}`},
		{path: "/v1/ip/203.0.113.5/history", token: historyToken},
	} {
		f.send(c)
		if len(f.asked) != 0 {
			t.Fatalf("%+v has asked about %v", c, f.asked)
		}
	}
	for _, c := range []call{
		{path: "/v1/ip/198.51.100.1?ask=true", token: askToken},
		{path: "/v1/ip/198.51.100.1?ask", token: askToken},
		{path: "/v1/me?ask", token: askToken, client: "198.51.100.1"},
	} {
		f.asked = nil
		f.send(c)
		if !slices.Equal(f.asked, []netip.Addr{netip.MustParseAddr("198.51.100.1")}) || f.waited != maxWait {
			t.Errorf("%+v has asked about %v, for %v", c, f.asked, f.waited)
		}
	}
}

// TestSeveral proves that several addresses are answered in their order, and asked about before one is waited for.
func TestSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, func(f *fixture) { f.pending = true })
		w := f.send(call{method: "POST", path: "/v1/ip", token: askToken,
			body: `{"ask":true,"addresses":["2001:db8::5","nobody","::ffff:203.0.113.5","203.0.113.5","` + strings.Repeat("x", 100) + `"]}`})
		var got struct {
			Results []struct{ Address, Status, Error string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, r := range got.Results {
			said = append(said, r.Address+" "+r.Status+" "+r.Error)
		}
		want := []string{
			"2001:db8::5 fresh ", `nobody  "nobody" is not an IP address: write one such as 203.0.113.5 or 2001:db8::5`,
			"203.0.113.5 fresh ", "203.0.113.5 fresh ",
			strings.Repeat("x", 64) + "…  " + `"` + strings.Repeat("x", 64) + `…" is not an IP address: write one such as 203.0.113.5 or 2001:db8::5`,
		}
		if diff := cmp.Diff(want, said); diff != "" {
			t.Error(diff)
		}
		if len(f.asked) != 6 || f.asked[0] == f.asked[1] || f.asked[0] != f.asked[3] || f.waited != maxWait {
			t.Errorf("asked in the order %v, at last for %v", f.asked, f.waited)
		}
	})
}

// TestLimits proves who is counted when, and what is told of it.
func TestLimits(t *testing.T) {
	var counted []int
	allowed := 5
	f := start(t, func(f *fixture) {
		f.left = 10
		f.o.Tokens[0].MaxAddresses = 5
		f.o.Tokens[0].Limit = func(_ *http.Request, n int) Allowance {
			counted = append(counted, n)
			allowed -= n
			return Allowance{Allowed: allowed >= 0, Policy: `"token";q=5;w=60`, State: `"token";r=0;t=12`, RetryAfter: 12 * time.Second}
		}
	})
	for _, tc := range []struct {
		call
		status, left int
		counted      []int
		policy       string
	}{
		{call{path: "/v1/health"}, 200, 10, nil, ""},
		{call{path: "/openapi.json"}, 200, 9, nil, `"address";q=1;w=60`},
		{call{path: "/v1/me"}, 401, 8, nil, `"address";q=1;w=60`},
		{call{path: "/v1/nothing", token: readToken}, 404, 7, nil, `"address";q=1;w=60`},
		{call{path: "/v1/me", token: historyToken}, 403, 6, nil, `"address";q=1;w=60`},
		{call{path: "/v1/me", token: readToken}, 200, 5, []int{1}, `"token";q=5;w=60`},
		{call{method: "POST", path: "/v1/ip", token: readToken, body: many(6)}, 400, 4, []int{1}, `"token";q=5;w=60`},
		{call{method: "POST", path: "/v1/ip", token: readToken, body: many(3)}, 200, 3, []int{1, 2}, `"token";q=5;w=60`},
		{call{path: "/v1/me", token: readToken}, 429, 2, []int{1}, `"token";q=5;w=60`},
		{call{path: "/v1/me", token: askToken}, 200, 1, nil, `"address";q=1;w=60`},
		{call{path: "/v1/me", token: askToken, client: "-"}, 404, 1, nil, ""},
		{call{path: "/v1/me", token: askToken}, 200, 0, nil, `"address";q=1;w=60`},
		{call{path: "/v1/me", token: askToken}, 429, 0, nil, `"address";q=1;w=60`},
	} {
		counted = nil
		w := f.send(tc.call)
		h := w.Header()
		if w.Code != tc.status || f.left != tc.left || !slices.Equal(counted, tc.counted) || strings.Join(h.Values("RateLimit-Policy"), ", ") != tc.policy {
			t.Errorf("%s %s: %d, %d left, counted %v, %v", tc.method, tc.path, w.Code, f.left, counted, h.Values("RateLimit-Policy"))
		}
		want := ""
		if tc.status == 429 {
			want = map[bool]string{true: "12", false: "2"}[len(tc.counted) > 0]
		}
		if h.Get("Retry-After") != want {
			t.Errorf("%s %s: retry after %q, want %q", tc.method, tc.path, h.Get("Retry-After"), want)
		}
	}
}

// TestHead proves that HEAD is GET without the body.
func TestHead(t *testing.T) {
	f := start(t)
	for _, path := range []string{"/v1/ip/203.0.113.5", "/v1/me", "/v1/health", "/openapi.json"} {
		get, head := f.send(call{path: path, token: readToken}), f.send(call{method: "HEAD", path: path, token: readToken})
		if head.Code != get.Code || head.Body.Len() != 0 || cmp.Diff(get.Header(), head.Header()) != "" {
			t.Errorf("%s: %d %v", path, head.Code, head.Header())
		}
	}
	if w := f.send(call{method: "HEAD", path: "/v1/ip", token: readToken}); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("HEAD of what is posted is answered with %d", w.Code)
	}
}

// TestCopies proves that a client which has an answer is told so, as long as nothing but its age has changed.
func TestCopies(t *testing.T) {
	a := known(netip.MustParseAddr("203.0.113.5"))
	tag, err := a.etag()
	if err != nil || !strings.HasPrefix(tag, `W/"`) {
		t.Fatal(tag, err)
	}
	older := known(a.Address)
	older.Reasons[0].AgeSeconds, older.Reasons[0].Points = 3600, 28.6
	if other, _ := older.etag(); other != tag {
		t.Error("an answer that got older is another one")
	}
	if older.Reasons[0].AgeSeconds != 3600 {
		t.Error("making the tag changes the answer")
	}
	for name, change := range map[string]func(*Answer){
		"score":    func(a *Answer) { a.Score = new(uint8(87)) },
		"no score": func(a *Answer) { a.Score = nil },
		"status":   func(a *Answer) { a.Status = "stale" },
		"coverage": func(a *Answer) { a.Coverage = .5 },
		"category": func(a *Answer) { a.Categories = []string{"spam"} },
		"country":  func(a *Answer) { a.Country = "DE" },
		"nature":   func(a *Answer) { a.Nature = map[string]bool{"tor": true} },
		"points":   func(a *Answer) { a.Reasons[0].Points = 20 },
		"address":  func(a *Answer) { a.Address = a.Address.Next() },
	} {
		changed := known(a.Address)
		change(&changed)
		if other, _ := changed.etag(); other == tag {
			t.Errorf("another %s is the same answer", name)
		}
	}
	f := start(t)
	for value, want := range map[string]int{
		tag: 304, `"x", ` + tag: 304, strings.TrimPrefix(tag, "W/"): 304, "*": 304, `"x"`: 200, "": 200, strings.Trim(tag, `W/"`): 200,
	} {
		w := f.send(call{path: "/v1/ip/203.0.113.5", token: readToken, header: http.Header{"If-None-Match": {value}}})
		if w.Code != want || w.Header().Get("ETag") != tag || w.Header().Get("Cache-Control") != "private, no-cache" ||
			w.Header().Get("Vary") != "Authorization" || want == 304 && w.Body.Len() > 0 {
			t.Errorf("%q: %d %v", value, w.Code, w.Header())
		}
	}
	w := f.send(call{path: "/v1/ip/203.0.113.5", header: http.Header{"If-None-Match": {"*"}}})
	if w.Code != 401 || w.Header().Get("ETag") != "" {
		t.Errorf("without a token: %d %v", w.Code, w.Header())
	}
}

// TestQuestionsToTheHistory proves how a query is understood.
func TestQuestionsToTheHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, now := start(t), time.Now()
		v4, v6 := netip.MustParsePrefix("203.0.113.5/32"), netip.MustParsePrefix("2001:db8::/64")
		day := time.Date(2027, 3, 31, 0, 0, 0, 0, time.UTC)
		for path, want := range map[string]any{
			"ip/203.0.113.5/history":                                        history.Query{Prefix: v4},
			"ip/::ffff:203.0.113.5/history":                                 history.Query{Prefix: v4},
			"ip/2001:db8::5/history?view=changes":                           history.Query{Prefix: v6},
			"ip/203.0.113.5/history?bits=24":                                history.Query{Prefix: netip.MustParsePrefix("203.0.113.0/24")},
			"ip/2001:db8::5/history?bits=128":                               history.Query{Prefix: v6},
			"ip/2001:db8::5/history?bits=32":                                history.Query{Prefix: netip.MustParsePrefix("2001:db8::/32")},
			"ip/203.0.113.5/history?from=2027-03-31&limit=7&after=x%20y":    history.Query{Period: history.Period{From: day}, Prefix: v4, Limit: 7, After: "x y"},
			"ip/203.0.113.5/history?to=2027-03-31T02:00:00%2B02:00":         history.Query{Period: history.Period{To: day}, Prefix: v4},
			"ip/203.0.113.5/history?from=7d&to=90m":                         history.Query{Period: history.Period{From: now.AddDate(0, 0, -7), To: now.Add(-90 * time.Minute)}, Prefix: v4},
			"history/worst":                                                 history.Ranking{},
			"history/worst?by=address&limit=1000":                           history.Ranking{Limit: 1000},
			"history/worst?by=network&from=24h":                             history.Ranking{Networks: true, Period: history.Period{From: now.Add(-24 * time.Hour)}},
			"history/rules?from=2027-03-31&to=2027-04-01T00:00:00Z&after=z": history.Ranking{Period: history.Period{From: day, To: day.AddDate(0, 0, 1)}, After: "z"},
		} {
			if w := f.send(call{path: "/v1/" + path, token: historyToken}); w.Code != 200 || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
			if diff := cmp.Diff(want, f.got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Errorf("%s: %s", path, diff)
			}
		}
		for _, query := range []string{"from=", "from=0d", "from=-1h", "from=99999999d", "from=2027-13-01", "to=yesterday", "limit=", "limit=1e3", "limit=-1", "bits=", "bits=x"} {
			if w := f.send(call{path: "/v1/ip/203.0.113.5/history?" + query, token: historyToken}); w.Code != 400 {
				t.Errorf("%s: %d", query, w.Code)
			}
		}
	})
}

// TestWhatWentWrongIsLogged proves that faults of ours are logged once a minute, with nothing of the question.
func TestWhatWentWrongIsLogged(t *testing.T) {
	f := start(t, func(f *fixture) { f.panics = true })
	if w := f.send(call{path: "/v1/ip/203.0.113.77", token: readToken}); codeOf(t, w) != "internal" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	log := f.log.Take()
	if !strings.Contains(log, "answering a question to the API panicked; this is a bug") || strings.Contains(log, "203.0.113.77") {
		t.Errorf("the log says %s", log)
	}
	f.panics, f.err = false, http.ErrNotSupported
	for range 3 {
		f.send(call{path: "/v1/ip/203.0.113.77/history", token: historyToken})
	}
	if log = f.log.Take(); strings.Count(log, "could not be answered") != 1 || strings.Contains(log, "203.0.113.77") {
		t.Errorf("the log says %s", log)
	}
	if diff := cmp.Diff(map[string]int{"address Internal Server Error": 1, "history Internal Server Error": 3}, f.counted); diff != "" {
		t.Error(diff)
	}
}

// TestAnAbortGoesOn proves that the server's own way to end a connection is left to it.
func TestAnAbortGoesOn(t *testing.T) {
	f := start(t, func(f *fixture) {
		f.o.Tokens[0].Expires = func() time.Time { panic(http.ErrAbortHandler) }
	})
	defer func() {
		if r := recover(); r != http.ErrAbortHandler { //nolint:errorlint // it is compared as the server does
			t.Errorf("recovered %v", r)
		}
	}()
	f.send(call{path: "/v1/me", token: readToken})
}

func TestRouteNames(t *testing.T) {
	names := map[string]bool{}
	for _, name := range RouteNames() {
		names[name] = true
	}
	if len(names) != int(NumRoutes) || names[""] || NumRoutes.String() != "none" {
		t.Errorf("the routes are %v", slices.Sorted(maps.Keys(names)))
	}
}

// FuzzRequest proves that no request makes the handler panic or fail, and that every answer is well-formed.
func FuzzRequest(fz *testing.F) {
	for _, seed := range []call{
		{"GET", "/v1/ip/203.0.113.5?ask=true", "", askToken, "203.0.113.5", nil},
		{"GET", "/v1/ip/2001:db8::5/history?from=7d&to=2099-01-01&limit=3&after=x&bits=48&view=changes", "", historyToken, "::1", nil},
		{"GET", "/v1/ip/fe80::1%25eth0", "", readToken, "fe80::1%eth0", nil},
		{"POST", "/v1/ip", `{"addresses":["203.0.113.5","nobody",""],"ask":true}`, askToken, "", nil},
		{"POST", "/v1/ip", `{"addresses":["\ud800","\u0000"],"addresses":null}`, askToken, "x", nil},
		{"OPTIONS", "/v1/me", "", "", "203.0.113.5", nil},
		{"OPTIONS", "/v1/nothing", "", "", "203.0.113.5", nil},
		{"HEAD", "/v1/history/worst?by=network", "", historyToken, "203.0.113.5", nil},
		{"DELETE", "/v1/history/rules?%zz", "", historyToken, "203.0.113.5", nil},
		{"GET", "/openapi.json?x", "", "", "203.0.113.5", nil},
		{"GET", "/v1/ip//history", "", "", "203.0.113.5", nil},
	} {
		path, query, _ := strings.Cut(seed.path, "?")
		fz.Add(seed.method, path, query, seed.body, seed.token, seed.client, named)
		fz.Add(seed.method, path, query, seed.body, seed.token, seed.client, "")
	}
	fz.Fuzz(func(t *testing.T, method, path, query, body, token, client, origin string) {
		f := start(t, withOrigins)
		r := httptest.NewRequest(http.MethodGet, "http://api.example.com/", strings.NewReader(body))
		r.Method, r.URL.Path, r.URL.RawQuery = method, path, query
		r.Header = http.Header{
			"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, "Test-Client": {client}, "Origin": {origin},
			"Access-Control-Request-Method": {"GET"}, "If-None-Match": {token},
		}
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		h := w.Header()
		var code string
		if method != http.MethodHead {
			code = codeOf(t, w)
		}
		switch {
		case w.Code >= 500, w.Code >= 400 && code == "" && method != http.MethodHead:
			t.Errorf("answered with %d: %s", w.Code, w.Body)
		case w.Code == 200 && method != http.MethodHead && !json.Valid(w.Body.Bytes()):
			t.Errorf("not JSON: %q", w.Body)
		case f.log.Take() != "":
			t.Errorf("something was logged")
		}
		if h.Get("X-Request-Id") != "the-request" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("the header lacks what it always has: %v", h)
		}
		if allow := h.Get("Access-Control-Allow-Origin"); allow != "" && allow != named && allow != second {
			t.Errorf("%q may read", allow)
		}
	})
}
