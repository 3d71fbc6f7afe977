package maxmind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sample(name string) string { return filepath.Join("testdata", name+".json") }

func kind(of string) http.Header {
	return http.Header{"Content-Type": {"application/vnd.maxmind.com-" + of + "+json; charset=UTF-8; version=2.1"}}
}

// failures are the errors of both products.
func failures() []providertest.Case {
	return []providertest.Case{
		{Name: "not in the database", Status: 404, Header: kind("error"), BodyFile: sample("error_404"),
			Result: reputation.ResultNotFound},
		{Name: "404 of a gateway", Status: 404, Body: `{"error":"not found"}`, Result: reputation.ResultError},
		{Name: "reserved", Status: 400, Header: kind("error"), BodyFile: sample("error_400"),
			Result: reputation.ResultNotFound},
		{Name: "400", Status: 400, Body: `{"code":"IP_ADDRESS_INVALID","error":"no address"}`,
			Result: reputation.ResultError},
		{Name: "wrong key", Status: 401, Header: kind("error"), BodyFile: sample("error_401"),
			Result: reputation.ResultRefused},
		{Name: "no funds", Status: 402, Header: kind("error"), BodyFile: sample("error_402"),
			Result: reputation.ResultRefused},
		{Name: "no permission", Status: 403, Header: kind("error"), BodyFile: sample("error_403"),
			Result: reputation.ResultRefused},
		{Name: "clear text", Status: 403, Result: reputation.ResultRefused},
		{Name: "too many errors", Status: 429, Header: http.Header{"Content-Type": {"text/plain"}}, Body: "slow down",
			Result: reputation.ResultThrottled},
		{Name: "their error", Status: 500, Body: `{"code":"SERVER_ERROR","error":"it broke"}`,
			Result: reputation.ResultError},
	}
}

func TestInsightsContract(t *testing.T) {
	type kinds = []reputation.Kind
	const hosting, mobile = reputation.NatureHosting, reputation.NatureMobile
	of, addr := reputation.CategoriesOf, netip.MustParseAddr
	providertest.Run(t, providertest.Config{
		New:       providertest.Module("maxmind"),
		KeyPrefix: "12345:",
		Cases: append(failures(), []providertest.Case{
			{Name: "VPN", Header: kind("insights"), BodyFile: sample("insights_vpn"), Request: checkInsights,
				Report: reputation.Report{Severity: .6, Confidence: .7, Categories: of(reputation.Abuse),
					Facts: reputation.Facts{Country: "CH", ASN: 64512, Network: netip.MustParsePrefix("203.0.113.0/27"),
						Nature: providertest.Nature(kinds{reputation.NatureVPN, hosting}, kinds{mobile})}}},
			{Name: "risky, and shared by many", Addr: addr("2001:db8::9"), BodyFile: sample("insights_risky"),
				Report: reputation.Report{Severity: .89, Confidence: .4, Categories: of(reputation.Abuse),
					Facts: reputation.Facts{Country: "BG", ASN: 64513, Network: netip.MustParsePrefix("2001:db8::/64"),
						Nature: providertest.Nature(kinds{mobile}, kinds{hosting})}}},
			{Name: "no risk", Addr: addr("198.51.100.20"), BodyFile: sample("insights_clean"),
				Report: reputation.Report{Confidence: .7, Facts: reputation.Facts{Country: "CA", ASN: 64514,
					Network: netip.MustParsePrefix("198.51.100.0/26"), Nature: providertest.Nature(nil, kinds{hosting, mobile})}}},
			{Name: "relay", Addr: addr("198.51.100.21"), BodyFile: sample("insights_relay"),
				Report: reputation.Report{Confidence: .7, Facts: reputation.Facts{Country: "US",
					Nature: providertest.Nature(kinds{reputation.NatureRelay, reputation.NatureProxy}, nil)}}},
			{Name: "search engine", Addr: addr("198.51.100.22"), BodyFile: sample("insights_spider"),
				Report: reputation.Report{Confidence: .7, Categories: of(reputation.Crawler),
					Facts: reputation.Facts{Country: "US"}}},
			{Name: "old flags", Body: `{"traits":{"ip_address":"203.0.113.10","is_tor_exit_node":true,"ip_risk_snapshot":99}}`,
				Report: reputation.Report{Severity: .6, Confidence: .7, Categories: of(reputation.Abuse),
					Facts: reputation.Facts{Nature: providertest.Nature(kinds{reputation.NatureTor}, nil)}}},
			{Name: "another address", Addr: addr("203.0.113.11"), BodyFile: sample("insights_vpn"),
				Result: reputation.ResultBadAnswer},
			{Name: "risk out of range", Body: `{"traits":{"ip_address":"203.0.113.10","ip_risk_snapshot":101}}`,
				Result: reputation.ResultBadAnswer},
			{Name: "risk as text", Body: `{"traits":{"ip_address":"203.0.113.10","ip_risk_snapshot":"10"}}`,
				Result: reputation.ResultBadAnswer},
		}...),
	})
}

func checkInsights(r *http.Request) error {
	account, licence, ok := r.BasicAuth()
	if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/insights/203.0.113.10") || r.URL.RawQuery != "" {
		return fmt.Errorf("the request is %s %s", r.Method, r.URL)
	}
	if !ok || account != "12345" || licence == "" {
		return fmt.Errorf("the credentials are %q and %d bytes", account, len(licence))
	}
	return nil
}

