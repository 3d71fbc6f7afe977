package ipqualityscore

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	tor, vpn, proxy = reputation.NatureTor, reputation.NatureVPN, reputation.NatureProxy
	hosting, mobile = reputation.NatureHosting, reputation.NatureMobile
)

var asked = netip.MustParseAddr("203.0.113.10")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sample(name string) string { return filepath.Join("testdata", name+".json") }

func TestContract(t *testing.T) {
	type kinds = []reputation.Kind
	facts := func(country string, yes, no kinds) reputation.Facts {
		return reputation.Facts{Country: country, ASN: 64510, ASName: "Example Kabel BV", Nature: providertest.Nature(yes, no)}
	}
	torFacts := reputation.Facts{Country: "NL", Nature: providertest.Nature(kinds{tor, hosting}, kinds{vpn, mobile})}
	cases := []providertest.Case{
		{Name: "abused VPN", BodyFile: sample("abused_vpn"), Request: inPath,
			Report: reputation.Report{Severity: 0.96, Confidence: 0.7,
				Categories: reputation.CategoriesOf(reputation.Abuse, reputation.Bot),
				Facts:      facts("SE", kinds{vpn, hosting}, kinds{tor, mobile})}},
		{Name: "VPN without abuse", BodyFile: sample("quiet_vpn"),
			Report: reputation.Report{Confidence: 0.7, Facts: facts("NL", kinds{vpn, hosting}, kinds{tor, mobile})}},
		{Name: "Tor exit", BodyFile: sample("tor"), Report: reputation.Report{Confidence: 0.7, Facts: torFacts}},
		{Name: "clean", BodyFile: sample("clean"), Report: reputation.Report{Severity: -1, Confidence: 0.5,
			Facts: facts("NL", nil, kinds{tor, vpn, proxy, hosting, mobile})}},
		{Name: "clean, IPv6", Addr: netip.MustParseAddr("2001:db8::10"), BodyFile: sample("clean"),
			Report: reputation.Report{Severity: -1, Confidence: 0.5,
				Facts: facts("NL", nil, kinds{tor, vpn, proxy, hosting, mobile})}},
		{Name: "crawler", BodyFile: sample("crawler"), Report: reputation.Report{Severity: -1, Confidence: 0.7,
			Categories: reputation.CategoriesOf(reputation.Crawler),
			Facts:      facts("US", kinds{hosting}, kinds{tor, vpn, proxy, mobile})}},
		{Name: "what the plan leaves out", BodyFile: sample("premium_required"),
			Report: reputation.Report{Confidence: 0.7, Facts: facts("", kinds{proxy}, kinds{tor, vpn})}},
		{Name: "403 page", Status: 403, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html></html>",
			Result: reputation.ResultBadAnswer},
		{Name: "429", Status: 429, Body: `{}`, Result: reputation.ResultThrottled},
	}
	for name, result := range map[string]reputation.Result{
		"error_key": reputation.ResultRefused, "error_quota": reputation.ResultThrottled,
		"error_credits": reputation.ResultThrottled, "error_address": reputation.ResultBadAnswer,
	} {
		cases = append(cases, providertest.Case{Name: name, BodyFile: sample(name), Result: result})
		if result != reputation.ResultBadAnswer {
			cases = append(cases, providertest.Case{Name: name + ", 400", Status: 400, BodyFile: sample(name), Result: result})
		}
	}
	providertest.Run(t, providertest.Config{
		NoAddress: true,
		New:       providertest.Module("ipqualityscore"),
		Cases:     cases,
	})
}

// TestContractWithHeader holds the same for the key in a header.
func TestContractWithHeader(t *testing.T) {
	inHeader := func(r *http.Request) error {
		if !strings.HasSuffix(r.URL.Path, "/json/ip/203.0.113.10") || r.Header.Get("IPQS-KEY") == "" ||
			strings.Contains(r.URL.String(), r.Header.Get("IPQS-KEY")) {
			return fmt.Errorf("the request is %s, with a key of %d bytes in its header", r.URL, len(r.Header.Get("IPQS-KEY")))
		}
		return nil
	}
	providertest.Run(t, providertest.Config{
		NoAddress: true,
		New:       providertest.Module("ipqualityscore", `{"key_in": "header"}`),
		Cases: []providertest.Case{{Name: "quiet VPN", BodyFile: sample("quiet_vpn"), Request: inHeader,
			Report: reputation.Report{Confidence: 0.7, Facts: reputation.Facts{Country: "NL", ASN: 64510,
				ASName: "Example Kabel BV",
				Nature: providertest.Nature([]reputation.Kind{vpn, hosting}, []reputation.Kind{tor, mobile})}}}},
	})
}

