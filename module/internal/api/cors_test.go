package api

import (
	"net/http"
	"strings"
	"testing"
)

func TestCheckOrigin(t *testing.T) {
	for origin, want := range map[string]string{
		"https://intel.example.com":      "",
		"https://intel.example.com:8443": "",
		"http://localhost:3000":          "",
		"http://127.0.0.1:3000":          "",
		"http://[::1]:3000":              "",
		"https://xn--bcher-kva.example":  "",
		"http://intel.example.com":       "",
		"*":                              "not named",
		"https://*":                      "not named",
		"https://*.example.com":          "not named",
		"https://intel.example.com:*":    "not named",
		"null":                           "any page",
		"":                               "is none",
		"intel.example.com":              "is none",
		"https://":                       "is none",
		"https://:443":                   "is none",
		"ftp://intel.example.com":        "is none",
		"file:///home":                   "is none",
		"chrome-extension://abc":         "is none",
		"https://intel.example.com/":     "has more than",
		"https://intel.example.com/app":  "has more than",
		"https://intel.example.com?":     "has more than",
		"https://intel.example.com#":     "has more than",
		"https://intel.example.com#x":    "has more than",
		"https://u:p@intel.example.com":  "holds a user",
		"https://Intel.example.com":      "lower case",
		"HTTPS://intel.example.com":      "lower case",
		"https://intel.example.com:443":  "usual port",
		"http://intel.example.com:80":    "usual port",
		"https://intel.example.com:":     "not as browsers",
		"https://intel.example.com:0":    "not as browsers",
		"https://intel.example.com:08":   "not as browsers",
		"https://intel.example.com:x":    "is none",
		"https://b\u00fccher.example":    "not as browsers",
		"https://a b.example":            "is none",
		"https://a,b.example":            "not as browsers",
		"http://[::0001]:3000":           "not as browsers",
		"https://intel.example.com,null": "not as browsers",
	} {
		err := CheckOrigin(origin)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", origin, err, want)
		}
	}
}

const (
	named  = "https://intel.example.com"
	second = "https://tools.example.com"
)

func withOrigins(f *fixture) { f.o.Origins = []string{named, second} }

// TestCORS proves that scripts of the named origins can read what there is, errors included, and no others.
func TestCORS(t *testing.T) {
	f := start(t, withOrigins)
	for _, c := range []call{
		{path: "/v1/ip/203.0.113.5", token: readToken},
		{path: "/v1/ip/203.0.113.5", token: "token-of-somebody-else-entirely"},
		{path: "/v1/ip/203.0.113.5"},
		{path: "/v1/nothing"},
		{path: "/openapi.json"},
		{method: "POST", path: "/v1/ip", token: readToken, body: many(1)},
	} {
		for origin, want := range map[string]string{
			named: named, second: second, "": "", "null": "", "https://evil.example.com": "", named + ".evil.example": "",
			"http://intel.example.com": "", "https://intel.example.com:444": "", "https://xintel.example.com": "",
		} {
			c.header = http.Header{}
			if origin != "" {
				c.header.Set("Origin", origin)
			}
			w := f.send(c)
			h := w.Header()
			if got := h.Get("Access-Control-Allow-Origin"); got != want {
				t.Errorf("%s for %q: %q may read", c.path, origin, got)
			}
			if h.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s for %q: credentials are allowed", c.path, origin)
			}
			if !strings.Contains(strings.Join(h.Values("Vary"), ", "), "Origin") {
				t.Errorf("%s for %q: the answer varies by %q", c.path, origin, h.Values("Vary"))
			}
			if exposed := h.Get("Access-Control-Expose-Headers"); want != "" && exposed != "Etag, Ratelimit, Ratelimit-Policy, Retry-After, Www-Authenticate, X-Request-Id" {
				t.Errorf("%s: scripts see %q", c.path, exposed)
			}
		}
	}
	f.left = 0
	w := f.send(call{path: "/v1/ip/203.0.113.5", token: readToken, header: http.Header{"Origin": {named}}})
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Access-Control-Allow-Origin") != named {
		t.Errorf("a refusal is %d, %v", w.Code, w.Header())
	}
}

// TestPreflight proves what browsers are told before a script may send a token.
func TestPreflight(t *testing.T) {
	ask := func(origin, method, headers string) call {
		return call{method: http.MethodOptions, path: "/v1/ip", header: http.Header{
			"Origin": {origin}, "Access-Control-Request-Method": {method}, "Access-Control-Request-Headers": {headers},
		}}
	}
	for name, tc := range map[string]struct {
		call
		allowed bool
	}{
		"a GET with a token":          {ask(named, "GET", "authorization"), true},
		"a POST of JSON":              {ask(second, "POST", "authorization,content-type"), true},
		"all headers":                 {ask(named, "GET", "authorization,content-type,if-none-match,x-request-id"), true},
		"another header":              {ask(named, "GET", "authorization,x-other"), false},
		"another method":              {ask(named, "DELETE", "authorization"), false},
		"another origin":              {ask("https://evil.example.com", "GET", "authorization"), false},
		"a page without an origin":    {ask("null", "GET", "authorization"), false},
		"an origin that begins alike": {ask(named+".evil.example", "GET", "authorization"), false},
	} {
		f := start(t, withOrigins, func(f *fixture) { f.left = 5 })
		w := f.send(tc.call)
		h := w.Header()
		if w.Code != http.StatusNoContent || w.Body.Len() > 0 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if got := h.Get("Access-Control-Allow-Origin") != ""; got != tc.allowed {
			t.Errorf("%s: allowed is %v: %v", name, got, h)
		}
		if tc.allowed && (h.Get("Access-Control-Max-Age") != "600" || h.Get("Access-Control-Allow-Headers") == "") {
			t.Errorf("%s: %v", name, h)
		}
		if h.Get("Access-Control-Allow-Credentials") != "" || !strings.Contains(strings.Join(h.Values("Vary"), ", "), "Origin") {
			t.Errorf("%s: %v", name, h)
		}
		if f.left != 5 || f.failed != 1000 { // a limit would look like a network error
			t.Errorf("%s: %d requests and %d failures are left", name, f.left, f.failed)
		}
	}
	f := start(t, withOrigins, func(f *fixture) { f.left = 0 })
	if w := f.send(ask(named, "GET", "authorization")); w.Code != http.StatusNoContent {
		t.Errorf("with a limit that is used up: %d", w.Code)
	}
	off := start(t).send(ask(named, "GET", "authorization"))
	for header := range off.Header() {
		if strings.HasPrefix(header, "Access-Control-") || header == "Vary" {
			t.Errorf("without origins there is %s", header)
		}
	}
}
