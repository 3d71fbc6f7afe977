package abuseipdb

import (
	"bytes"
	"encoding/json"
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
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sample(name string) string { return filepath.Join("testdata", name+".json") }

func TestContract(t *testing.T) {
	const tor, hosting, mobile = reputation.NatureTor, reputation.NatureHosting, reputation.NatureMobile
	type kinds = []reputation.Kind
	abuse := reputation.CategoriesOf(reputation.Abuse)
	bad := reputation.Report{Severity: 1, Confidence: 0.9, Categories: abuse,
		Facts:    reputation.Facts{Country: "HK", Nature: providertest.Nature(kinds{hosting}, kinds{tor, mobile})},
		LastSeen: time.Date(2026, 9, 16, 18, 57, 24, 0, time.UTC)}
	busy := http.Header{"Retry-After": {"29241"}, "X-Ratelimit-Limit": {"1000"}, "X-Ratelimit-Remaining": {"0"},
		"X-Ratelimit-Reset": {"1545973200"}}
	html := http.Header{"Content-Type": {"text/html; charset=UTF-8"}}
	const page = "<!DOCTYPE html><html><body>Authentication failed</body></html>"

	providertest.Run(t, providertest.Config{
		New: providertest.Module("abuseipdb"),
		Cases: []providertest.Case{
			{Name: "bad", BodyFile: sample("check_bad"), Report: bad, Request: checkRequest},
			{Name: "JSON with a charset", BodyFile: sample("check_bad"), Report: bad,
				Header: http.Header{"Content-Type": {"application/json; charset=UTF-8"}}},
			{Name: "bad by one reporter, verbose", BodyFile: sample("check_bad_verbose"),
				Report: reputation.Report{Severity: 1, Confidence: 0.3, Categories: abuse,
					Facts:    reputation.Facts{Country: "CN", Nature: providertest.Nature(kinds{hosting}, kinds{tor, mobile})},
					LastSeen: time.Date(2018, 12, 20, 20, 55, 14, 0, time.UTC)}},
			{Name: "never reported", Addr: netip.MustParseAddr("198.51.100.7"), BodyFile: sample("check_clean_never_reported"),
				Report: reputation.Report{Severity: -1, Confidence: 0.5,
					Facts: reputation.Facts{Country: "DE", Nature: providertest.Nature(nil, kinds{tor, hosting, mobile})}}},
			{Name: "reported and score 0", Addr: netip.MustParseAddr("198.51.100.39"),
				BodyFile: sample("check_reported_but_score_zero"),
				Report: reputation.Report{Severity: 0, Confidence: 0.3,
					Facts:    reputation.Facts{Country: "CN", Nature: providertest.Nature(kinds{hosting}, kinds{tor, mobile})},
					LastSeen: time.Date(2026, 8, 31, 18, 8, 32, 0, time.UTC)}},
			{Name: "IPv6 Tor exit", Addr: netip.MustParseAddr("2001:db8::1"), BodyFile: sample("check_ipv6_tor"),
				Report: reputation.Report{Severity: 0.37, Confidence: 0.75, Categories: abuse,
					Facts:    reputation.Facts{Country: "NL", Nature: providertest.Nature(kinds{tor, hosting}, kinds{mobile})},
					LastSeen: time.Date(2026, 11, 1, 10, 11, 12, 0, time.UTC)}},
			{Name: "reserved", Addr: netip.MustParseAddr("192.0.2.1"), BodyFile: sample("check_reserved_address"),
				Result: reputation.ResultNotFound},
			{Name: "another address", Addr: netip.MustParseAddr("203.0.113.11"), BodyFile: sample("check_bad"),
				Result: reputation.ResultBadAnswer},
			{Name: "JSON that calls itself text", Header: http.Header{"Content-Type": {"text/plain"}},
				BodyFile: sample("check_bad"), Result: reputation.ResultBadAnswer},
			{Name: "202", Status: 202, BodyFile: sample("check_bad"), Result: reputation.ResultBadAnswer},
			{Name: "401", Status: 401, BodyFile: sample("error_401"), Result: reputation.ResultRefused},
			{Name: "401 page", Status: 401, Header: html, Body: page, Result: reputation.ResultRefused},
			{Name: "402", Status: 402, BodyFile: sample("error_402"), Result: reputation.ResultRefused},
			{Name: "403", Status: 403, BodyFile: sample("error_401"), Result: reputation.ResultRefused},
			{Name: "403 page", Status: 403, Header: html, Body: page, Result: reputation.ResultBadAnswer},
			{Name: "404", Status: 404, Body: `{"message":"no such route"}`, Result: reputation.ResultError},
			{Name: "422", Status: 422, BodyFile: sample("error_422_bad_ip"), Result: reputation.ResultBadAnswer},
			{Name: "429", Status: 429, Header: busy, BodyFile: sample("error_429_daily_limit"),
				Result: reputation.ResultThrottled, RetryAfter: 29241 * time.Second},
			{Name: "429 page", Status: 429, Header: html, Body: page, Result: reputation.ResultThrottled},
			{Name: "503", Status: 503, Header: html, Body: page, Result: reputation.ResultError},
		},
	})
}

func checkRequest(r *http.Request) error {
	got := []string{r.Method, r.URL.RawQuery, r.Header.Get("Accept"), r.Header.Get("User-Agent"),
		r.Header.Get("Cookie"), fmt.Sprint(r.ContentLength)}
	want := []string{"GET", "ipAddress=203.0.113.10&maxAgeInDays=30", "application/json", "caddy-ip-reputation", "", "0"}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("the request differs (-want +got):\n%s", diff)
	}
	if !strings.HasSuffix(r.URL.Path, "/check") || r.Header.Get("Key") == "" {
		return fmt.Errorf("the path is %s and the key has %d bytes", r.URL.Path, len(r.Header.Get("Key")))
	}
	return nil
}

