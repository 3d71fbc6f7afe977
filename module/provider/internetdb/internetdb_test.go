package internetdb

import (
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sample(name string) string { return filepath.Join("testdata", name+".json") }

func TestContract(t *testing.T) {
	providertest.Run(t, providertest.Config{
		NoKey: true,
		New:   providertest.Module("internetdb"),
		Cases: []providertest.Case{
			{
				Name: "found", BodyFile: sample("found"),
				Header: http.Header{"Cache-Control": {"public, max-age=432000"}},
				Report: reputation.Report{Confidence: 0.4, Facts: reputation.Facts{
					Nature: providertest.Nature([]reputation.Kind{reputation.NatureHosting, reputation.NatureVPN}, nil),
				}},
				Request: func(r *http.Request) error {
					if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/203.0.113.10") || r.URL.RawQuery != "" {
						return fmt.Errorf("asked %s %s", r.Method, r.URL)
					}
					return nil
				},
			},
			{
				Name: "accused", Addr: netip.MustParseAddr("203.0.113.11"), BodyFile: sample("accused"),
				Report: reputation.Report{
					Severity: 0.6, Confidence: 0.4,
					Categories: reputation.CategoriesOf(reputation.Compromised, reputation.Scanner),
					Facts:      reputation.Facts{Nature: providertest.Nature([]reputation.Kind{reputation.NatureProxy}, nil)},
				},
			},
			{
				Name: "IPv6", Addr: netip.MustParseAddr("2001:db8::10"), BodyFile: sample("ipv6"),
				Report: reputation.Report{Confidence: 0.4, Facts: reputation.Facts{Nature: providertest.Nature([]reputation.Kind{reputation.NatureTor}, nil)}},
			},
			{
				Name: "no tags", Addr: netip.MustParseAddr("203.0.113.12"), BodyFile: sample("no_tags"),
				Report: reputation.Report{Confidence: 0.4},
			},
			{Name: "404", Status: 404, BodyFile: sample("not_found_404"), Result: reputation.ResultNotFound},
			{
				Name: "404 of a wrong path", Status: 404, Body: `{"detail":"Not Found"}`,
				Result: reputation.ResultBadAnswer,
			},
			{Name: "404 without a body", Status: 404, Body: `{}`, Result: reputation.ResultBadAnswer},
			{Name: "422", Status: 422, BodyFile: sample("error_422"), Result: reputation.ResultBadAnswer},
			{Name: "429", Status: 429, BodyFile: sample("error_429"), Result: reputation.ResultThrottled},
			{
				Name: "another address", Addr: netip.MustParseAddr("203.0.113.13"), BodyFile: sample("found"),
				Result: reputation.ResultBadAnswer,
			},
			{Name: "tags are missing", Body: `{"ip":"203.0.113.10","ports":[22]}`, Result: reputation.ResultBadAnswer},
			{Name: "tags are null", Body: `{"ip":"203.0.113.10","tags":null}`, Result: reputation.ResultBadAnswer},
			{Name: "tags are a text", Body: `{"ip":"203.0.113.10","tags":"c2"}`, Result: reputation.ResultBadAnswer},
			{Name: "a tag is a number", Body: `{"ip":"203.0.113.10","tags":[1]}`, Result: reputation.ResultBadAnswer},
			{
				Name: "a 404's text with 200", Body: `{"detail":"No information available"}`,
				Result: reputation.ResultBadAnswer,
			},
		},
	})
}

func parse(body []byte, addr netip.Addr) (reputation.Report, error) {
	var a answer
	if err := rest.Decode(body, &a); err != nil {
		return reputation.Report{}, err
	}
	return a.report(addr)
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile(t, "internetdb", map[string]string{
		"internetdb":                     `{}`,
		"internetdb https://example.org": `unexpected "https://example.org" after internetdb`,
		"internetdb {\n key x\n}":        `unknown option "key" of internetdb: use one of url, at Testfile:2`,
		"internetdb {\n url a\n}":        `reading the url: its scheme is ""`,
		"internetdb {\n url\n}":          "an address such as https://internetdb.shodan.io",
		"internetdb {\n url http://127.0.0.1\n url http://127.0.0.1\n}": `duplicate option "url" of internetdb`,
	})
}

func TestAsksTheService(t *testing.T) {
	question := rest.Request{Path: []string{"2001:db8::10"}}
	const want = "https://internetdb.shodan.io/2001:db8::10"
	if got, err := providertest.Load(t, "internetdb", "").(*InternetDB).Target(&question); err != nil || got.String() != want {
		t.Errorf("asks %s, %v", got, err)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"ip":"::ffff:203.0.113.10","tags":["c2","C2",""]}`), "203.0.113.10")
	providertest.Fuzz(f, providertest.Reader{
		Read: parse, Capabilities: new(InternetDB).Profile().Capabilities,
		Severity: providertest.Range{Most: .6}, Confidence: providertest.Range{Least: .4, Most: .4},
	})
}
