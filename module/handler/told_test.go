package handler

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/go-cmp/cmp"
)

// TestFromApplication holds what becomes of the violations that an application names, and that visitors never see them.
func TestFromApplication(t *testing.T) {
	many := strings.Repeat("rude,mistake,", 5000)
	for name, tc := range map[string]struct {
		site   object
		named  []string
		change func(*http.Request)
		want   map[string]int
		why    string
	}{
		"one":                {named: []string{"rude"}, want: map[string]int{"rude": 5}},
		"several":            {named: []string{"rude , login_failed,\tspam"}, want: map[string]int{"rude": 5, "login_failed": 0, "spam": 15}},
		"several lines":      {named: []string{"rude", "spam,"}, want: map[string]int{"rude": 5, "spam": 15}},
		"twice the same":     {named: []string{"rude,rude", "rude"}, want: map[string]int{"rude": 5}},
		"unknown":            {named: []string{"nonsense, rude"}, want: map[string]int{"rude": 5}, why: "unknown"},
		"with parameters":    {named: []string{"rude;points=60"}, want: map[string]int{}, why: "unknown"},
		"ten thousand":       {named: []string{many}, want: map[string]int{"rude": 5, "mistake": 0}, why: "excess"},
		"too long a name":    {named: []string{strings.Repeat("a", 2000) + ",rude"}, want: map[string]int{}, why: "excess"},
		"empty":              {named: []string{"", ",,"}, want: map[string]int{}},
		"not trusted":        {site: object{"violations_default": true}, named: []string{"rude"}, want: map[string]int{}, why: "untrusted"},
		"nobody is watched":  {site: object{}, named: []string{"rude"}, want: map[string]int{}, why: "untrusted"},
		"a foreign page":     {named: []string{"rude"}, change: with("Sec-Fetch-Site", "cross-site"), want: map[string]int{"rude": 5}},
		"sent by the client": {change: with("X-IP-Reputation-Violation", "rude"), want: map[string]int{}},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.site == nil {
				tc.site = object{"violations_from_application": true}
			}
			w := newWatching(t, tc.site)
			if w.runtime.Conduct.Store() == nil {
				if err := w.runtime.Conduct.UseViolations(); err != nil {
					t.Fatal(err)
				}
			}
			before := ignoredBy(t, tc.why)
			echo := caddyhttp.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) error {
				named := slices.Concat(tc.named, r.Header.Values("X-IP-Reputation-Violation"))
				return answersWith(200, named...)(rw, r)
			})
			got, _ := w.ask(t, "192.0.2.1", "/", echo, tc.change)
			if diff := cmp.Diff(tc.want, w.points("192.0.2.1")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if tc.why != "" && ignoredBy(t, tc.why) != before+1 {
				t.Errorf("violations_ignored_total{reason=%q} has not risen by one", tc.why)
			}
			if seen := got.Result().Header["X-Ip-Reputation-Violation"]; seen != nil {
				t.Errorf("the visitor sees %q", seen)
			}
		})
	}
}

// TestViolationHeaderNeverLeaves holds that the header is removed however the response begins.
func TestViolationHeaderNeverLeaves(t *testing.T) {
	for name, app := range map[string]caddyhttp.HandlerFunc{
		"status": answersWith(200, "rude"),
		"hints":  afterHints(200),
		"write": func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set(headerViolation, "rude")
			_, err := w.Write([]byte("a"))
			return err
		},
		"copy": func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set(headerViolation, "rude")
			_, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("a"))
			return err
		},
		"flush": func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set(headerViolation, "rude")
			return http.NewResponseController(w).Flush()
		},
		"nothing": func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set(headerViolation, "rude")
			return nil
		},
		"error": func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set(headerViolation, "rude")
			return caddyhttp.Error(502, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWatching(t, object{"violations_from_application": true})
			got, _ := w.ask(t, "192.0.2.1", "/", app)
			if got.Header()[headerViolation] != nil || got.Result().Header[headerViolation] != nil {
				t.Errorf("the visitor sees %v", got.Header())
			}
			if n := w.points("192.0.2.1")["rude"]; n != 5 {
				t.Errorf("it costs %d points", n)
			}
		})
	}
}
