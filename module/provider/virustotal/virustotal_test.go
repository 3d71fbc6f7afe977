package virustotal

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

var asked = netip.MustParseAddr("203.0.113.10")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sample(name string) string { return filepath.Join("testdata", name+".json") }

// withStats returns an answer about 203.0.113.10 with these verdicts of engines.
func withStats(stats string) string {
	return `{"data":{"id":"203.0.113.10","type":"ip_address","attributes":{"last_analysis_stats":` + stats + `}}}`
}

func TestContract(t *testing.T) {
	abuse := reputation.CategoriesOf(reputation.Abuse)
	facts := reputation.Facts{Country: "US", ASN: 64501, Network: netip.MustParsePrefix("203.0.113.0/25")}
	analyzed := time.Unix(1795400000, 0)
	html := http.Header{"Content-Type": {"text/html"}}
	const page = "<html><body>blocked</body></html>"
	providertest.Run(t, providertest.Config{
		New: providertest.Module("virustotal"),
		Cases: []providertest.Case{
			{
				Name: "one engine", Addr: netip.MustParseAddr("203.0.113.30"), BodyFile: sample("ip_one_engine"),
				Report: reputation.Report{Severity: 0.25, Confidence: 0.4, Categories: abuse, Facts: facts, LastSeen: analyzed},
			},
			{
				Name: "malicious", BodyFile: sample("ip_malicious"),
				Report: reputation.Report{
					Severity: 1, Confidence: 0.9, Categories: abuse | reputation.CategoriesOf(reputation.Malware),
					Facts: facts, LastSeen: analyzed,
				},
				Request: func(r *http.Request) error {
					if !strings.HasSuffix(r.URL.Path, "/ip_addresses/203.0.113.10") || r.URL.RawQuery != "" ||
						r.Header.Get("X-Apikey") == "" {
						return fmt.Errorf("asked %s %s", r.Method, r.URL)
					}
					return nil
				},
			},
			{
				Name: "clean", Addr: netip.MustParseAddr("203.0.113.20"), BodyFile: sample("ip_clean"),
				Report: reputation.Report{Severity: -1, Confidence: 0.5, Facts: facts, LastSeen: analyzed},
			},
			{
				Name: "never analyzed", Addr: netip.MustParseAddr("198.51.100.40"), BodyFile: sample("ip_no_analysis"),
				Report: reputation.Report{Facts: reputation.Facts{
					Country: "US", ASN: 64501, Network: netip.MustParsePrefix("198.51.100.0/24"),
				}},
			},
			{
				Name: "IPv6", Addr: netip.MustParseAddr("2001:db8::10"), BodyFile: sample("ip_ipv6"),
				Report: reputation.Report{
					Severity: 0.52, Confidence: 0.5, Categories: abuse,
					Facts: reputation.Facts{Country: "NL", ASN: 64501, Network: netip.MustParsePrefix("2001:db8::/32")},
				},
			},
			{Name: "few attributes", Body: withStats(`{"malicious":0,"suspicious":0,"undetected":90,"harmless":0}`)},
			{
				Name: "another address", Addr: netip.MustParseAddr("203.0.113.11"), BodyFile: sample("ip_malicious"),
				Result: reputation.ResultBadAnswer,
			},
			{Name: "400", Status: 400, BodyFile: sample("error_400"), Result: reputation.ResultError},
			{Name: "401", Status: 401, BodyFile: sample("error_401"), Result: reputation.ResultRefused},
			{
				Name: "401 wrong key", Status: 401, BodyFile: sample("error_401_wrong_key"),
				Result: reputation.ResultRefused,
			},
			{Name: "403", Status: 403, BodyFile: sample("error_403"), Result: reputation.ResultRefused},
			{Name: "403 page", Status: 403, Header: html, Body: page, Result: reputation.ResultBadAnswer},
			{Name: "404", Status: 404, BodyFile: sample("error_404"), Result: reputation.ResultNotFound},
			{
				Name: "404 of somebody else", Status: 404, Body: `{"message":"no route"}`,
				Result: reputation.ResultBadAnswer,
			},
			{Name: "429", Status: 429, BodyFile: sample("error_429"), Result: reputation.ResultThrottled},
			{Name: "503", Status: 503, BodyFile: sample("error_503"), Result: reputation.ResultError},
			{Name: "an error with 200", BodyFile: sample("error_429"), Result: reputation.ResultBadAnswer},
		},
	})
}