func TestErrorsHelp(t *testing.T) {
	const key = "0123456789abcdef"
	for _, tc := range []struct {
		name, key string
		status    int
		body      string
		want      string
	}{
		{"no key", "", 200, ``, "there is none, set the key option"},
		{"a line break in the key", key + "\n", 200, ``, "such as a line break"},
		{"detail", key, 401, `{"errors":[{"detail":"Your API key is\n revoked.","status":401}]}`, "status 401: Your API key is  revoked."},
		{"long detail", key, 422, `{"errors":[{"detail":"` + strings.Repeat("ä", 300) + strings.Repeat("x", 300) + `"}]}`,
			"status 422: " + strings.Repeat("x", 200)},
		{"key in the detail", key, 401, `{"errors":[{"detail":"bad key ` + strings.ToUpper(key) + `"}]}`, "status 401"},
		{"address in the detail", key, 422, `{"errors":[{"detail":"ip:2001:DB8:0:0::7 is bad"}]}`, "status 422"},
		{"no detail", key, 500, `oops`, "no answer, status 500"},
		{"no score", key, 200, `{"data":{"ipAddress":"2001:db8::7"}}`, `there is no "abuseConfidenceScore"`},
		{"score as text", key, 200, `{"data":{"abuseConfidenceScore":"100"}}`, `"data.abuseConfidenceScore" is of another type`},
		{"redirect", key, 301, ``, "status 301, check the url option"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.body))
			}))
			t.Cleanup(server.Close)
			a := providertest.Load(t, "abuseipdb", server.URL)
			_, err := a.Check(t.Context(), reputation.Query{Addr: netip.MustParseAddr("2001:db8::7"), Key: tc.key})
			if err == nil || !strings.HasPrefix(err.Error(), "asking AbuseIPDB: ") || !strings.HasSuffix(err.Error(), tc.want) {
				t.Errorf("the error is %v, want it to end in %q", err, tc.want)
			}
		})
	}
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile(t, "abuseipdb", map[string]string{
		"abuseipdb":      `{}`,
		"abuseipdb {\n}": `{}`,
		"abuseipdb {\n url http://127.0.0.1:8081/api\n max_age 90\n}": `{"url":"http://127.0.0.1:8081/api","max_age_days":90}`,
		"abuseipdb https://example.org":                               "unexpected argument 'https://example.org' after abuseipdb",
		"abuseipdb {\n verbose\n}":                                    "unknown option 'verbose': abuseipdb has url and max_age",
		"abuseipdb {\n max_age 9 {\n url x\n }\n}":                    "unknown option '{'",
		"abuseipdb {\n max_age 9\n max_age 9\n}":                      "max_age is set twice for abuseipdb: remove one, at Testfile:3",
		"abuseipdb {\n max_age\n}":                                    "max_age of abuseipdb takes exactly one value, such as 30",
		"abuseipdb {\n url a b\n}":                                    "url of abuseipdb takes exactly one value, such as https://",
		"abuseipdb {\n max_age 30d\n}":                                "max_age '30d' of abuseipdb is no number of days: use a whole number from 1 to 365",
		"abuseipdb {\n max_age 0\n}":                                  "the max_age of abuseipdb is 0 days: it must be from 1 to 365",
		"abuseipdb {\n max_age 366\n}":                                "366 days: it must be from 1 to 365, at Testfile:2",
		"abuseipdb {\n url \"\"\n}":                                   "the url of abuseipdb is empty",
	})
}

