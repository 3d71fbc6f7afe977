package greynoise

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sample(name string) string { return filepath.Join("testdata", name+".json") }

var of, addr = reputation.CategoriesOf, netip.MustParseAddr

func day(d int) time.Time { return time.Date(2026, 11, d, 0, 0, 0, 0, time.UTC) }

func asked(path string) func(*http.Request) error {
	return func(r *http.Request) error {
		key := r.Header.Get("Key")
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, path) || r.URL.RawQuery != "" || key == "" {
			return fmt.Errorf("the request is %s %s with a key of %d bytes", r.Method, r.URL, len(key))
		}
		return nil
	}
}

func TestCommunityContract(t *testing.T) {
	const knew = `{"ip":"203.0.113.10","noise":true,"riot":false}`
	providertest.Run(t, providertest.Config{
		New:   providertest.Module("greynoise"),
		NoKey: true,
		Cases: []providertest.Case{
			{Name: "malicious", BodyFile: sample("community_malicious"), Request: asked("/v3/community/203.0.113.10"),
				Report: reputation.Report{Severity: .85, Confidence: .8,
					Categories: of(reputation.Abuse, reputation.Scanner), LastSeen: day(22)}},
			{Name: "benign", Addr: addr("198.51.100.131"), BodyFile: sample("community_benign"), Report: reputation.Report{
				Severity: -1, Confidence: .95, Categories: of(reputation.BenignScanner), LastSeen: day(21)}},
			{Name: "common service", Addr: addr("198.51.100.8"), BodyFile: sample("community_riot"), Report: reputation.Report{
				Severity: -1, Confidence: .5, Categories: of(reputation.PublicService), LastSeen: day(24)}},
			{Name: "only that it scans", Body: `{"ip":"203.0.113.10","noise":true}`, Report: reputation.Report{
				Severity: .3, Confidence: .8, Categories: of(reputation.Scanner)}},
			{Name: "not observed", Addr: addr("198.51.100.7"), Status: 404, BodyFile: sample("community_404"),
				Result: reputation.ResultNotFound},
			{Name: "not observed, with 200", Body: `{"ip":"203.0.113.10","noise":false}`, Result: reputation.ResultNotFound},
			{Name: "404 that knows it", Status: 404, Body: knew, Result: reputation.ResultBadAnswer},
			{Name: "404 about another address", Status: 404, BodyFile: sample("community_404"),
				Result: reputation.ResultBadAnswer},
			{Name: "404 of a gateway", Status: 404, Body: `{"message":"no such route"}`, Result: reputation.ResultBadAnswer},
			{Name: "not routable", Status: 400, BodyFile: sample("community_400"), Result: reputation.ResultNotFound},
			{Name: "400 about the request", Status: 400, Body: `{"ip":"203.0.113.10","message":"bad request"}`,
				Result: reputation.ResultError},
			{Name: "another address", Addr: addr("203.0.113.11"), BodyFile: sample("community_malicious"),
				Result: reputation.ResultBadAnswer},
			{Name: "wrong key", Status: 401, BodyFile: sample("error_401"), Result: reputation.ResultRefused},
			{Name: "quota", Status: 429, BodyFile: sample("community_429"), Header: http.Header{"Retry-After": {"3600"}},
				Result: reputation.ResultThrottled, RetryAfter: time.Hour},
			{Name: "quota without a time", Status: 429, BodyFile: sample("community_429"), Result: reputation.ResultThrottled},
		},
	})
}

func askedAll(r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	want := `{"ips":["203.0.113.207","203.0.113.208","203.0.113.209","198.51.100.7"]}`
	if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/v3/ip") || string(body) != want {
		return fmt.Errorf("the request is %s %s %s", r.Method, r.URL, body)
	}
	return nil
}

