package iprepd

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

	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var asked = netip.MustParseAddr("203.0.113.10")

func sample(name string) string { return filepath.Join("testdata", name+".json") }

func TestContract(t *testing.T) {
	abuse := reputation.CategoriesOf(reputation.Abuse)
	providertest.Run(t, providertest.Config{
		NoKey:    true, // it may be left out
		NotFound: true,
		New:      providertest.Module("iprepd"),
		Cases: []providertest.Case{
			{
				Name: "found", BodyFile: sample("found"),
				Report: reputation.Report{
					Severity: .6, Confidence: .9, Categories: abuse, LastSeen: time.Date(2026, 11, 29, 8, 9, 10, 111e6, time.UTC),
				},
				Request: func(r *http.Request) error {
					if !strings.HasSuffix(r.URL.Path, "/type/ip/203.0.113.10") ||
						!strings.HasPrefix(r.Header.Get("Authorization"), "APIKey ") {
						return fmt.Errorf("asked %s %s", r.Method, r.URL)
					}
					return nil
				},
			},
			{
				Name: "reviewed", Addr: netip.MustParseAddr("203.0.113.20"), BodyFile: sample("reviewed"),
				Report: reputation.Report{
					Severity: 1, Confidence: 1, Categories: abuse, LastSeen: time.Date(2026, 11, 20, 8, 9, 10, 0, time.UTC),
				},
			},
			{
				Name: "recovered", Addr: netip.MustParseAddr("203.0.113.30"), BodyFile: sample("recovered"),
				Report: reputation.Report{Confidence: .9, LastSeen: time.Date(2026, 11, 10, 0, 0, 0, 0, time.UTC)},
			},
			{
				Name: "network", Addr: netip.MustParseAddr("2001:db8:1:2:3:4:5:6"), BodyFile: sample("network"),
				Report: reputation.Report{
					Severity: .25, Confidence: .9, Categories: abuse, LastSeen: time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC),
				},
			},
			{
				Name: "another network", Addr: netip.MustParseAddr("2001:db8:1:3::1"), BodyFile: sample("network"),
				Result: reputation.ResultBadAnswer,
			},
			{
				Name: "another address", Addr: netip.MustParseAddr("203.0.113.11"), BodyFile: sample("found"),
				Result: reputation.ResultBadAnswer,
			},
			{Name: "unknown", Status: 404, Header: http.Header{"Content-Type": {""}}, Result: reputation.ResultNotFound},
			{Name: "no address", Status: 400, Result: reputation.ResultError},
			{Name: "wrong key", Status: 401, Result: reputation.ResultRefused},
			{Name: "its Redis is away", Status: 500, Result: reputation.ResultError},
			{Name: "no reputation", Body: `{"object":"203.0.113.10","type":"ip"}`, Result: reputation.ResultBadAnswer},
			{
				Name: "null", Body: `{"object":"203.0.113.10","type":"ip","reputation":null}`,
				Result: reputation.ResultBadAnswer,
			},
			{
				Name: "below 0", Body: `{"object":"203.0.113.10","type":"ip","reputation":-1}`,
				Result: reputation.ResultBadAnswer,
			},
			{
				Name: "above 100", Body: `{"object":"203.0.113.10","type":"ip","reputation":101}`,
				Result: reputation.ResultBadAnswer,
			},
			{
				Name: "a fraction", Body: `{"object":"203.0.113.10","type":"ip","reputation":9.5}`,
				Result: reputation.ResultBadAnswer,
			},
			{
				Name: "an e-mail address", Body: `{"object":"203.0.113.10","type":"email","reputation":9}`,
				Result: reputation.ResultBadAnswer,
			},
			{
				Name: "a wrong time", Body: `{"object":"203.0.113.10","type":"ip","reputation":9,"lastupdated":"today"}`,
				Result: reputation.ResultBadAnswer,
			},
		},
	})
}

