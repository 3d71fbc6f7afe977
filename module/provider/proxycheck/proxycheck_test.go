package proxycheck

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	tor, vpn, proxy = reputation.NatureTor, reputation.NatureVPN, reputation.NatureProxy
	hosting, mobile = reputation.NatureHosting, reputation.NatureMobile
)

type kinds = []reputation.Kind

var asked = netip.MustParseAddr("203.0.113.10")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sample(name string) string { return filepath.Join("testdata", name+".json") }

// factsOf are those of the samples.
func factsOf(yes, no kinds) reputation.Facts {
	f := reputation.Facts{Country: "BE", ASN: 64550, ASName: "Example Net SA",
		Network: netip.MustParsePrefix("203.0.113.0/24")}
	f.Nature = providertest.Nature(yes, no)
	return f
}

// without returns facts without their network.
func without(f reputation.Facts) reputation.Facts {
	f.Network = netip.Prefix{}
	return f
}

// refusals are answers without an address, with the statuses that they may come with.
func refusals() (cases []providertest.Case) {
	for name, result := range map[string]reputation.Result{
		"denied_day": reputation.ResultThrottled, "denied_no_key": reputation.ResultThrottled,
		"denied_second": reputation.ResultThrottled, "denied_proxy": reputation.ResultRefused,
	} {
		for _, status := range []int{200, 401, 403, 429} {
			cases = append(cases, providertest.Case{
				Name: fmt.Sprintf("%s, %d", name, status), Status: status, BodyFile: sample(name), Result: result})
		}
	}
	html := http.Header{"Content-Type": {"text/html"}}
	return append(cases,
		providertest.Case{Name: "error", BodyFile: sample("error_address"), Result: reputation.ResultBadAnswer},
		providertest.Case{Name: "403 page", Status: 403, Header: html, Body: "<html></html>",
			Result: reputation.ResultBadAnswer},
		providertest.Case{Name: "another address", Addr: netip.MustParseAddr("203.0.113.11"), BodyFile: sample("v3_clean"),
			Result: reputation.ResultBadAnswer},
		providertest.Case{Name: "the address twice", Body: `{"status":"ok","203.0.113.10":{},"203.0.113.10":{}}`,
			Result: reputation.ResultBadAnswer},
	)
}

func TestContract(t *testing.T) {
	abuse := reputation.CategoriesOf(reputation.Abuse)
	clean := reputation.Report{Severity: -1, Confidence: .8, Facts: factsOf(nil, kinds{tor, vpn, proxy, hosting, mobile})}
	providertest.Run(t, providertest.Config{
		New:   providertest.Module("proxycheck"),
		NoKey: true,
		Batch: batch3(),
		Cases: append(refusals(), []providertest.Case{
			{Name: "clean", BodyFile: sample("v3_clean"), Report: clean, Request: requestOf("/v3/203.0.113.10", "tag=0")},
			{Name: "warning", BodyFile: sample("warning"), Report: clean},
			{Name: "mobile, IPv6 in another spelling", Addr: netip.MustParseAddr("2001:db8::10"), BodyFile: sample("v3_ipv6"),
				Report: reputation.Report{Severity: -1, Confidence: .8,
					Facts: without(factsOf(kinds{mobile}, kinds{tor, vpn, proxy, hosting}))}},
			{Name: "VPN", BodyFile: sample("v3_vpn"), Report: reputation.Report{Confidence: .8,
				Facts:    factsOf(kinds{vpn, hosting}, kinds{tor, proxy, mobile}),
				LastSeen: time.Date(2026, 11, 12, 0, 0, 0, 0, time.UTC)}},
			{Name: "hosting", BodyFile: sample("v3_hosting"), Report: reputation.Report{Confidence: .8,
				Facts: factsOf(kinds{hosting}, kinds{tor, vpn, proxy, mobile})}},
			{Name: "compromised Tor exit", BodyFile: sample("v3_compromised_tor"), Report: reputation.Report{
				Severity: 1, Confidence: .76,
				Categories: abuse | reputation.CategoriesOf(reputation.Compromised),
				Facts:      factsOf(kinds{tor}, kinds{vpn, proxy, hosting, mobile})}},
			{Name: "attacks", BodyFile: sample("v3_attacks"), Report: reputation.Report{Severity: .8, Confidence: .4,
				Categories: abuse | reputation.CategoriesOf(reputation.Bot),
				Facts:      factsOf(nil, kinds{tor, vpn, proxy, hosting, mobile})}},
		}...),
	})
}