// inPath checks a request with the key in the path.
func inPath(r *http.Request) error {
	parts := strings.Split(r.URL.Path, "/")
	got := []string{r.Method, r.URL.RawQuery, r.Header.Get("IPQS-KEY"), parts[len(parts)-1], parts[len(parts)-3]}
	if diff := cmp.Diff([]string{"GET", "strictness=0", "", asked.String(), "ip"}, got); diff != "" {
		return fmt.Errorf("the request differs (-want +got):\n%s", diff)
	}
	return nil
}

// A key of any characters reaches the service whole, and no error repeats the path that it is in.
func TestKeyInPath(t *testing.T) {
	const key = "a/../b?c#d%2Fe&f=g+h"
	var got string
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, _, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/json/ip/"), "/"+asked.String())
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": "cannot GET " + r.RequestURI})
	}))
	defer service.Close()
	s := providertest.Load(t, "ipqualityscore", service.URL)
	_, err := s.Check(t.Context(), reputation.Query{Addr: asked, Key: key})
	if got != key {
		t.Errorf("the service got the key %q", got)
	}
	if want := "asking IPQualityScore: no answer, status 400"; err == nil || err.Error() != want {
		t.Errorf("the error is %v, want %s", err, want)
	}
}

func TestParameters(t *testing.T) {
	s := providertest.Load(t, "ipqualityscore", "", `{"strictness": 2, "allow_public_access_points": true, "lighter_penalties": true}`).(*IPQualityScore)
	question := s.question(reputation.Query{Addr: asked, Key: "k"})
	const want = "https://www.ipqualityscore.com/api/json/ip/k/203.0.113.10?" +
		"allow_public_access_points=true&lighter_penalties=true&strictness=2"
	if got, err := s.Target(&question); err != nil || got.String() != want {
		t.Errorf("asks %s (%v), want %s", got, err, want)
	}
}

func TestSettings(t *testing.T) {
	providertest.Settings(t, "ipqualityscore", map[string]string{
		`{"strictness": 4}`:   "strictness 4 is out of range: use 0 to 3",
		`{"strictness": -1}`:  "strictness -1 is out of range",
		`{"key_in": "query"}`: `unknown key_in "query": use path or header`,
	})
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile(t, "ipqualityscore", map[string]string{
		"ipqualityscore": `{}`,
		"ipqualityscore {\n strictness 1\n key_in header\n allow_public_access_points\n lighter_penalties\n}": `{"strictness":1,` +
			`"allow_public_access_points":true,"lighter_penalties":true,"key_in":"header"}`,
	})
}

// TestScores: what the profile weighs gives the scores that one commercial service should give, alone.
func TestScores(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		min, max   float64
	}{
		{"clean", `{"success":true,"fraud_score":0}`, 0, .99},
		{"the worst", `{"success":true,"fraud_score":100,"recent_abuse":true}`, 20, 50},
		{"a Tor exit", `{"success":true,"fraud_score":100,"proxy":true,"tor":true}`, 0, 1},
		{"a score that nothing explains", `{"success":true,"fraud_score":60,"proxy":false}`, 2, 20},
		{"the worst of a plan without natures", `{"success":true,"fraud_score":100,"proxy":null}`, 0, 1},
	} {
		report, err := parse([]byte(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		if got := providertest.Score(new(IPQualityScore).Profile(), report); got < tc.min || got > tc.max {
			t.Errorf("%s: %.2f %%, want %v to %v", tc.name, got, tc.min, tc.max)
		}
	}
}

func TestNoVerdict(t *testing.T) {
	for _, body := range []string{
		`{}`, `null`, `[]`, `""`, `{"success":null,"fraud_score":1}`, `{"success":true}`,
		`{"success":true,"fraud_score":null}`,
		`{"success":true,"fraud_score":-1}`, `{"success":true,"fraud_score":101}`, `{"success":true,"fraud_score":"50"}`,
		`{"success":true,"fraud_score":50.5}`, `{"success":"true","fraud_score":50}`, `{"success":false,"fraud_score":0}`,
		`{"fraud_score":0}`,
	} {
		if got, err := parse([]byte(body)); !errors.Is(err, reputation.ErrBadAnswer) {
			t.Errorf("%s became %+v, %v", body, got, err)
		}
	}
}
