package e2e_test

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// askingPage asks the API for things that need a preflight, and writes what its script could read.
const askingPage = `<pre id="out">nothing</pre><script>
const out = document.getElementById("out"), api = %q, token = %q
async function ask(path, options) {
	try {
		const r = await fetch(api + path, options)
		const b = await r.json()
		return r.status + " " + (b.code || (b.results || [b])[0].address) + " " + (r.headers.get("X-Request-Id") ? "id" : "no id")
	} catch (e) {
		return "failed"
	}
}
(async () => {
	const bearer = {Authorization: "Bearer " + token}
	out.textContent = [
		"get=" + await ask("/v1/ip/203.0.113.5", {headers: bearer}),
		"post=" + await ask("/v1/ip", {method: "POST", headers: {...bearer, "Content-Type": "application/json"}, body: '{"addresses":["203.0.113.6"]}'}),
		"none=" + await ask("/v1/me", {}),
		"wrong=" + await ask("/v1/me", {headers: {Authorization: "Bearer wrong"}}),
		"path=" + await ask("/v1/nothing", {headers: bearer}),
		"header=" + await ask("/v1/me", {headers: {...bearer, "X-Other": "1"}}),
		"cookies=" + await ask("/v1/me", {headers: bearer, credentials: "include"}),
	].join(";")
})()
</script>`

// pages serves one page, on an origin of its own.
func pages(tb testing.TB, page func() string) *httptest.Server {
	tb.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprint(w, page())
	}))
	tb.Cleanup(s.Close)
	return s
}

// read returns what the script of a page has written.
func read(tb testing.TB, url string) string {
	tb.Helper()
	m := regexp.MustCompile(`<pre id="out">([^<]*)</pre>`).FindStringSubmatch(testenv.Chromium(tb, url))
	if m == nil {
		tb.Fatal("the page is not there")
	}
	return html.UnescapeString(m[1])
}

// TestCORSInABrowser proves, by a browser's own rules, that scripts of a named origin can read the API, errors included, and
// those of another one cannot; and that no other origin was ever told that it may.
func TestCORSInABrowser(t *testing.T) {
	var site atomic.Value // a string, which is known when all are there
	page := func() string { return fmt.Sprintf(askingPage, site.Load(), apiTokens["read"]) }
	good, bad := pages(t, page), pages(t, page)
	c := newConfig(t).withAPI(t, object{"cors": []any{good.URL}})
	c.handler = nil
	r := startCaddy(t, c)

	// between the browser and the site, to see what was said to whom
	var mu sync.Mutex
	said := map[string]int{}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		out, err := http.NewRequestWithContext(req.Context(), req.Method, r.site+req.URL.RequestURI(), req.Body)
		if err != nil {
			t.Error(err)
			return
		}
		out.Header = req.Header.Clone()
		resp, err := client.Do(out)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		mu.Lock()
		said[fmt.Sprintf("%s told %q", req.Header.Get("Origin"), resp.Header.Get("Access-Control-Allow-Origin"))]++
		mu.Unlock()
		for name, values := range resp.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	t.Cleanup(front.Close)
	site.Store(front.URL)

	want := "get=200 203.0.113.5 id;post=200 203.0.113.6 id;none=401 missing_token id;wrong=401 invalid_token id;" +
		"path=404 not_found id;header=failed;cookies=failed"
	if got := read(t, good.URL); got != want {
		t.Errorf("a page of the named origin has read\n%s, want\n%s", got, want)
	}
	if got := read(t, bad.URL); strings.Count(got, "failed") != 7 {
		t.Errorf("a page of another origin has read %s", got)
	}
	mu.Lock()
	defer mu.Unlock()
	if said[fmt.Sprintf("%s told %q", good.URL, good.URL)] == 0 || said[fmt.Sprintf("%s told %q", bad.URL, "")] == 0 {
		t.Errorf("the browser did not ask as it should: %v", said)
	}
	for what := range said {
		if strings.HasPrefix(what, bad.URL) && !strings.HasSuffix(what, `""`) {
			t.Errorf("to another origin was said: %s", what)
		}
	}
}

// limitedPage asks a site five times for something that needs a preflight, and writes what its script could read.
const limitedPage = `<pre id="out">nothing</pre><script>
(async () => {
	const all = []
	for (let i = 0; i < 5; i++) {
		try {
			const r = await fetch(%q + i, {headers: {"X-Own": "1"}})
			const b = r.ok ? {} : await r.json()
			all.push(r.status + (b.request_id ? " id" : "") + (r.headers.get("Retry-After") ? " retry" : ""))
		} catch (e) {
			all.push("failed")
		}
	}
	document.getElementById("out").textContent = all.join(";")
})()
</script>`

// TestTheRecipeForScripts proves of docs/cookbook.md's recipe that a browser's script can read a refusal, and that its
// preflights are not counted by the limit.
func TestTheRecipeForScripts(t *testing.T) {
	var site, preflights = new(atomic.Value), new(atomic.Int32)
	page := pages(t, func() string { return fmt.Sprintf(limitedPage, site.Load().(string)+"/") })
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", page.URL)
		w.Header().Set("Access-Control-Allow-Headers", "X-Own")
		if r.Method == http.MethodOptions {
			preflights.Add(1)
		}
	}))
	t.Cleanup(app.Close)
	addr := testenv.FreeAddr(t)
	startRecipe(t, "Scripts of other origins",
		"\tip_reputation {\n\t\texempt private_ranges", "\tservers {\n\t\ttrusted_proxies static 127.0.0.1/32\n"+
			"\t\ttrusted_proxies_strict\n\t}\n\tip_reputation {\n\t\texempt private_ranges",
		"feed spamhaus_drop", "deny 198.51.100.7", "api.example.com {", "http://"+addr+" {\n\tbind 127.0.0.1",
		"https://app.example.com", page.URL, "60/1m", "3/1h", "localhost:3000", app.Listener.Addr().String(),
	)
	front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: addr})
		r.Out.Header.Set("X-Forwarded-For", cleanClient)
	}})
	t.Cleanup(front.Close)
	site.Store(front.URL)

	got := read(t, page.URL)
	if want := "200;200;200;429 id retry;429 id retry"; got != want {
		t.Errorf("the script has read %s, want %s", got, want)
	}
	if preflights.Load() < 4 {
		t.Errorf("%d preflights were answered; the test shows nothing", preflights.Load())
	}
}