func TestContractOfVersion2(t *testing.T) {
	clean := reputation.Report{Severity: -1, Confidence: .7,
		Facts: reputation.Facts{Nature: providertest.Nature(nil, kinds{tor, vpn, proxy, hosting, mobile})}}
	providertest.Run(t, providertest.Config{
		New:   providertest.Module("proxycheck", `{"api": "v2"}`),
		NoKey: true,
		Batch: batch2(),
		Cases: append(refusals(), []providertest.Case{
			{Name: "clean", BodyFile: sample("v2_clean"), Report: clean,
				Request: requestOf("/v2/203.0.113.10", "asn=1&risk=1&tag=0&vpn=1")},
			{Name: "VPN", BodyFile: sample("v2_vpn"), Report: reputation.Report{
				Confidence: .7, Facts: factsOf(kinds{vpn}, nil)}},
			{Name: "compromised", BodyFile: sample("v2_compromised"), Report: reputation.Report{Severity: 1, Confidence: .7,
				Categories: reputation.CategoriesOf(reputation.Abuse, reputation.Compromised),
				Facts:      factsOf(nil, nil), LastSeen: time.Unix(1794787200, 0).UTC()}},
			{Name: "answer of version 3", BodyFile: sample("v3_clean"), Result: reputation.ResultBadAnswer},
		}...),
	})
}

func requestOf(path, query string) func(r *http.Request) error {
	return func(r *http.Request) error {
		values := r.URL.Query()
		values.Del("key")
		got := []string{r.Method, values.Encode()}
		if diff := cmp.Diff([]string{"GET", query}, got); diff != "" || !strings.HasSuffix(r.URL.Path, path) {
			return fmt.Errorf("the request is for %s (-want +got):\n%s", r.URL.Path, diff)
		}
		return nil
	}
}

// serve returns a provider whose service gives one answer, and what the service was asked.
func serve(t *testing.T, settings, file string) (*ProxyCheck, func() string) {
	t.Helper()
	body, err := os.ReadFile(sample(file))
	if err != nil {
		t.Fatal(err)
	}
	var got string
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = fmt.Sprintf("%s %s ips=%s", r.Method, r.RequestURI, r.PostFormValue("ips"))
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}))
	t.Cleanup(service.Close)
	return providertest.Load(t, "proxycheck", service.URL, settings).(*ProxyCheck), func() string { return got }
}

// A key is optional, and in the query of each request.
func TestKey(t *testing.T) {
	p, request := serve(t, `{}`, "v3_clean")
	for key, want := range map[string]string{
		"":        "GET /v3/203.0.113.10?tag=0 ips=",
		"a&b=c/d": "GET /v3/203.0.113.10?key=a%26b%3Dc%2Fd&tag=0 ips=",
	} {
		if _, err := p.Check(t.Context(), reputation.Query{Addr: asked, Key: key}); err != nil || request() != want {
			t.Errorf("with the key %q the request is %s (%v), want %s", key, request(), err, want)
		}
	}
}

func TestSettings(t *testing.T) {
	providertest.Settings(t, "proxycheck", map[string]string{
		`{"api": "v1"}`: `unknown api "v1": use v2 or v3`, `{"api": "v2"}`: "", `{"api": "v3"}`: "",
	})
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile(t, "proxycheck", map[string]string{
		"proxycheck":               `{}`,
		"proxycheck {\n api v2\n}": `{"api":"v2"}`,
	})
}

// TestScores: what the profile weighs gives the scores that one service with a model should give, alone.
func TestScores(t *testing.T) {
	for _, tc := range []struct {
		name, detections string
		min, max         float64
	}{
		{"clean", `"risk":0,"confidence":100`, 0, .99},
		{"a proxy", `"risk":100,"confidence":100,"proxy":true`, 0, 1},
		{"a Tor exit", `"risk":100,"confidence":100,"tor":true`, 0, 1},
		{"a compromised machine", `"risk":100,"confidence":100,"compromised":true`, 20, 60},
	} {
		report, err := parse(v3, []byte(`{"status":"ok","203.0.113.10":{"detections":{`+tc.detections+`}}}`), asked)
		if err != nil {
			t.Fatal(err)
		}
		if got := providertest.Score(new(ProxyCheck).Profile(), report); got < tc.min || got > tc.max {
			t.Errorf("%s: %.2f %%, want %v to %v", tc.name, got, tc.min, tc.max)
		}
	}
}
