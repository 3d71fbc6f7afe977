package crowdseccti

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sample(name string) string { return filepath.Join("testdata", name+".json") }

func TestContract(t *testing.T) {
	of, addr := reputation.CategoriesOf, netip.MustParseAddr
	const notJSON = "<html>Forbidden</html>"
	providertest.Run(t, providertest.Config{
		New: providertest.Module("crowdsec_cti"),
		Batch: &providertest.Batch{
			Before: `{"total":2,"not_found":0,"items":[`, After: `]}`,
			Request: func(r *http.Request) error {
				ips := r.URL.Query().Get("ips")
				if !strings.HasSuffix(r.URL.Path, "/smoke") || ips != "203.0.113.10,2001:db8::5" {
					return fmt.Errorf("the request is %s %s", r.Method, r.URL)
				}
				return nil
			},
			Entries: []providertest.Entry{
				{Addr: addr("203.0.113.10"), Body: `{"ip":"203.0.113.10","reputation":"known","confidence":"high"}`,
					Report: reputation.Report{Severity: .2, Confidence: .9, Categories: of(reputation.Abuse)}},
				{Addr: addr("2001:db8::5"), Body: `{"ip":"2001:db8::5","reputation":"benign","confidence":"low"}`,
					Report: reputation.Report{Severity: -1, Confidence: .4}},
			},
			Cases: []providertest.Case{
				{Name: "404 of a gateway", Status: 404, Body: `{"message":"Not Found"}`, Result: reputation.ResultBadAnswer},
				{Name: "quota", Status: 429, BodyFile: sample("error_429"), Result: reputation.ResultThrottled},
			},
		},
		Cases: []providertest.Case{
			{Name: "known", BodyFile: sample("known"), Request: checkRequest, Report: reputation.Report{
				Severity: .2, Confidence: .4, Categories: of(reputation.Bot),
				Facts:    reputation.Facts{Country: "NL", ASN: 64496, Network: netip.MustParsePrefix("203.0.113.0/25")},
				LastSeen: time.Date(2026, 11, 25, 8, 30, 0, 0, time.UTC)}},
			{Name: "malicious", Addr: addr("203.0.113.44"), BodyFile: sample("malicious"), Report: reputation.Report{
				Severity: .9, Confidence: .9, Categories: of(reputation.Scanner, reputation.BruteForce, reputation.WebAttack),
				Facts: reputation.Facts{Country: "PL", ASN: 64501, Network: netip.MustParsePrefix("203.0.113.0/24"),
					Nature: providertest.Nature([]reputation.Kind{reputation.NatureTor, reputation.NatureVPN, reputation.NatureProxy}, nil)},
				LastSeen: time.Date(2026, 11, 28, 22, 10, 0, 0, time.UTC)}},
			{Name: "suspicious", Addr: addr("2001:db8::5"), BodyFile: sample("suspicious"), Report: reputation.Report{
				Severity: .58, Confidence: .7, Categories: of(reputation.Abuse, reputation.Spam, reputation.DDoS),
				Facts: reputation.Facts{Nature: providertest.Nature([]reputation.Kind{reputation.NatureVPN}, nil)}}},
			{Name: "safe", Addr: addr("198.51.100.53"), BodyFile: sample("safe"), Report: reputation.Report{
				Severity: -1, Confidence: .9, Categories: of(reputation.PublicService),
				Facts: reputation.Facts{Country: "US", ASN: 64502}}},
			{Name: "malicious and a false positive", Addr: addr("198.51.100.54"), BodyFile: sample("contradiction"),
				Report: reputation.Report{Confidence: .9,
					Facts:    reputation.Facts{Country: "US", ASN: 64502, Network: netip.MustParsePrefix("198.51.100.0/24")},
					LastSeen: time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)}},
			{Name: "unknown", Addr: addr("198.51.100.7"), BodyFile: sample("unknown"), Report: reputation.Report{Confidence: .2,
				Facts: reputation.Facts{Country: "SE", ASN: 64503, Network: netip.MustParsePrefix("198.51.100.0/24")}}},
			{Name: "never seen", Status: 404, BodyFile: sample("error_404"), Result: reputation.ResultNotFound},
			{Name: "404 of a gateway", Status: 404, Body: `{"message":"Not Found"}`, Result: reputation.ResultBadAnswer},
			{Name: "another address", Addr: addr("203.0.113.11"), BodyFile: sample("known"), Result: reputation.ResultBadAnswer},
			{Name: "a message with 200", BodyFile: sample("error_429"), Result: reputation.ResultBadAnswer},
			{Name: "wrong key", Status: 403, BodyFile: sample("error_403"), Result: reputation.ResultRefused},
			{Name: "page of a firewall", Status: 403, Header: http.Header{"Content-Type": {"text/html"}}, Body: notJSON,
				Result: reputation.ResultBadAnswer},
			{Name: "quota", Status: 429, BodyFile: sample("error_429"), Result: reputation.ResultThrottled},
			{Name: "quota, without JSON", Status: 429, Body: notJSON, Result: reputation.ResultThrottled},
		},
	})
}

