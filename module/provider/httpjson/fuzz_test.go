package httpjson_test

import (
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/httpjson"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func sample(tb testing.TB, name string) []byte {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(name)))
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// wantInRange fails the test for a report that no report may be.
func wantInRange(tb testing.TB, p reputation.Profile, r reputation.Report) {
	tb.Helper()
	if math.IsNaN(r.Severity) || math.Abs(r.Severity) > 1 || !(r.Confidence >= 0 && r.Confidence <= 1) || r.TTL < 0 {
		tb.Errorf("out of range: %+v", r)
	}
	if err := p.Capabilities.Check(r); err != nil {
		tb.Error(err)
	}
}

// FuzzAnswer: no answer makes the recipes of the cookbook panic, or say what they cannot say.
func FuzzAnswer(f *testing.F) {
	for _, body := range providertest.Samples(f, "testdata/*/*.json") {
		f.Add(body)
	}
	var all []*httpjson.HTTPJSON
	for _, name := range []string{"pulsedive", "ipdata", "ip_api"} {
		all = append(all, load(f, recipe(f, name)))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, h := range all {
			if r, err := httpjson.Map(t.Context(), h, http.StatusOK, body, question.Addr); err == nil {
				wantInRange(t, h.Profile(), r)
			}
		}
	})
}

// FuzzExpression: no expression that is accepted makes an answer panic, or leaves the range.
func FuzzExpression(f *testing.F) {
	for _, expression := range []string{
		"body.risk", "body.?a.?b.orValue(0.5)", "double(size(body.l)) / 10.0", "body.l.exists(x, x > 1.0) ? 1.0 : -1.0",
		`{"high": 1.0}[?body.s].orValue(0.0)`, `math.least(1.0, double(body.s.split(" ")[0]))`,
		"cel.bind(x, body.l + body.l, x[0])", "body.l.map(x, body.l)[0][0]", "now - now", "type(body)",
		"1.0 / (body.risk - 0.5)", "body.s == '' ? 0u : 1u", "dyn(body)", "body.s.matches('^[0-9]{1,3}$') ? 1.0 : 0.0",
		"body.s.indexOf(ip) in [1, body] ? 1.0 : math.greatest(body.l)",
	} {
		f.Add(expression, []byte(`{"risk": 0.5, "a": {"b": null}, "l": [1, 2], "s": "high"}`))
	}
	f.Fuzz(func(t *testing.T, expression string, body []byte) {
		h := acme("https://api.example.com")
		h.Severity, h.ASN, h.LastSeen, h.ValidFor = expression, expression, expression, expression
		h, err := tryLoad(t, h)
		if err != nil {
			return
		}
		if r, err := httpjson.Map(t.Context(), h, http.StatusOK, body, question.Addr); err == nil {
			wantInRange(t, h.Profile(), r)
		}
	})
}

// FuzzURL: an address that is accepted leads to its host, whatever the key is, and errors do not repeat the key.
func FuzzURL(f *testing.F) {
	for _, address := range []string{
		"https://api.example.com/{ip}", "https://api.example.com/v1//{ip}?key={key}", "https://{ip}/",
		"https://a/%2e%2e/{ip}?a=%&b",
		"https://a?{ip}={key}", "http://127.0.0.1/{key}/{ip}#x", "{env.BASE}/{ip}", "https://a/{ip", "https://a:99999/{ip}",
	} {
		f.Add(address, "s3cret/k?y&x")
	}
	f.Fuzz(func(t *testing.T, address, key string) {
		h := acme("")
		h.URL = address
		h, err := tryLoad(t, h)
		if err != nil {
			return
		}
		plain, err := httpjson.Target(h, question)
		if err != nil {
			t.Fatal(err)
		}
		q := question
		q.Key = key
		u, err := httpjson.Target(h, q)
		switch {
		case err != nil && key != "" && strings.Trim(key, ".") != "":
			t.Errorf("the key %q: %v", key, err)
		case err == nil && (u.Scheme != plain.Scheme || u.Host != plain.Host || elements(u) != elements(plain)):
			t.Errorf("the key %q leads to %s, and not to %s", key, u, plain)
		}
	})
}

// elements returns how many elements the path has.
func elements(u *url.URL) int { return strings.Count(u.EscapedPath(), "/") }
