package abuseipdb

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestReportContract(t *testing.T) {
	html := http.Header{"Content-Type": {"text/html; charset=UTF-8"}}
	answer := func(name string, status int, body string, header http.Header) providertest.Case {
		c := providertest.Case{Name: name, Status: status, Header: header, Request: checkReport}
		if strings.HasPrefix(body, "{") || strings.HasPrefix(body, "<") {
			c.Body = body
		} else {
			c.BodyFile = sample(body)
		}
		return c
	}
	paused := func(c providertest.Case, pause time.Duration) providertest.Case {
		c.RetryAfter = pause
		return c
	}
	const same, spent = "error_429_same_address", "error_429_daily_limit"
	providertest.RunReports(t, providertest.Config{
		New: providertest.Module("abuseipdb"),
	},
		providertest.ReportCase{Case: answer("stored", 200, "report_ok", nil)},
		// the same report may be refused with any of these statuses
		providertest.ReportCase{Case: answer("again, 429", 429, same, nil), Err: reputation.ErrDuplicate},
		providertest.ReportCase{Case: answer("again, 403", 403, same, nil), Err: reputation.ErrDuplicate},
		providertest.ReportCase{Case: answer("again, 422", 422, same, nil), Err: reputation.ErrDuplicate},
		providertest.ReportCase{Case: answer("again, with a time to wait", 429, same, http.Header{"Retry-After": {"900"}}),
			Err: reputation.ErrDuplicate},
		// and a spent quota is about all reports
		providertest.ReportCase{Case: paused(answer("spent", 429, spent, http.Header{"Retry-After": {"29241"}}), 29241*time.Second)},
		providertest.ReportCase{Case: paused(answer("spent, page", 429, "<p>Too many requests", http.Header{
			"Content-Type": {"text/html"}, "Retry-After": {"60"}}), time.Minute)},
		providertest.ReportCase{Case: answer("bad address", 422, "error_422_bad_ip", nil), Err: reputation.ErrRejected},
		providertest.ReportCase{Case: answer("bad category", 422,
			`{"errors":[{"detail":"The categories are invalid.","status":422,"source":{"parameter":"categories"}}]}`, nil),
			Err: reputation.ErrRejected},
		providertest.ReportCase{Case: answer("401", 401, "error_401", nil), Err: reputation.ErrRefused},
		providertest.ReportCase{Case: answer("402", 402, "error_402", nil), Err: reputation.ErrRefused},
		providertest.ReportCase{Case: answer("403", 403, "error_401", nil), Err: reputation.ErrRefused},
		providertest.ReportCase{Case: answer("403 page", 403, "<p>Forbidden", html), Err: reputation.ErrBadAnswer},
		providertest.ReportCase{Case: answer("another address", 200,
			`{"data":{"ipAddress":"203.0.113.11","abuseConfidenceScore":7}}`, nil), Err: reputation.ErrBadAnswer},
		providertest.ReportCase{Case: answer("nature alone", 200, "report_ok", nil),
			Categories: reputation.CategoriesOf(reputation.Tor, reputation.VPN, reputation.Hosting), Err: reputation.ErrUnsupported},
	)
}

// checkReport checks the form that is sent.
func checkReport(r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return err
	}
	want := url.Values{
		"ip": {"203.0.113.10"}, "categories": {"15"}, "timestamp": {"2026-11-30T12:00:00Z"},
		"comment": {"14 requests in 60 s: vulnerability scan; e.g. /.env"},
	}
	if diff := cmp.Diff(want, form); diff != "" {
		return fmt.Errorf("the form (-want +got):\n%s", diff)
	}
	switch {
	case r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/report") || r.URL.RawQuery != "":
		return fmt.Errorf("the request is %s %s", r.Method, r.URL)
	case r.Header.Get("Key") == "" || r.Header.Get("Accept") != "application/json":
		return errors.New("the key or Accept is missing")
	case r.Header.Get("Content-Type") != "application/x-www-form-urlencoded":
		return fmt.Errorf("the content type is %q", r.Header.Get("Content-Type"))
	}
	return nil
}

// TestNumbers: each of our categories in the service's numbers. A wrong number is a wrong accusation.
func TestNumbers(t *testing.T) {
	alone := map[reputation.Category][]int{
		reputation.Abuse: {15}, reputation.Scanner: {21}, reputation.BruteForce: {18, 21}, reputation.WebAttack: {21},
		reputation.Spam: {10}, reputation.Bot: {19}, reputation.DDoS: {4},
		reputation.Compromised: {15, 20}, reputation.Malware: {15, 20}, reputation.BotnetC2: {15, 20},
	}
	set := reputation.Categories(1<<32 - 1)
	for c := range set.All() {
		if diff := cmp.Diff(alone[c], numbers(reputation.CategoriesOf(c))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c, diff)
		}
		if takes := reports().Categories.Has(c); takes != (alone[c] != nil) {
			t.Errorf("the profile says of %s: %t", c, takes)
		}
	}
	for _, tc := range []struct {
		categories reputation.Categories
		want       []int
	}{
		{reputation.CategoriesOf(reputation.Scanner, reputation.Tor), []int{9, 21}},
		{reputation.CategoriesOf(reputation.Scanner, reputation.Proxy, reputation.Tor), []int{9, 21}},
		{reputation.CategoriesOf(reputation.Spam, reputation.VPN, reputation.Hosting), []int{10, 13}},
		{reputation.CategoriesOf(reputation.BruteForce, reputation.Compromised), []int{15, 18, 20, 21}},
		{reputation.CategoriesOf(reputation.Tor, reputation.Proxy, reputation.VPN), nil},
		{0, nil},
	} {
		if got := numbers(tc.categories); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.categories, got, tc.want)
		}
	}
}

func TestSpentUntilMidnight(t *testing.T) {
	now := time.Date(2026, 11, 30, 21, 30, 0, 0, time.FixedZone("", 3600))
	for given, want := range map[time.Duration]time.Duration{
		0:         3*time.Hour + 30*time.Minute,
		time.Hour: time.Hour,
	} {
		throttled, ok := errors.AsType[*reputation.ThrottledError](untilMidnight(&reputation.ThrottledError{RetryAfter: given}, now))
		if !ok || throttled.RetryAfter != want {
			t.Errorf("of %s: %v, want %s", given, throttled, want)
		}
	}
}

// TestSpentWithoutHeaders: the pause lasts for the rest of the day, by the text alone.
func TestSpentWithoutHeaders(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"errors":[{"detail":"Daily rate limit of 1000 requests exceeded for this endpoint.","status":429}]}`)
	}))
	t.Cleanup(server.Close)
	err := providertest.Load(t, "abuseipdb", server.URL).(*AbuseIPDB).Report(t.Context(), "k", reputation.Incident{
		Addr: netip.MustParseAddr("203.0.113.10"), Categories: reputation.CategoriesOf(reputation.Spam), At: time.Now(),
	})
	throttled, ok := errors.AsType[*reputation.ThrottledError](err)
	if !ok || throttled.RetryAfter <= 0 || throttled.RetryAfter > 24*time.Hour {
		t.Errorf("the error is %v", err)
	}
}
