package stopforumspam

import (
	"errors"
	"fmt"
	"net/http"
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
	spam := reputation.CategoriesOf(reputation.Spam)
	html := http.Header{"Content-Type": {"text/html"}}
	providertest.Run(t, providertest.Config{
		NoKey: true,
		New:   providertest.Module("stopforumspam"),
		Cases: []providertest.Case{
			{
				Name: "listed", BodyFile: sample("listed"),
				Report: reputation.Report{
					Severity: .9875, Confidence: .6, Categories: spam, Facts: reputation.Facts{Country: "RU", ASN: 64503},
					LastSeen: time.Date(2026, 11, 28, 8, 15, 30, 0, time.UTC),
				},
				Request: func(r *http.Request) error {
					if !strings.HasSuffix(r.URL.Path, "/api") || r.URL.RawQuery != "confidence=&ip=203.0.113.10&json=" {
						return fmt.Errorf("asked %s %s", r.Method, r.URL)
					}
					return nil
				},
			},
			{
				Name: "no value, no ASN", NoAddress: true, Addr: netip.MustParseAddr("203.0.113.40"), BodyFile: sample("asn_null"),
				Report: reputation.Report{
					Severity: .525, Confidence: .5, Categories: spam, Facts: reputation.Facts{Country: "UA"},
					LastSeen: time.Date(2021, 5, 6, 7, 8, 9, 0, time.UTC),
				},
			},
			{
				Name: "blacklisted", Addr: netip.MustParseAddr("203.0.113.20"), BodyFile: sample("blacklisted"),
				Report: reputation.Report{
					Severity: .95, Confidence: .6, Categories: spam, LastSeen: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC),
				},
			},
			{
				Name: "Tor exit", Addr: netip.MustParseAddr("203.0.113.30"), BodyFile: sample("tor"),
				Report: reputation.Report{
					Severity: .33, Confidence: .3, Categories: spam, LastSeen: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC),
					Facts: reputation.Facts{
						Country: "DE", ASN: 64504, Nature: reputation.Nature{}.With(reputation.NatureTor, true),
					},
				},
			},
			{
				Name: "not listed", Addr: netip.MustParseAddr("198.51.100.10"), BodyFile: sample("clean"),
				Report: reputation.Report{Facts: reputation.Facts{Country: "SE", ASN: 64505}},
			},
			{Name: "IPv6", Addr: netip.MustParseAddr("2001:db8::10"), BodyFile: sample("ipv6")},
			{
				Name: "another address", Addr: netip.MustParseAddr("203.0.113.11"), BodyFile: sample("listed"),
				Result: reputation.ResultBadAnswer,
			},
			{Name: "an error", BodyFile: sample("error"), Result: reputation.ResultBadAnswer},
			{Name: "a limit", Body: `{"success":0,"error":"Rate limit exceeded"}`, Result: reputation.ResultThrottled},
			{
				Name: "a limit with a pause", Body: `{"success":0,"error":"daily limit"}`,
				Header: http.Header{"Retry-After": {"60"}}, Result: reputation.ResultThrottled, RetryAfter: time.Minute,
			},
			{Name: "several entries", BodyFile: sample("multi"), Result: reputation.ResultBadAnswer},
			{Name: "blocked", Status: 403, Header: html, Body: "<html></html>", Result: reputation.ResultBadAnswer},
			{Name: "429", Status: 429, Body: `{}`, Result: reputation.ResultThrottled},
			{Name: "503", Status: 503, Header: html, Body: "<html></html>", Result: reputation.ResultError},
		},
		Batch: batch(t),
	})
}

