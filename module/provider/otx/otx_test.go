package otx

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
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

var asked = netip.MustParseAddr("203.0.113.10")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// now is when the fixtures are read.
var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// atNow returns a provider whose clock stands still.
func atNow(tb testing.TB, baseURL string) reputation.Provider {
	tb.Helper()
	o := providertest.Load(tb, "otx", baseURL).(*OTX)
	o.now = func() time.Time { return now }
	return o
}

func sample(name string) string { return filepath.Join("testdata", name+".json") }

// withPulses returns an answer about 203.0.113.10 with these pulses.
func withPulses(pulses ...string) string {
	return `{"indicator":"203.0.113.10","pulse_info":{"pulses":[` + strings.Join(pulses, ",") + `]}}`
}

// by returns a pulse that counts.
func by(author string, tags ...string) string {
	text, _ := json.Marshal(tags)
	return fmt.Sprintf(`{"modified":"2026-11-01T00:00:00.000000","tags":%s,"author":{"username":%q}}`, text, author)
}

// parse returns what a body says about addr.
func parse(body []byte, addr netip.Addr) (reputation.Report, error) {
	var a answer
	if err := rest.Decode(body, &a); err != nil {
		return reputation.Report{}, err
	}
	return a.report(addr, now)
}

func TestContract(t *testing.T) {
	facts := reputation.Facts{Country: "NL", ASN: 64502}
	html := http.Header{"Content-Type": {"text/html"}}
	const page = "<html><body>blocked</body></html>"
	asks := func(path string) func(r *http.Request) error {
		return func(r *http.Request) error {
			if !strings.HasSuffix(r.URL.Path, path) || r.URL.RawQuery != "" || r.Header.Get("X-Otx-Api-Key") == "" {
				return fmt.Errorf("asked %s %s", r.Method, r.URL)
			}
			return nil
		}
	}
	providertest.Run(t, providertest.Config{
		New: atNow,
		Cases: []providertest.Case{
			{
				Name: "in no pulse", Addr: netip.MustParseAddr("198.51.100.10"), BodyFile: sample("general_none"),
				Report: reputation.Report{Facts: facts},
			},
			{
				Name: "three pulses of two authors", BodyFile: sample("general_pulses"),
				Report: reputation.Report{
					Severity: 0.4, Confidence: 0.4, Facts: facts,
					Categories: reputation.CategoriesOf(reputation.Abuse, reputation.BruteForce),
				},
				Request: asks("/indicators/IPv4/203.0.113.10/general"),
			},
			{
				Name: "one pulse, activity not stated", Addr: netip.MustParseAddr("203.0.113.20"),
				BodyFile: sample("general_one_pulse"),
				Report: reputation.Report{
					Severity: 0.25, Confidence: 0.3, Facts: facts, Categories: reputation.CategoriesOf(reputation.Abuse),
				},
			},
			{
				Name: "IPv6", Addr: netip.MustParseAddr("2001:db8::10"), BodyFile: sample("general_ipv6"),
				Report: reputation.Report{Facts: facts}, Request: asks("/indicators/IPv6/2001:db8::10/general"),
			},
			{
				Name: "validated", Addr: netip.MustParseAddr("198.51.100.20"), BodyFile: sample("general_validated"),
				Report: reputation.Report{Severity: -1, Confidence: 0.5, Facts: facts},
			},
			{
				Name: "false positive", Addr: netip.MustParseAddr("198.51.100.30"), BodyFile: sample("general_false_positive"),
				Report: reputation.Report{Facts: facts},
			},
			{
				Name: "another address", Addr: netip.MustParseAddr("203.0.113.11"), BodyFile: sample("general_pulses"),
				Result: reputation.ResultBadAnswer,
			},
			{Name: "another section", BodyFile: sample("reputation_none"), Result: reputation.ResultBadAnswer},
			{
				Name: "no pulses", Body: `{"indicator":"203.0.113.10","pulse_info":{"count":0}}`,
				Result: reputation.ResultBadAnswer,
			},
			{
				Name: "pulses are no list", Body: `{"indicator":"203.0.113.10","pulse_info":{"pulses":{"0":{}}}}`,
				Result: reputation.ResultBadAnswer,
			},
			{Name: "400", Status: 400, BodyFile: sample("error_400"), Result: reputation.ResultError},
			{Name: "403", Status: 403, BodyFile: sample("error_403"), Result: reputation.ResultRefused},
			{Name: "403 page", Status: 403, Header: html, Body: page, Result: reputation.ResultBadAnswer},
			{Name: "404", Status: 404, Body: `{"indicator":"203.0.113.10"}`, Result: reputation.ResultNotFound},
			{Name: "404 without the address", Status: 404, Body: `{"detail":"not found"}`, Result: reputation.ResultBadAnswer},
			{Name: "404 page", Status: 404, Header: html, Body: page, Result: reputation.ResultBadAnswer},
			{Name: "429", Status: 429, BodyFile: sample("error_429"), Result: reputation.ResultThrottled},
			{
				Name: "301 to a slash", Status: 301, Header: http.Header{"Location": {"general/"}},
				Result: reputation.ResultBadAnswer,
			},
		},
	})
}