func checkRequest(r *http.Request) error {
	if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/smoke/203.0.113.10") || r.URL.RawQuery != "" {
		return fmt.Errorf("the request is %s %s", r.Method, r.URL)
	}
	if r.Header.Get("X-Api-Key") == "" {
		return errors.New("the request has no key")
	}
	return nil
}

// parse returns what a body says about addr.
func parse(body []byte, addr netip.Addr) (reputation.Report, error) {
	var a answer
	if err := rest.Decode(body, &a); err != nil {
		return reputation.Report{}, err
	}
	return a.report(addr)
}

func TestSeverity(t *testing.T) {
	const bad = math.MaxInt
	for _, tc := range []struct {
		body string
		want float64
	}{
		{`"reputation":"malicious","scores":{"last_week":{"total":5}}`, 1},
		{`"reputation":"malicious"`, .7},
		{`"reputation":"malicious","scores":null`, .7},
		{`"reputation":"suspicious","scores":{"last_week":{"total":5}}`, .7},
		{`"reputation":"suspicious","classifications":{"classifications":[{"name":"community-blocklist"}]}`, .9},
		{`"reputation":"unknown","classifications":{"classifications":[{"name":"community-blocklist"}]}`, .9},
		{`"reputation":"safe","classifications":{"classifications":[{"name":"community-blocklist"}]}`, 0},
		{`"reputation":"known","classifications":{"false_positives":[{"name":"x"}]}`, 0},
		{`"reputation":"unknown","classifications":{"false_positives":[{"name":"x"}]}`, -1},
		{`"reputation":"benign"`, -1},
		{`"reputation":"malicious","scores":{"last_week":{"total":6}}`, bad},
		{`"reputation":"safe","scores":{"last_week":{"total":-1}}`, bad},
		{`"reputation":"evil"`, bad},
		{`"reputation":"Malicious"`, bad},
		{`"reputation":""`, bad},
		{`"reputation":null`, bad},
		{`"reputation":"malicious","confidence":"very"`, bad},
		{`"reputation":"malicious","scores":{"last_week":{"total":"5"}}`, bad},
		{`"reputation":"malicious","as_num":-1`, bad},
	} {
		r, err := parse([]byte(`{"ip":"203.0.113.10",`+tc.body+`}`), netip.MustParseAddr("203.0.113.10"))
		switch {
		case tc.want == bad && !errors.Is(err, reputation.ErrBadAnswer):
			t.Errorf("%s: %v, %v", tc.body, r, err)
		case tc.want != bad && (err != nil || math.Abs(r.Severity-tc.want) > 1e-9):
			t.Errorf("%s: severity %v, want %v (%v)", tc.body, r.Severity, tc.want, err)
		}
	}
}

// TestScores: what the profile weighs gives the scores that the source must give, alone.
func TestScores(t *testing.T) {
	for _, tc := range []struct {
		body     string
		min, max float64
	}{
		{`"reputation":"malicious","confidence":"high","scores":{"last_week":{"total":5}}`, 85, 92},
		{`"reputation":"malicious","confidence":"low"`, 2, 14.4},
		{`"reputation":"suspicious","confidence":"medium","scores":{"last_week":{"total":3}}`, 8, 25},
		{`"reputation":"known","confidence":"high"`, 1, 5},
		{`"reputation":"unknown","confidence":"none"`, .99, 1},
		{`"reputation":"safe","confidence":"high"`, 0, .99},
	} {
		r, err := parse([]byte(`{"ip":"203.0.113.10",`+tc.body+`}`), netip.MustParseAddr("203.0.113.10"))
		if err != nil {
			t.Fatal(err)
		}
		if got := providertest.Score(new(CrowdSecCTI).Profile(), r); got < tc.min || got > tc.max {
			t.Errorf("%s: %.2f %%, want %v to %v", tc.body, got, tc.min, tc.max)
		}
	}
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile(t, "crowdsec_cti", map[string]string{"crowdsec_cti": `{}`})
}

func FuzzAnswer(f *testing.F) {
	capabilities := new(CrowdSecCTI).Profile().Capabilities
	providertest.Fuzz(f, providertest.Reader{
		Read: parse, Capabilities: capabilities,
		Severity: providertest.Range{Least: -1, Most: 1}, Confidence: providertest.Range{Least: .2, Most: .9},
		Accusations: capabilities.Categories &^ reputation.CategoriesOf(reputation.PublicService),
	})
}
