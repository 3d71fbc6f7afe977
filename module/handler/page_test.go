package handler

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPreferredForm(t *testing.T) {
	for accept, want := range map[string]string{
		"":    typeText,
		"*/*": typeText,
		"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8": typeHTML,
		"text/*":                                   typeText,
		"application/json":                         typeProblem,
		"application/json, text/plain, */*":        typeProblem, // what axios sends
		"application/problem+json":                 typeProblem,
		"application/vnd.api+json;version=1.0":     typeProblem,
		"TEXT/HTML":                                typeHTML,
		"text/html;q=0.5, application/json":        typeProblem,
		"text/html; q=0.9 ,text/plain;q=0.1":       typeHTML,
		"text/html;q=0":                            typeText,
		"text/html;q=2, application/json":          typeProblem, // a weight that is none
		"text/html;q=NaN":                          typeText,
		"image/png":                                typeText,
		",,;;==":                                   typeText,
		strings.Repeat("a/b,", 1000) + "text/html": typeText, // more than is read
	} {
		if got := preferred([]string{accept}); got != want {
			t.Errorf("%.80q: got %s, want %s", accept, got, want)
		}
	}
	if got := preferred([]string{"image/png", "application/json"}); got != typeProblem {
		t.Errorf("two fields: got %s", got)
	}
}

func FuzzPreferredForm(f *testing.F) {
	f.Add("text/html,*/*;q=0.8")
	f.Fuzz(func(t *testing.T, accept string) {
		switch preferred([]string{accept}) {
		case typeText, typeHTML, typeProblem:
		default:
			t.Errorf("%q", accept)
		}
	})
}

// TestPage pins what a visitor is shown.
func TestPage(t *testing.T) {
	ctx := testContext(t)
	block := loadHandler(t, ctx, object{"mode": "enforce"})
	gone := loadHandler(t, ctx, object{"mode": "enforce", "rules": []any{object{"action": "block", "score": "85", "status_code": 499}}})
	limit := loadHandler(t, ctx, object{"mode": "enforce", "rules": []any{object{"action": "limit", "limit": "1/1h"}}})
	serve(limit, prepared(t, cleanAddr)())
	serve(limit, prepared(t, listedAddr)())
	const mistake = "This request was refused. If you think that this is a mistake, please contact the site and quote the request ID."
	for _, tc := range []struct {
		name, accept string
		h            *Handler
		client       string
		status       int
		contentType  string
		body         string
	}{
		{"text", "", block, deniedAddr, 403, "text/plain; charset=utf-8", "403 Forbidden\n\n" + mistake + "\n\nRequest ID: ID\n"},
		{
			"JSON", "application/json", block, deniedAddr, 403, "application/problem+json",
			`{"type":"about:blank","title":"Forbidden","status":403,"detail":"` + mistake + `","request_id":"ID"}` + "\n",
		},
		{"no name", "", gone, deniedAddr, 499, "text/plain; charset=utf-8", "499 Request Refused\n\n" + mistake + "\n\nRequest ID: ID\n"},
		{
			"limit", "", limit, cleanAddr, 429, "text/plain; charset=utf-8",
			"429 Too Many Requests\n\nYou have sent too many requests. Please try again in 60 minutes.\n\nRequest ID: ID\n",
		},
		{
			"limit, JSON", "application/json", limit, listedAddr, 429, "application/problem+json",
			`{"type":"about:blank","title":"Too Many Requests","status":429,"detail":"You have sent too many requests. ` +
				`Please try again in 60 minutes.","request_id":"ID","retry_after":3600}` + "\n",
		},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			t.Run(tc.name+" "+method, func(t *testing.T) {
				r := prepared(t, tc.client)()
				r.Method = method
				r.Header.Set("Accept", tc.accept)
				got := serve(tc.h, r)
				id := got.Header().Get(headerRequestID)
				body := strings.ReplaceAll(tc.body, "ID\n", id+"\n")
				body = strings.ReplaceAll(body, `"ID"`, `"`+id+`"`)
				want := http.Header{
					"Content-Type": {tc.contentType}, "Content-Length": {strconv.Itoa(len(body))}, "Cache-Control": {"no-store"},
					"Vary": {"Accept"}, "X-Content-Type-Options": {"nosniff"}, headerRequestID: {id},
				}
				header := got.Header().Clone()
				for _, name := range []string{"Ratelimit", "Ratelimit-Policy", "Retry-After"} {
					if tc.status == http.StatusTooManyRequests && header.Get(name) == "" {
						t.Errorf("%s is missing", name)
					}
					header.Del(name)
				}
				if diff := cmp.Diff(want, header); diff != "" || got.Code != tc.status {
					t.Errorf("%d (-want +got):\n%s", got.Code, diff)
				}
				if method == http.MethodHead {
					body = ""
				}
				if diff := cmp.Diff(body, got.Body.String()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestPageSaysNothingOfUs proves that no form of the page names the product or what is known, and that it holds nothing
// that the visitor sent.
func TestPageSaysNothingOfUs(t *testing.T) {
	ctx := testContext(t)
	h := loadHandler(t, ctx, object{"mode": "enforce", "rules": []any{object{"action": "block", "category": []any{"scanner"}}}})
	for _, accept := range []string{"text/plain", "text/html", "application/json", `<script>"'&`} {
		r := httptest.NewRequest(http.MethodGet, "http://app.example.com/<script>alert(1)</script>?q=%3Cscript%3E", nil)
		base := prepared(t, listedAddr)()
		r = r.WithContext(base.Context())
		r.Header.Set("Accept", accept)
		r.Header.Set("X-Request-ID", `"><script>alert(2)</script>`)
		r.Header.Set("User-Agent", "<script>")
		got := serve(h, r)
		text := strings.ToLower(got.Body.String())
		for _, word := range []string{"reputation", "scanner", "score", listedAddr, "<script", "alert", "caddy", "rule"} {
			if strings.Contains(text, word) {
				t.Errorf("Accept %s: the page says %q: %s", accept, word, text)
			}
		}
		if got.Code != http.StatusForbidden || !strings.Contains(text, got.Header().Get(headerRequestID)) {
			t.Errorf("Accept %s: %d, %s", accept, got.Code, text)
		}
		if accept == "application/json" && !json.Valid(got.Body.Bytes()) {
			t.Errorf("not JSON: %s", text)
		}
	}
}

func TestSeconds(t *testing.T) {
	for n, want := range map[int]string{
		1: "1 second", 6: "6 seconds", 119: "119 seconds", 120: "2 minutes", 121: "3 minutes", 7199: "120 minutes", 7200: "2 hours", 7201: "3 hours",
	} {
		if got := seconds(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}
