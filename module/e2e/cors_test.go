package e2e_test

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
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

	read := func(url string) string {
		t.Helper()
		m := regexp.MustCompile(`<pre id="out">([^<]*)</pre>`).FindStringSubmatch(testenv.Chromium(t, url))
		if m == nil {
			t.Fatal("the page is not there")
		}
		return html.UnescapeString(m[1])
	}
	want := "get=200 203.0.113.5 id;post=200 203.0.113.6 id;none=401 missing_token id;wrong=401 invalid_token id;" +
		"path=404 not_found id;header=failed;cookies=failed"
	if got := read(good.URL); got != want {
		t.Errorf("a page of the named origin has read\n%s, want\n%s", got, want)
	}
	if got := read(bad.URL); strings.Count(got, "failed") != 7 {
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
