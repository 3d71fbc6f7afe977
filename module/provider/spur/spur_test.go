package spur

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
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
	const hosting, mobile, proxy = reputation.NatureHosting, reputation.NatureMobile, reputation.NatureProxy
	type kinds = []reputation.Kind
	of, addr := reputation.CategoriesOf, netip.MustParseAddr
	providertest.Run(t, providertest.Config{
		New: providertest.Module("spur"),
		Cases: []providertest.Case{
			{Name: "VPN", BodyFile: sample("vpn"), Request: checkRequest, Report: reputation.Report{
				Severity: .6, Confidence: .7, Categories: of(reputation.BruteForce, reputation.Bot),
				Facts: reputation.Facts{Country: "NO", ASN: 64505,
					Nature: providertest.Nature(kinds{hosting, reputation.NatureVPN}, kinds{mobile})}}},
			{Name: "residential proxy", Addr: addr("203.0.113.191"), BodyFile: sample("residential_proxy"),
				Report: reputation.Report{Confidence: .7,
					Facts: reputation.Facts{Country: "ID", ASN: 64506, Nature: providertest.Nature(kinds{mobile, proxy}, kinds{hosting})}}},
			{Name: "relay", Addr: addr("2001:db8::7"), BodyFile: sample("relay"), Report: reputation.Report{Confidence: .7,
				Facts: reputation.Facts{Country: "FI", ASN: 64508,
					Nature: providertest.Nature(kinds{hosting, reputation.NatureRelay}, kinds{mobile})}}},
			{Name: "nothing known", Addr: addr("198.51.100.7"), BodyFile: sample("nothing_known"),
				Report: reputation.Report{Confidence: .7, Facts: reputation.Facts{Country: "DK", ASN: 64507}}},
			{Name: "not found", Status: 404, Body: `{"ip":"203.0.113.10"}`, Result: reputation.ResultNotFound},
			{Name: "404 without the address", Status: 404, BodyFile: sample("error"), Result: reputation.ResultBadAnswer},
			{Name: "another address", Addr: addr("203.0.113.11"), BodyFile: sample("vpn"), Result: reputation.ResultBadAnswer},
			{Name: "error with 200", BodyFile: sample("error"), Result: reputation.ResultBadAnswer},
			{Name: "another type", Body: `{"ip":"203.0.113.10","risks":"TUNNEL"}`, Result: reputation.ResultBadAnswer},
			{Name: "400", Status: 400, BodyFile: sample("error"), Result: reputation.ResultError},
			{Name: "wrong token", Status: 401, BodyFile: sample("error"), Result: reputation.ResultRefused},
			{Name: "plan", Status: 403, BodyFile: sample("error"), Result: reputation.ResultRefused},
			{Name: "quota", Status: 429, BodyFile: sample("error"), Result: reputation.ResultThrottled},
		},
	})
}

func checkRequest(r *http.Request) error {
	if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/v2/context/203.0.113.10") || r.URL.RawQuery != "" {
		return fmt.Errorf("the request is %s %s", r.Method, r.URL)
	}
	if r.Header.Get("Token") == "" {
		return errors.New("the request has no token")
	}
	return nil
}

// TestProbe: a token is tested without a question about an address.
func TestProbe(t *testing.T) {
	for body, want := range map[string]reputation.Result{
		`{"active":true,"queriesRemaining":10}`: reputation.ResultOK, `{"active":false}`: reputation.ResultRefused,
		`{"queriesRemaining":10}`: reputation.ResultBadAnswer,
	} {
		var path string
		service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			path = r.URL.Path
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprint(w, body)
		}))
		err := providertest.Load(t, "spur", service.URL).(*Spur).Probe(t.Context(), "t0ken-of-tests")
		service.Close()
		if got := reputation.ResultOf(err); got != want || path != "/status" {
			t.Errorf("%s: %v, asked %s", body, err, path)
		}
	}
}

func parse(body []byte, addr netip.Addr) (reputation.Report, error) {
	var a answer
	if err := rest.Decode(body, &a); err != nil {
		return reputation.Report{}, err
	}
	return a.report(addr)
}

// TestScores: natures accuse nobody, and one company's word convicts nobody.
func TestScores(t *testing.T) {
	for _, tc := range []struct {
		body     string
		min, max float64
	}{
		{`"tunnels":[{"type":"TOR"},{"type":"VPN"},{"type":"PROXY"}],"risks":["TUNNEL"],"infrastructure":"DATACENTER"`,
			.99, 1},
		{`"risks":["LOGIN_BRUTEFORCE","SPAM"]`, 8, 25},
		{`"risks":["WEB_SCRAPING"]`, 2, 5},
	} {
		r, err := parse([]byte(`{"ip":"203.0.113.10",`+tc.body+`}`), netip.MustParseAddr("203.0.113.10"))
		if err != nil {
			t.Fatal(err)
		}
		if got := providertest.Score(new(Spur).Profile(), r); got < tc.min || got > tc.max {
			t.Errorf("%s: %.2f %%, want %v to %v", tc.body, got, tc.min, tc.max)
		}
	}
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile(t, "spur", map[string]string{"spur": `{}`})
}

func FuzzAnswer(f *testing.F) {
	providertest.Fuzz(f, providertest.Reader{
		Read: parse, Capabilities: new(Spur).Profile().Capabilities,
		Severity: providertest.Range{Most: .6}, Confidence: providertest.Range{Least: .7, Most: .7},
	})
}