func TestNoVerdictOutOfNonsense(t *testing.T) {
	const accused = `{"malicious":9,"suspicious":0,"undetected":0,"harmless":0}`
	for name, body := range map[string]string{
		"no stats":         `{"data":{"id":"203.0.113.10","type":"ip_address","attributes":{}}}`,
		"no attributes":    `{"data":{"id":"203.0.113.10","type":"ip_address"}}`,
		"a domain":         strings.Replace(withStats(accused), "ip_address", "domain", 1),
		"a missing number": withStats(`{"malicious":9,"suspicious":0,"undetected":0}`),
		"null":             withStats(`{"malicious":null,"suspicious":0,"undetected":0,"harmless":0}`),
		"below 0":          withStats(`{"malicious":-1,"suspicious":0,"undetected":0,"harmless":0}`),
		"too many":         withStats(`{"malicious":10001,"suspicious":0,"undetected":0,"harmless":0}`),
		"a fraction":       withStats(`{"malicious":1.5,"suspicious":0,"undetected":0,"harmless":0}`),
		"a text":           withStats(`{"malicious":"9","suspicious":0,"undetected":0,"harmless":0}`),
	} {
		if _, err := parse([]byte(body), asked); !errors.Is(err, reputation.ErrBadAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// parse returns what a body says about addr.
func parse(body []byte, addr netip.Addr) (reputation.Report, error) {
	var a answer
	if err := rest.Decode(body, &a); err != nil {
		return reputation.Report{}, err
	}
	return a.report(addr)
}

// TestSeverity: more engines never make it better, and a malicious verdict is worse than a suspicious one.
func TestSeverity(t *testing.T) {
	for _, tc := range []struct {
		malicious, suspicious int
		want                  float64
	}{{1, 0, .25}, {0, 1, .25}, {0, 2, .4}, {1, 1, .44}, {2, 0, .48}, {2, 3, .6}, {8, 1, 1}, {90, 0, 1}} {
		if got := severity(tc.malicious, tc.suspicious); got-tc.want > 1e-9 || tc.want-got > 1e-9 {
			t.Errorf("%d malicious and %d suspicious: %g, want %g", tc.malicious, tc.suspicious, got, tc.want)
		}
	}
	for m := range 20 {
		for s := range 20 {
			if m+s > 0 && (severity(m+1, s) < severity(m, s) || severity(m, s+1) < severity(m, s)) {
				t.Errorf("from %d malicious and %d suspicious on, it becomes better", m, s)
			}
		}
	}
}

// TestScores: alone, one engine is nothing, and the most engines are not enough to block by the default of docs.
func TestScores(t *testing.T) {
	for name, want := range map[string][2]float64{
		"ip_one_engine": {1, 3}, "ip_malicious": {40, 70}, "ip_clean": {0, .99},
	} {
		body, err := os.ReadFile(sample(name))
		if err != nil {
			t.Fatal(err)
		}
		var a answer
		if err := rest.Decode(body, &a); err != nil {
			t.Fatal(err)
		}
		r, err := a.report(netip.MustParseAddr(a.Data.ID))
		if err != nil {
			t.Fatal(err)
		}
		if got := providertest.Score(new(VirusTotal).Profile(), r); got < want[0] || got > want[1] {
			t.Errorf("%s: %.2f %%, want %v", name, got, want)
		}
	}
}

// TestFullSize: the largest answers are read, and an error quotes the service.
func TestFullSize(t *testing.T) {
	large := strings.Replace(withStats(`{"malicious":3,"suspicious":0,"undetected":0,"harmless":0}`),
		`"attributes":{`, `"attributes":{"whois":"`+strings.Repeat("x", 200<<10)+`",`, 1)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/203.0.113.10") {
			fmt.Fprint(w, large)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":{"code":"UserNotActiveError","message":"the account is not active"}}`)
	}))
	t.Cleanup(service.Close)
	v := providertest.Load(t, "virustotal", service.URL)
	q := reputation.Query{Addr: netip.MustParseAddr("203.0.113.10"), Key: "0123456789abcdef"}
	if r, err := v.Check(t.Context(), q); err != nil || r.Severity != 0.56 {
		t.Errorf("of %d bytes: %v, %v", len(large), r.Severity, err)
	}
	q.Addr = netip.MustParseAddr("203.0.113.11")
	const want = "asking VirusTotal: the service refused the key: status 401: " +
		"UserNotActiveError the account is not active"
	if _, err := v.Check(t.Context(), q); err == nil || err.Error() != want {
		t.Errorf("the error is %v, want %s", err, want)
	}
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile(t, "virustotal", map[string]string{
		"virustotal":                  `{}`,
		"virustotal {\n plan free\n}": `unknown option "plan" of virustotal: use one of url, at Testfile:2`,
		"virustotal {\n url\n}":       "an address such as https://www.virustotal.com/api/v3",
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(withStats(`{"malicious":1e3,"suspicious":0,"undetected":0,"harmless":0},`+
		`"last_analysis_date":9223372036854775807`)), asked.String())
	providertest.Fuzz(f, providertest.Reader{
		Read: parse, Capabilities: new(VirusTotal).Profile().Capabilities,
		Severity: providertest.Range{Least: -1, Most: 1}, Confidence: providertest.Range{Most: .9},
	})
}
