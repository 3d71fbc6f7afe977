package httpjson_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/httpjson"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestRequest: where the address and the key are put, and how they are escaped.
func TestRequest(t *testing.T) {
	t.Setenv("TEST_TENANT", "a/b?c&d=e{f}%20")
	secret := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secret, []byte("t0ken\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		set  func(h *httpjson.HTTPJSON, base string)
		addr string
		want string // method and URI
		head http.Header
		body string
	}{
		{
			name: "path", set: func(h *httpjson.HTTPJSON, base string) { h.URL = base + "/v1/{key}/ip/{ip}.json" },
			want: "GET /v1/s3cret%2Fk%3Fy&x/ip/203.0.113.10.json",
		},
		{
			name: "query",
			set:  func(h *httpjson.HTTPJSON, base string) { h.URL = base + "/check/?ip={ip}&key={key}&flag&a=1%262" },
			want: "GET /check/?a=1%262&flag=&ip=203.0.113.10&key=s3cret%2Fk%3Fy%26x",
		},
		{
			name: "IPv6",
			set:  func(h *httpjson.HTTPJSON, base string) { h.URL = base + "?q={ip}" }, addr: "2001:db8::10",
			want: "GET /?q=2001%3Adb8%3A%3A10",
		},
		{
			name: "root", set: func(h *httpjson.HTTPJSON, base string) { h.URL = base + "/?q={ip}" },
			want: "GET /?q=203.0.113.10",
		},
		{
			name: "variables", set: func(h *httpjson.HTTPJSON, base string) {
				h.URL = base + "/{env.TEST_TENANT}/x%2Fy/{ip}/{env.TEST_TENANT}?t={env.TEST_TENANT}"
				h.Header = map[string]string{"authorization": "Bearer {file." + secret + "}", "X-Key": "k={key}, ip={ip}"}
			},
			want: "GET /a%2Fb%3Fc&d=e%7Bf%7D%2520/x%2Fy/203.0.113.10/a%2Fb%3Fc&d=e%7Bf%7D%2520?t=a%2Fb%3Fc%26d%3De%7Bf%7D%2520",
			head: http.Header{"Authorization": {"Bearer t0ken"}, "X-Key": {"k=s3cret/k?y&x, ip=203.0.113.10"}},
		},
		{
			name: "whole address in a variable", set: func(h *httpjson.HTTPJSON, base string) {
				t.Setenv("TEST_BASE", base+"/gateway/")
				h.URL = "{env.TEST_BASE}/ip/{ip}"
			},
			want: "GET /gateway/ip/203.0.113.10",
		},
		{
			name: "body", set: func(h *httpjson.HTTPJSON, base string) {
				h.URL = base + "/"
				h.Body = []byte(`{"ips": ["{ip}"], "key": "{key}", "n": 12345678901234567890, "deep": {"a": [null, true]}}`)
			},
			want: "POST /",
			body: `{"deep":{"a":[null,true]},"ips":["203.0.113.10"],"key":"s3cret/k?y\u0026x","n":12345678901234567890}`,
			head: http.Header{"Content-Type": {"application/json"}},
		},
		{
			name: "Basic", set: func(h *httpjson.HTTPJSON, base string) { h.BasicAuth = true },
			want: "GET /203.0.113.10", head: http.Header{"Authorization": {"Basic YWNjb3VudDprZXk="}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := startService(t, says(200, `{"risk": 0}`))
			h, q := acme(s.URL), question
			tc.set(h, s.URL)
			if tc.addr != "" {
				q.Addr = addr(tc.addr)
			}
			if h.BasicAuth {
				q.Key = "account:key"
			}
			loaded := load(t, h)
			if _, err := loaded.Check(t.Context(), q); err != nil {
				t.Fatal(err)
			}
			if got := s.request.Method + " " + s.request.RequestURI; got != tc.want || s.body != tc.body {
				t.Errorf("the request is\n%s %s\nwant\n%s %s", got, s.body, tc.want, tc.body)
			}
			for name, want := range tc.head {
				if diff := cmp.Diff(want, s.request.Header.Values(name)); diff != "" && s.request.Header.Get(name) != want[0] {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
			shown, err := json.Marshal(loaded)
			if err != nil || strings.Contains(string(shown), "t0ken") || strings.Contains(string(shown), "a/b?c") {
				t.Errorf("the configuration holds what a placeholder stands for: %s, %v", shown, err)
			}
		})
	}
}

// TestProfile: the profile follows from the settings, before they are resolved.
func TestProfile(t *testing.T) {
	h := acme("https://api.example.com")
	if p := h.Profile(); p.Key != reputation.KeyNone || p.Capabilities.Declared() || p.Validate() != nil {
		t.Errorf("got %+v", p)
	}
	facts(h)
	h.Covers, h.Weight, h.Group, h.Terms, h.SelfAged = "ipv4", 30, "vendor", "by contract", true
	h.Header = map[string]string{"X-Key": "{key}"}
	want := reputation.Profile{
		Name: "acme", Weight: 30, Group: "vendor", Terms: "by contract", SelfAged: true, Covers: reputation.IPv4,
		Capabilities: reputation.Capabilities{
			Categories: reputation.CategoriesOf(reputation.Tor), Country: true, ASN: true,
			Natures: reputation.KindsOf(reputation.NatureTor, reputation.NatureVPN),
		},
	}
	if diff := cmp.Diff(want, h.Profile()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, set := range []func(h *httpjson.HTTPJSON){
		func(h *httpjson.HTTPJSON) { h.URL += "?key={key}" },
		func(h *httpjson.HTTPJSON) { h.Body = []byte(`{"key": "{key}"}`) },
		func(h *httpjson.HTTPJSON) { h.BasicAuth = true },
	} {
		h := acme("https://api.example.com")
		if set(h); h.Profile().Key != reputation.KeyRequired {
			t.Errorf("%+v needs no key", h)
		}
	}
}