func TestV3Contract(t *testing.T) {
	hosted := reputation.Nature{}.With(reputation.NatureTor, false).With(reputation.NatureVPN, true).
		With(reputation.NatureHosting, true).With(reputation.NatureMobile, false)
	mobile := reputation.Nature{}.With(reputation.NatureTor, false).With(reputation.NatureVPN, false).
		With(reputation.NatureHosting, false).With(reputation.NatureMobile, true)
	providertest.Run(t, providertest.Config{
		New: providertest.Module("greynoise", `{"api": "v3"}`),
		Batch: &providertest.Batch{
			Before:  `{"data":[`,
			After:   `],"request_metadata":{"restricted_fields":[],"ips_not_found":["198.51.100.7"]}}`,
			Request: askedAll,
			Entries: []providertest.Entry{
				{Addr: addr("203.0.113.207"),
					Body:   `{"ip":"203.0.113.207","internet_scanner_intelligence":{"found":true,"classification":"suspicious"}}`,
					Report: reputation.Report{Severity: .6, Confidence: .8, Categories: of(reputation.Scanner)}},
				{Addr: addr("203.0.113.208"),
					Body: `{"ip":"203.0.113.208","business_service_intelligence":{"found":true,"trust_level":"2"},` +
						`"internet_scanner_intelligence":{"found":false,"classification":""}}`,
					Report: reputation.Report{Severity: -1, Confidence: .4, Categories: of(reputation.PublicService)}},
				{Addr: addr("203.0.113.209"), Body: `{"ip":"203.0.113.209","internet_scanner_intelligence":{"found":false}}`,
					Result: reputation.ResultNotFound},
				{Addr: addr("198.51.100.7"), Result: reputation.ResultNotFound},
			},
		},
		Cases: []providertest.Case{
			{Name: "malicious", BodyFile: sample("v3_malicious"), Request: asked("/v3/ip/203.0.113.10"),
				Report: reputation.Report{Severity: .85, Confidence: .4,
					LastSeen: day(24).Add(7*time.Hour + 8*time.Minute + 9*time.Second),
					Categories: of(reputation.Abuse, reputation.Scanner, reputation.Bot, reputation.Compromised,
						reputation.BruteForce),
					Facts: reputation.Facts{Country: "BR", ASN: 64510, Nature: hosted}}},
			{Name: "suspicious", Addr: addr("203.0.113.207"), BodyFile: sample("v3_suspicious"), Report: reputation.Report{
				Severity: .6, Confidence: .8, Categories: of(reputation.Scanner),
				LastSeen: day(19).Add(10*time.Hour + 20*time.Minute + 30*time.Second),
				Facts:    reputation.Facts{Country: "TR", ASN: 64501, Nature: mobile}}},
			{Name: "business service", Addr: addr("198.51.100.8"), BodyFile: sample("v3_business"), Report: reputation.Report{
				Severity: -1, Confidence: .9, Categories: of(reputation.PublicService)}},
			{Name: "business service that is trusted less", Addr: addr("198.51.100.8"), BodyFile: sample("v3_quick"),
				Report: reputation.Report{Severity: -1, Confidence: .4, Categories: of(reputation.PublicService)}},
			{Name: "fields are left out", Status: 206,
				Body:   `{"ip":"203.0.113.10","internet_scanner_intelligence":{"found":true,"classification":"suspicious"}}`,
				Report: reputation.Report{Severity: .6, Confidence: .8, Categories: of(reputation.Scanner)}},
			{Name: "all is left out", Status: 206, Body: `{"ip":"203.0.113.10","business_service_intelligence":{"found":true}}`,
				Result: reputation.ResultRefused},
			{Name: "all is left out, of another address", Status: 206, Body: `{"ip":"203.0.113.11"}`,
				Result: reputation.ResultBadAnswer},
			{Name: "not found", Body: `{"ip":"203.0.113.10","internet_scanner_intelligence":{"found":false}}`,
				Result: reputation.ResultNotFound},
			{Name: "404 with the address", Status: 404, Body: `{"ip":"203.0.113.10"}`, Result: reputation.ResultNotFound},
			{Name: "404 with the words", Status: 404, Body: `{"message":"IP not observed scanning the internet"}`,
				Result: reputation.ResultNotFound},
			{Name: "404 of a gateway", Status: 404, Body: `{"message":"Not Found"}`, Result: reputation.ResultBadAnswer},
			{Name: "many", BodyFile: sample("v3_multi"), Result: reputation.ResultBadAnswer},
			{Name: "another address", Addr: addr("203.0.113.11"), BodyFile: sample("v3_malicious"),
				Result: reputation.ResultBadAnswer},
			{Name: "wrong key", Status: 401, BodyFile: sample("error_401"), Result: reputation.ResultRefused},
			{Name: "plan", Status: 403, Body: `{"message":"forbidden"}`, Result: reputation.ResultRefused},
		},
	})
}

