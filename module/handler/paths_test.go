package handler

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"pgregory.net/rapid"
)

// TestPathsAreCaddys holds that paths match what Caddy's matcher `path` does.
func TestPathsAreCaddys(t *testing.T) {
	patterns := []string{
		"*", "/", "/a", "/A", "/a/", "/a*", "/a/*", "*.b", "*/B*", "/a/*/b", "/a//b", "/%61", "/a%2fb", "/{http.vars.x}", "*a*", "/a?", "/[ab]",
	}
	request := prepared(t, cleanAddr)
	rapid.Check(t, func(t *rapid.T) {
		chosen := rapid.SliceOfNDistinct(rapid.SampledFrom(patterns), 1, 4, rapid.ID).Draw(t, "patterns")
		path := "/" + rapid.StringOfN(rapid.SampledFrom([]rune("aAbB./%*")), 0, 8, -1).Draw(t, "path")
		caddys := append(caddyhttp.MatchPath{}, chosen...)
		if err := caddys.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		r := request()
		r.URL.Path = path
		want, err := caddys.MatchWithError(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := newPaths(chosen).match(r, cleaned(r)); got != want {
			t.Errorf("%q by %q: %v, Caddy says %v", path, chosen, got, want)
		}
	})
}

// TestDefaultViolations holds which requests the default set takes for violations.
func TestDefaultViolations(t *testing.T) {
	for path, want := range map[string]string{
		"/.env":            "trap",
		"/.env.production": "trap",
		"/.git/config":     "trap",
		"/.git/HEAD":       "trap",
		"/vendor/phpunit/src/Util/PHP/eval-stdin.php":       "trap",
		"/+CSCOE+/logon.html":                               "trap",
		"/wp-login.php":                                     "probe",
		"/wp-admin/setup-config.php":                        "probe",
		"/phpMyAdmin/index.php":                             "probe",
		"/no-such-page":                                     "not_found",
		"/favicon.ico":                                      "",
		"/apple-touch-icon-120x120.png":                     "",
		"/robots.txt":                                       "",
		"/sitemap_index.xml":                                "",
		"/.well-known/security.txt":                         "",
		"/.well-known/appspecific/com.chrome.devtools.json": "",
		"/assets/app.js.map":                                "",
		"/img/logo.png":                                     "",
		"/remote.php/dav/files/notes.bak":                   "",
	} {
		w := newWatching(t, object{"violations_default": true})
		addr := w.newClient()
		for range 2 { // probes have a free one, and count each path once
			_, _ = w.ask(t, addr, path, answersWith(http.StatusNotFound))
		}
		got := w.points(addr)
		if want == "" && len(got) > 0 || want != "" && !has(got, want) {
			t.Errorf("%s: %v; want %q", path, got, want)
		}
	}
}

func has(points map[string]int, name string) bool { _, ok := points[name]; return ok }

// TestMissingPagesAloneRefuseNobody holds that a crawler of dead links keeps a score below 10, whatever it does.
func TestMissingPagesAloneRefuseNobody(t *testing.T) {
	w := newWatching(t, object{"violations_default": true})
	addr := w.newClient()
	for i := range 300 {
		_, _ = w.ask(t, addr, "/gone/"+strings.Repeat("x", i), answersWith(http.StatusNotFound))
	}
	if got := w.points(addr)["not_found"]; got > 10 {
		t.Errorf("it costs %d points", got)
	}
}

// TestForeign holds which requests the visitor has not asked for.
func TestForeign(t *testing.T) {
	for name, tc := range map[string]struct {
		header map[string]string
		want   string
	}{
		"a scanner":                  {nil, ""},
		"typed":                      {map[string]string{"Sec-Fetch-Site": "none", "Sec-Fetch-Dest": "document"}, ""},
		"a page of the site":         {map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty"}, ""},
		"a sibling site":             {map[string]string{"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "document", "Referer": "https://login.example.com/"}, ""},
		"another site":               {map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}, "cross-site"},
		"in upper case":              {map[string]string{"Sec-Fetch-Site": "Cross-Site"}, "cross-site"},
		"an image in a post":         {map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "image"}, "embedded"},
		"a frame":                    {map[string]string{"Sec-Fetch-Dest": "iframe"}, "embedded"},
		"a style":                    {map[string]string{"Sec-Fetch-Dest": "style"}, "embedded"},
		"fetched ahead":              {map[string]string{"Sec-Purpose": "prefetch;prerender", "Sec-Fetch-Site": "same-origin"}, "prefetch"},
		"fetched ahead by Firefox":   {map[string]string{"X-Moz": "prefetch"}, "prefetch"},
		"previewed by Safari":        {map[string]string{"X-Purpose": "preview"}, "prefetch"},
		"an old browser":             {map[string]string{"Referer": "http://evil.example/"}, "referer"},
		"an old browser, own page":   {map[string]string{"Referer": "http://app.example.com:8080/x"}, ""},
		"an app":                     {map[string]string{"Referer": "android-app://com.example.app/"}, "referer"},
		"no host":                    {map[string]string{"Referer": "about:blank"}, ""},
		"no URL":                     {map[string]string{"Referer": "::"}, ""},
		"own page in upper case":     {map[string]string{"Referer": "https://APP.Example.com./"}, ""},
		"a form that hides its page": {map[string]string{"Origin": "null"}, "origin"},
		"a form of another page":     {map[string]string{"Origin": "https://evil.example"}, "origin"},
		"a form of its own page":     {map[string]string{"Origin": "https://app.example.com"}, ""},
		"an image that hides it":     {map[string]string{"Accept": "image/avif,image/webp,*/*;q=0.8"}, "embedded"},
		"a style that hides it":      {map[string]string{"Accept": "text/css,*/*;q=0.1"}, "embedded"},
		"a page that hides it":       {map[string]string{"Accept": "text/html,*/*;q=0.8"}, ""},
		"a site that looks like one": {map[string]string{"Referer": "https://app.example.com.evil.example/"}, "referer"},
	} {
		r := prepared(t, cleanAddr)()
		for name, value := range tc.header {
			r.Header.Set(name, value)
		}
		if got := foreign(r); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// FuzzNamesIn holds that what an application, or whoever stands behind it, writes into the header has a bound.
func FuzzNamesIn(f *testing.F) {
	f.Add("trap, spam", "")
	f.Add(strings.Repeat(",", 2000), "a")
	f.Add(strings.Repeat("a,", 2000), "b")
	f.Fuzz(func(t *testing.T, first, second string) {
		names, _ := namesIn([]string{first, second})
		total := 0
		for _, name := range names {
			if name == "" || strings.ContainsAny(name, ",") || !strings.Contains(first+"\n"+second, name) {
				t.Errorf("%q is no name of %q, %q", name, first, second)
			}
			total += len(name)
		}
		if len(names) > maxNamed || total > maxNamedBytes {
			t.Errorf("%d names of %d bytes", len(names), total)
		}
	})
}
