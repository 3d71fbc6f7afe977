package internetdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// provision returns a provider as Caddy makes it: from JSON.
func provision(tb testing.TB, config string) *InternetDB {
	tb.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	tb.Cleanup(cancel) // runs Cleanup
	module, err := ctx.LoadModuleByID("ip_reputation.providers.internetdb", json.RawMessage(config))
	if err != nil {
		tb.Fatal(err)
	}
	return module.(*InternetDB)
}

func sample(name string) string { return filepath.Join("testdata", name+".json") }

func nature(kinds ...reputation.Kind) (n reputation.Nature) {
	for _, k := range kinds {
		n = n.With(k, true)
	}
	return n
}

func TestContract(t *testing.T) {
	providertest.Run(t, providertest.Config{
		NoKey: true,
		New: func(tb testing.TB, url string) reputation.Provider {
			return provision(tb, fmt.Sprintf(`{"url": %q}`, url))
		},
		Cases: []providertest.Case{
			{
				Name: "found", BodyFile: sample("found"),
				Header: http.Header{"Cache-Control": {"public, max-age=432000"}},
				Report: reputation.Report{Confidence: 0.4, Facts: reputation.Facts{
					Nature: nature(reputation.NatureHosting, reputation.NatureVPN),
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
					Facts:      reputation.Facts{Nature: nature(reputation.NatureProxy)},
				},
			},
			{
				Name: "IPv6", Addr: netip.MustParseAddr("2001:db8::10"), BodyFile: sample("ipv6"),
				Report: reputation.Report{Confidence: 0.4, Facts: reputation.Facts{Nature: nature(reputation.NatureTor)}},
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

func TestCaddyfile(t *testing.T) {
	for input, want := range map[string]string{
		"internetdb": "", "internetdb {\n url http://127.0.0.1:8081\n}": "",
		"internetdb https://example.org":                                "unexpected \"https://example.org\" after internetdb",
		"internetdb {\n key x\n}":                                       `unknown option "key" of internetdb: use one of url, at Testfile:2`,
		"internetdb {\n url a\n}":                                       `reading the url: its scheme is ""`,
		"internetdb {\n url\n}":                                         "an address such as https://internetdb.shodan.io",
		"internetdb {\n url http://127.0.0.1\n url http://127.0.0.1\n}": `duplicate option "url" of internetdb`,
	} {
		err := new(InternetDB).UnmarshalCaddyfile(caddyfile.NewTestDispenser(input))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: the error is %v, want %q in it", input, err, want)
		}
	}
}

func TestAsksTheService(t *testing.T) {
	question := rest.Request{Path: []string{"2001:db8::10"}}
	const want = "https://internetdb.shodan.io/2001:db8::10"
	if got, err := provision(t, `{}`).Target(&question); err != nil || got.String() != want {
		t.Errorf("asks %s, %v", got, err)
	}
}

// FuzzReport: no answer makes a panic or a report out of range, and only tags make a verdict.
func FuzzReport(f *testing.F) {
	for _, body := range providertest.Samples(f, sample("*")) {
		f.Add(body)
	}
	f.Add([]byte(`{"ip":"::ffff:203.0.113.10","tags":["c2","C2",""]}`))
	addr := netip.MustParseAddr("203.0.113.10")
	capabilities := new(InternetDB).Profile().Capabilities
	f.Fuzz(func(t *testing.T, body []byte) {
		var a answer
		if rest.Decode(body, &a) != nil {
			return
		}
		r, err := a.report(addr)
		switch {
		case err != nil && !errors.Is(err, reputation.ErrBadAnswer):
			t.Errorf("unclassified error %v", err)
		case err != nil:
		case r.Severity < 0 || r.Severity > 0.6 || r.Confidence != 0.4 || (r.Severity == 0) != (r.Categories == 0):
			t.Errorf("%s: %+v", body, r)
		case capabilities.Check(r) != nil:
			t.Errorf("%s: %+v", body, r)
		}
	})
}