func TestIsAbout(t *testing.T) {
	for _, tc := range []struct {
		object, asked string
		want          bool
	}{
		{"203.0.113.10", "203.0.113.10", true}, {"203.0.113.0", "203.0.113.10", false},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6", true}, {"2001:db8:1::", "2001:db8:1:2::7", true},
		{"2001:db8::", "2001:db8:1:2::7", true}, {"2001::", "2001:db8:1:2::7", false}, {"::", "2001:db8:1:2::7", false},
		{"2001:db8:1:2::6", "2001:db8:1:2::8", false}, {"2001:db8:1:2::", "2001:db8:1:3::7", false},
		{"2001:db8:1:2::%eth0", "2001:db8:1:2::7", false}, {"", "203.0.113.10", false},
	} {
		if got := isAbout(tc.object, netip.MustParseAddr(tc.asked)); got != tc.want {
			t.Errorf("%s is about %s: %t", tc.object, tc.asked, got)
		}
	}
}

// TestScores holds the scores that the documentation names, for whoever knows thresholds of reputations.
func TestScores(t *testing.T) {
	for points, want := range map[int]float64{0: 95, 25: 73, 50: 29, 75: 6} {
		r, err := parse(fmt.Appendf(nil, `{"object":"203.0.113.10","type":"ip","reputation":%d}`, points), asked)
		if err != nil {
			t.Fatal(err)
		}
		if got := providertest.Score(new(Iprepd).Profile(), r); got < want-.5 || got > want+.5 {
			t.Errorf("a reputation of %d gives %.2f %%, want %v", points, got, want)
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

// TestProbe: a daemon passes that lists its violations, and a wrong url or key is told from one that knows nobody.
func TestProbe(t *testing.T) {
	violations, err := os.ReadFile(sample("violations"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		key, body string
		want      reputation.Result
	}{
		"violations":   {"good", string(violations), reputation.ResultOK},
		"none":         {"good", "null", reputation.ResultOK},
		"another key":  {"bad", string(violations), reputation.ResultRefused},
		"no key":       {"", string(violations), reputation.ResultRefused},
		"another url":  {"good", "", reputation.ResultBadAnswer},
		"another JSON": {"good", `{"status":"ok"}`, reputation.ResultBadAnswer},
	} {
		daemon := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			switch {
			case r.URL.Path != "/violations" || tc.body == "":
				w.WriteHeader(http.StatusNotFound)
			case r.Header.Get("Authorization") != "APIKey good":
				w.WriteHeader(http.StatusUnauthorized)
			default:
				fmt.Fprint(w, tc.body)
			}
		}))
		t.Cleanup(daemon.Close)
		i := providertest.Load(t, "iprepd", daemon.URL).(*Iprepd)
		if err := i.Probe(t.Context(), tc.key); reputation.ResultOf(err) != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
}

func TestSettings(t *testing.T) {
	providertest.Settings(t, "iprepd", map[string]string{
		`{"url":"http://iprepd:8080"}`:           "",
		`{"url":"https://iprepd.example.com/x"}`: "",
		`{}`:                                     "iprepd has no url: set it to the address of your service, such as " + exampleURL,
		`{"url":"iprepd:8080"}`:                  `its scheme is "iprepd"`,
	})
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile(t, "iprepd", map[string]string{
		"iprepd {\n url http://10.0.0.5:8080\n}": `{"url":"http://10.0.0.5:8080"}`,
		"iprepd":                                 "write that of your daemon, such as `url http://10.0.0.5:8080`, at Testfile:1",
		"iprepd {\n}":                            "the url of iprepd is missing",
		"iprepd {\n hawk x\n}":                   `unknown option "hawk" of iprepd: use one of url, at Testfile:2`,
		"iprepd {\n url a b\n}":                  "an address such as http://10.0.0.5:8080",
	})
}

func FuzzAnswer(f *testing.F) {
	providertest.Fuzz(f, providertest.Reader{
		Read: parse, Capabilities: new(Iprepd).Profile().Capabilities,
		Severity: providertest.Range{Most: 1}, Confidence: providertest.Range{Least: .9, Most: 1},
	})
}