// TestKeyIsOptional: without a key, community is asked without the field. A wrong key would be
// worse than none.
func TestKeyIsOptional(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, sent := r.Header["Key"]; sent {
			w.WriteHeader(http.StatusUnauthorized)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"ip":"203.0.113.10","noise":true,"classification":"benign"}`)
	}))
	t.Cleanup(service.Close)
	for api, want := range map[string]reputation.Result{"": reputation.ResultOK, v3: reputation.ResultRefused} {
		_, err := providertest.Load(t, "greynoise", service.URL, fmt.Sprintf(`{"api": %q}`, api)).Check(t.Context(), reputation.Query{Addr: addr("203.0.113.10")})
		if got := reputation.ResultOf(err); got != want {
			t.Errorf("api %q: %v", api, err)
		}
	}
}

// TestProbe: a key is tested without a question about an address.
func TestProbe(t *testing.T) {
	for _, tc := range []struct {
		key, path, body string
		status          int
		want            reputation.Result
	}{
		{"k3y-of-tests", "/ping", `{"message":"pong","offering":"community"}`, 200, reputation.ResultOK},
		{"k3y-of-tests", "/ping", `{"message":"hello"}`, 200, reputation.ResultBadAnswer},
		{"k3y-of-tests", "/ping", `"forbidden"`, 401, reputation.ResultRefused},
		{"", "/v3/community/9.9.9.9", `{"ip":"9.9.9.9","noise":false,"riot":false}`, 404, reputation.ResultOK},
		{"", "/v3/community/9.9.9.9", `{"ip":"9.9.9.9","noise":false,"riot":true}`, 200, reputation.ResultOK},
		{"", "/v3/community/9.9.9.9", `{}`, 429, reputation.ResultThrottled},
	} {
		var path string
		service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			path = r.URL.Path
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(tc.status)
			_, _ = fmt.Fprint(w, tc.body)
		}))
		err := providertest.Load(t, "greynoise", service.URL).(*GreyNoise).Probe(t.Context(), tc.key)
		service.Close()
		if got := reputation.ResultOf(err); got != tc.want || path != tc.path {
			t.Errorf("%s %d: %v, asked %s", tc.body, tc.status, err, path)
		}
	}
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile(t, "greynoise", map[string]string{
		"greynoise":               `{}`,
		"greynoise {\n api v3\n}": `{"api":"v3"}`,
	})
}

func TestSettings(t *testing.T) {
	providertest.Settings(t, "greynoise", map[string]string{`{"api": "v2"}`: "use community or v3"})
}

func TestVariants(t *testing.T) {
	var keys []reputation.KeyUse
	for _, settings := range new(GreyNoise).Variants() {
		var g GreyNoise
		if err := errors.Join(json.Unmarshal(settings, &g), g.Profile().Validate()); err != nil {
			t.Error(err)
		}
		keys = append(keys, g.Profile().Key)
	}
	if len(keys) != 2 || keys[0] != reputation.KeyOptional || keys[1] != reputation.KeyRequired {
		t.Errorf("the keys are %v", keys)
	}
}

// Whoever forgets to write a quota must not spend the plan in a day.
func TestQuota(t *testing.T) {
	for _, api := range []string{community, v3} {
		if len((&GreyNoise{API: api}).Profile().Quota) == 0 {
			t.Errorf("%s has no quota", api)
		}
	}
}