func TestMinFraudContract(t *testing.T) {
	abuse := reputation.CategoriesOf(reputation.Abuse)
	providertest.Run(t, providertest.Config{
		New:       providertest.Module("maxmind", `{"api": "minfraud"}`),
		NoAddress: true,
		KeyPrefix: "12345:",
		Cases: append(failures(), []providertest.Case{
			{Name: "risky", Header: kind("minfraud-score"), BodyFile: sample("minfraud"), Request: checkScore,
				Report: reputation.Report{Severity: .63, Confidence: .7, Categories: abuse}},
			{Name: "low risk", BodyFile: sample("minfraud_low"), Report: reputation.Report{Confidence: .7}},
			{Name: "address not found", Body: `{"risk_score":5` +
				`,"warnings":[{"code":"IP_ADDRESS_NOT_FOUND","input_pointer":"/device/ip_address"}]}`,
				Result: reputation.ResultNotFound},
			{Name: "reserved", Body: `{"risk_score":5` +
				`,"warnings":[{"code":"IP_ADDRESS_RESERVED","input_pointer":"/device/ip_address"}]}`,
				Result: reputation.ResultNotFound},
			{Name: "address not taken", Body: `{"ip_address":{"risk":5}` +
				`,"warnings":[{"code":"INPUT_INVALID","input_pointer":"/device/ip_address"}]}`,
				Result: reputation.ResultBadAnswer},
			{Name: "only the transaction's score", Body: `{"risk_score":80}`, Result: reputation.ResultBadAnswer},
			{Name: "risk out of range", Body: `{"ip_address":{"risk":-1}}`, Result: reputation.ResultBadAnswer},
		}...),
	})
}

func checkScore(r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if want := `{"device":{"ip_address":"203.0.113.10"}}`; string(body) != want {
		return fmt.Errorf("the body is %s, want %s", body, want)
	}
	if _, licence, ok := r.BasicAuth(); !ok || licence == "" || r.Method != http.MethodPost ||
		!strings.HasSuffix(r.URL.Path, "/score") {
		return fmt.Errorf("the request is %s %s", r.Method, r.URL)
	}
	return nil
}

// TestScores: one company's word convicts nobody, and a VPN even less.
func TestScores(t *testing.T) {
	for _, tc := range []struct {
		traits   string
		min, max float64
	}{
		{`"ip_risk_snapshot":99`, 25, 40},
		{`"ip_risk_snapshot":99,"is_anonymous":true`, 8, 25},
		{`"ip_risk_snapshot":99,"user_count":1000`, 5, 14.4},
		{`"is_anonymous_vpn":true,"is_hosting_provider":true`, .99, 1},
		{`"ip_risk_snapshot":0.01`, .99, 1},
	} {
		r, err := parseInsights([]byte(`{"traits":{"ip_address":"203.0.113.10",`+tc.traits+`}}`),
			netip.MustParseAddr("203.0.113.10"))
		if err != nil {
			t.Fatal(err)
		}
		if got := providertest.Score(new(MaxMind).Profile(), r); got < tc.min || got > tc.max {
			t.Errorf("%s: %.2f %%, want %v to %v", tc.traits, got, tc.min, tc.max)
		}
	}
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile(t, "maxmind", map[string]string{
		"maxmind":                     `{}`,
		"maxmind {\n api minfraud\n}": `{"api":"minfraud"}`,
	})
}

func TestSettings(t *testing.T) {
	providertest.Settings(t, "maxmind", map[string]string{`{"api": "city"}`: "use insights or minfraud"})
}

// TestURLs: each product has its own service, and each is a source of its own.
func TestURLs(t *testing.T) {
	for i, want := range []struct{ name, host string }{
		{"maxmind", "geoip.maxmind.com"}, {"minfraud", "minfraud.maxmind.com"},
	} {
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		m := new(MaxMind)
		err := errors.Join(json.Unmarshal(m.Variants()[i], m), m.Provision(ctx))
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		target, err := m.Target(new(rest.Request))
		if err != nil || target.Host != want.host || m.Profile().Name != want.name {
			t.Errorf("asks %s as %s, %v; want %v", target, m.Profile().Name, err, want)
		}
		_ = m.Cleanup()
	}
}

func parseInsights(body []byte, addr netip.Addr) (reputation.Report, error) {
	var v insightsAnswer
	if err := rest.Decode(body, &v); err != nil {
		return reputation.Report{}, err
	}
	return v.report(addr)
}

func parseScore(body []byte) (reputation.Report, error) {
	var v scoreAnswer
	if err := rest.Decode(body, &v); err != nil {
		return reputation.Report{}, err
	}
	return v.report()
}

func FuzzAnswer(f *testing.F) {
	product := providertest.Reader{
		Severity: providertest.Range{Most: 1}, Confidence: providertest.Range{Least: .4, Most: .7}, Unknown: true,
		Accusations: reputation.CategoriesOf(reputation.Abuse),
	}
	i, m := product, product
	i.Read, i.Capabilities = parseInsights, new(MaxMind).Profile().Capabilities
	m.Read = func(body []byte, _ netip.Addr) (reputation.Report, error) { return parseScore(body) }
	m.Capabilities = (&MaxMind{API: minfraud}).Profile().Capabilities
	providertest.Fuzz(f, i, m)
}