// batch describes answers about several addresses.
func batch(t *testing.T) *providertest.Batch {
	t.Helper()
	file, err := os.ReadFile(sample("multi"))
	if err != nil {
		t.Fatal(err)
	}
	before, entries, _ := strings.Cut(strings.TrimSpace(string(file)), "[")
	entries, after, _ := strings.Cut(entries, "]")
	listed, clean, _ := strings.Cut(entries, "},")
	return &providertest.Batch{
		Before: before + "[", After: "]" + after,
		Entries: []providertest.Entry{
			{
				Addr: asked, Body: listed + "}",
				Report: reputation.Report{
					Severity: .9875, Confidence: .6, Categories: reputation.CategoriesOf(reputation.Spam),
					LastSeen: time.Date(2026, 11, 28, 8, 15, 30, 0, time.UTC),
				},
			},
			{Addr: netip.MustParseAddr("198.51.100.10"), Body: clean},
			{
				Addr: netip.MustParseAddr("203.0.113.40"), Body: `{"value":"203.0.113.40","appears":1,"frequency":9}`,
				Result: reputation.ResultBadAnswer,
			},
		},
		Request: func(r *http.Request) error {
			const want = "confidence=&ip%5B%5D=203.0.113.10&ip%5B%5D=198.51.100.10&ip%5B%5D=203.0.113.40&json="
			if r.URL.RawQuery != want {
				return fmt.Errorf("asked %s", r.URL.RawQuery)
			}
			return nil
		},
		Cases: []providertest.Case{
			{Name: "an error", BodyFile: sample("error"), Result: reputation.ResultBadAnswer},
			{Name: "a limit", Body: `{"success":0,"error":"Rate limit exceeded"}`, Result: reputation.ResultThrottled},
			{Name: "no success", Body: `{"ip":[]}`, Result: reputation.ResultBadAnswer},
			{Name: "one entry and no list", BodyFile: sample("listed"), Result: reputation.ResultBadAnswer},
		},
	}
}

// parse returns what a body says about addr.
func parse(body []byte, addr netip.Addr) (reputation.Report, error) {
	var a answer
	if err := rest.Decode(body, &a); err != nil {
		return reputation.Report{}, err
	}
	return a.IP.report(addr)
}

func TestNoVerdictOutOfNonsense(t *testing.T) {
	for name, entry := range map[string]string{
		"nothing":                    `null`,
		"no appears":                 `{"frequency":9,"confidence":99}`,
		"appears of another number":  `{"appears":2,"frequency":9,"confidence":99}`,
		"appears is a text":          `{"appears":"yes","frequency":9,"confidence":99}`,
		"no frequency":               `{"appears":1,"confidence":99}`,
		"frequency below 0":          `{"appears":1,"frequency":-1,"confidence":99}`,
		"no confidence":              `{"appears":1,"frequency":9}`,
		"confidence above 100":       `{"appears":1,"frequency":9,"confidence":100.1}`,
		"confidence below 0":         `{"appears":1,"frequency":9,"confidence":-1}`,
		"a network":                  `{"value":"203.0.113.0/24","appears":1,"frequency":9,"confidence":99}`,
		"an address without meaning": `{"value":"spam","appears":1,"frequency":9,"confidence":99}`,
	} {
		if r, err := parse([]byte(`{"success":1,"ip":`+entry+`}`), asked); !errors.Is(err, reputation.ErrBadAnswer) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// TestScores: alone, one report is nothing, and many are not enough to block.
func TestScores(t *testing.T) {
	for body, want := range map[string][2]float64{
		`{"appears":1,"frequency":1,"confidence":99}`:                     {2, 5},
		`{"appears":1,"frequency":255,"confidence":99.9}`:                 {8, 20},
		`{"appears":1,"frequency":255,"confidence":99.9,"blacklisted":1}`: {8, 20},
		`{"appears":0,"frequency":0}`:                                     {.9, 1.1},
	} {
		r, err := parse([]byte(`{"success":1,"ip":`+body+`}`), asked)
		if err != nil {
			t.Fatal(err)
		}
		if got := providertest.Score(new(StopForumSpam).Profile(), r); got < want[0] || got > want[1] {
			t.Errorf("%s: %.2f %%, want %v", body, got, want)
		}
	}
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile(t, "stopforumspam", map[string]string{
		"stopforumspam":                  `{}`,
		"stopforumspam {\n expire 30\n}": `unknown option "expire" of stopforumspam: use one of url, at Testfile:2`,
		"stopforumspam {\n url\n}":       "an address such as https://api.stopforumspam.org",
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"success":1,"ip":{"appears":1,"frequency":1e2,"confidence":1e2,"asn":4294967296,`+
		`"country":"\u017f\u017f"}}`), asked.String())
	providertest.Fuzz(f, providertest.Reader{
		Read: parse, Capabilities: new(StopForumSpam).Profile().Capabilities,
		Severity: providertest.Range{Most: 1}, Confidence: providertest.Range{Most: .6},
	})
}