// TestEvidence: pulses give the severity, their authors the confidence, and single authors no precise category.
func TestEvidence(t *testing.T) {
	many := func(n, authors int) (all []string) {
		for i := range n {
			all = append(all, by(fmt.Sprint(i%authors)))
		}
		return all
	}
	for _, tc := range []struct {
		name                 string
		pulses               []string
		severity, confidence float64
		categories           string
	}{
		{"none", nil, 0, 0, ""},
		{"one", many(1, 1), .25, .3, "abuse"},
		{"four of one author", many(4, 1), .4, .3, "abuse"},
		{"five of two authors", many(5, 2), .55, .4, "abuse"},
		{"nine of three authors", many(9, 3), .55, .5, "abuse"},
		{"fifty of five authors", many(50, 5), .7, .6, "abuse"},
		{"without authors", []string{by(""), by("")}, .4, .3, "abuse"},
		{"one author's tags", []string{by("a", "c2", "spam"), by("a", "C2")}, .4, .3, "abuse"},
		{"two authors' tags", []string{by("a", "c2", "spam"), by("b", " C2 ")}, .4, .4, "abuse, botnet_c2"},
		{"old", []string{`{"modified":"2026-05-01T00:00:00","author":{"username":"a"}}`}, 0, 0, ""},
		{"from the future", []string{`{"modified":"2126-11-01T00:00:00","author":{"username":"a"}}`}, 0, 0, ""},
		{"of tomorrow", []string{`{"modified":"2126-11-01T00:00:00","created":"2026-11-01T00:00:00"}`}, 0, 0, ""},
		{"created lately", []string{`{"created":"2026-11-01T00:00:00"}`}, .25, .3, "abuse"},
		{"no date", []string{`{"author":{"username":"a"}}`, `{"modified":"yesterday"}`}, 0, 0, ""},
		{"families in both forms", []string{
			strings.Replace(by("a"), "{", `{"malware_families":["Mirai"],`, 1),
			strings.Replace(by("b"), "{", `{"malware_families":[{"id":"Mirai"}],`, 1),
		}, .4, .4, "abuse, malware"},
	} {
		r, err := parse([]byte(withPulses(tc.pulses...)), asked)
		if err != nil || r.Severity != tc.severity || r.Confidence != tc.confidence ||
			r.Categories.String() != tc.categories {
			t.Errorf("%s: severity %g, confidence %g, categories %q, %v; want %g, %g, %q", tc.name, r.Severity, r.Confidence,
				r.Categories, err, tc.severity, tc.confidence, tc.categories)
		}
	}
}

// TestNeverAlone: whatever OTX says, it is far from the score at which sites block.
func TestNeverAlone(t *testing.T) {
	r := reputation.Report{Severity: severity(50), Confidence: confidence(50)}
	if got := providertest.Score(new(OTX).Profile(), r); got < 3 || got > 15 {
		t.Errorf("the most that OTX can say gives %.2f %%, want 3 to 15", got)
	}
}

// TestFullSize: fifty long pulses are read, and a 403 says that it may be about something else than the key.
func TestFullSize(t *testing.T) {
	long := make([]string, 50)
	for i := range long {
		long[i] = strings.Replace(by(fmt.Sprint(i)), "{", `{"description":"`+strings.Repeat("x", 15<<10)+`",`, 1)
	}
	large := withPulses(long...)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(r.URL.Path, "/203.0.113.10/") {
			fmt.Fprint(w, large)
			return
		}
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"detail":"Authentication required"}`)
	}))
	t.Cleanup(service.Close)
	o := atNow(t, service.URL)
	q := reputation.Query{Addr: netip.MustParseAddr("203.0.113.10"), Key: "0123456789abcdef"}
	if r, err := o.Check(t.Context(), q); err != nil || r.Severity != 0.7 {
		t.Errorf("of %d bytes: %v, %v", len(large), r.Severity, err)
	}
	q.Addr = netip.MustParseAddr("203.0.113.11")
	const want = "asking OTX: the service refused the key: status 403, " +
		"which may also mean that too much was asked: Authentication required"
	if _, err := o.Check(t.Context(), q); err == nil || err.Error() != want {
		t.Errorf("the error is %v, want %s", err, want)
	}
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile(t, "otx", map[string]string{
		"otx":                    `{}`,
		"otx {\n section geo\n}": `unknown option "section" of otx: use one of url, at Testfile:2`,
		"otx {\n url\n}":         "an address such as https://otx.alienvault.com/api/v1",
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(withPulses(by("a", "c2"), by("b", "c2"))), asked.String())
	providertest.Fuzz(f, providertest.Reader{
		Read: parse, Capabilities: new(OTX).Profile().Capabilities,
		Severity: providertest.Range{Least: -1, Most: .7}, Confidence: providertest.Range{Most: .6},
	})
}
