package httpjson_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/httpjson"
)

// BenchmarkMapping measures what becomes of an answer, without the request: the largest recipe of the cookbook, and the
// least that a service needs.
func BenchmarkMapping(b *testing.B) {
	for name, h := range map[string]*httpjson.HTTPJSON{
		"least": acme("https://api.example.com"), "ipdata": recipe(b, "ipdata"),
	} {
		body := []byte(`{"risk": 0.5}`)
		if name == "ipdata" {
			body = sample(b, "ipdata/bad.json")
		}
		b.Run(name, func(b *testing.B) {
			h := load(b, h)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := httpjson.Map(b.Context(), h, http.StatusOK, body, question.Addr); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkHostile measures the most that one expression can cost, by the answer for which its work has no end.
func BenchmarkHostile(b *testing.B) {
	h := acme("https://api.example.com")
	h.Severity = "body.exists(a, body.exists(b, a + b < 0.0)) ? 1.0 : 0.0"
	h = load(b, h)
	body := []byte("[" + strings.Repeat("1,", 10_000) + "1]")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := httpjson.Map(b.Context(), h, http.StatusOK, body, question.Addr); err == nil {
			b.Fatal("it ended")
		}
	}
}

// BenchmarkLoad measures what a service costs when the configuration is loaded.
func BenchmarkLoad(b *testing.B) {
	h := recipe(b, "ipdata")
	for b.Loop() {
		load(b, h)
	}
}