func TestSettings(t *testing.T) {
	providertest.Settings(t, "abuseipdb", map[string]string{
		`{"max_age_days":-1}`: "-1 days: it must be from 1 to 365",
		`{"key":"x"}`:         "unknown field",
	})
}

func TestAddress(t *testing.T) {
	t.Setenv("ABUSEIPDB_TEST_PORT", "8081")
	for settings, want := range map[string]string{ // what the service is asked for 203.0.113.10
		`{}`: "https://api.abuseipdb.com/api/v2/check?ipAddress=203.0.113.10&maxAgeInDays=30",
		`{"url":"http://localhost/v2/","max_age_days":365}`:// with a slash at the end
		"http://localhost/v2/check?ipAddress=203.0.113.10&maxAgeInDays=365",
		`{"url":"http://gateway.example:{env.ABUSEIPDB_TEST_PORT}"}`: "http://gateway.example:8081/check?" +
			"ipAddress=203.0.113.10&maxAgeInDays=30",
	} {
		a := providertest.Load(t, "abuseipdb", "", settings).(*AbuseIPDB)
		question := a.question(reputation.Query{Addr: asked, Key: "k"})
		if got, err := a.Target(&question); err != nil || got.String() != want {
			t.Errorf("%s asks %s (%v), want %s", settings, got, err, want)
		}
		// what was resolved does not go back into the configuration
		if out, _ := json.Marshal(a); strings.Contains(string(out), "8081") {
			t.Errorf("the configuration became %s", out)
		}
	}
}

func TestTerms(t *testing.T) {
	p := new(AbuseIPDB).Profile()
	if diff := cmp.Diff([]any{[]string{"1000/day"}, 6 * time.Hour, 24 * time.Hour}, []any{p.Quota, p.ListedTTL, p.CleanTTL}); diff != "" {
		t.Error(diff)
	}
}

// TestScores: what the profile weighs gives the scores that the source must give, alone.
func TestScores(t *testing.T) {
	for _, tc := range []struct {
		name     string
		changes  changes
		min, max float64
	}{
		{"100 by 60 reporters", changes{"abuseConfidenceScore": 100, "totalReports": 60, "numDistinctUsers": 60}, 85, 92},
		{"100 by one reporter", changes{"abuseConfidenceScore": 100, "totalReports": 1, "numDistinctUsers": 1}, 2, 14.4},
		{"50 by 10 reporters", changes{"abuseConfidenceScore": 50, "totalReports": 10, "numDistinctUsers": 10}, 8, 25},
		{"never reported", nil, 0, .99},
	} {
		report, err := parse(answerWith(tc.changes), asked)
		if err != nil {
			t.Fatal(err)
		}
		if got := providertest.Score(new(AbuseIPDB).Profile(), report); got < tc.min || got > tc.max {
			t.Errorf("%s: %.2f %%, want %v to %v", tc.name, got, tc.min, tc.max)
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

// A probe passes if the service takes the key: that it calls the address reserved is an answer.
func TestProbe(t *testing.T) {
	for name, want := range map[string]reputation.Result{
		"check_reserved_address": reputation.ResultOK, "error_401": reputation.ResultRefused,
	} {
		body, err := os.ReadFile(sample(name))
		if err != nil {
			t.Fatal(err)
		}
		var asked string
		service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = r.URL.Query().Get("ipAddress")
			w.Header().Set("Content-Type", "application/json")
			if want == reputation.ResultRefused {
				w.WriteHeader(http.StatusUnauthorized)
			}
			_, _ = w.Write(bytes.ReplaceAll(body, []byte("192.0.2.1"), []byte(asked)))
		}))
		err = providertest.Load(t, "abuseipdb", service.URL).(*AbuseIPDB).Probe(t.Context(), "0123456789abcdef")
		service.Close()
		if got := reputation.ResultOf(err); got != want || asked != "127.0.0.1" {
			t.Errorf("%s: %v, asked about %q", name, err, asked)
		}
	}
}
