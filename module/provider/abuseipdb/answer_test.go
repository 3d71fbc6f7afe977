package abuseipdb

import (
	"encoding/json"
	"errors"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

var asked = netip.MustParseAddr("203.0.113.10")

// answerWith returns the body of an address that nobody reported, with some members changed. A nil value removes one.
func answerWith(changes map[string]any) []byte {
	data := map[string]any{
		"ipAddress": asked.String(), "isPublic": true, "ipVersion": 4, "isWhitelisted": false,
		"abuseConfidenceScore": 0, "countryCode": "DE", "usageType": "Fixed Line ISP", "isp": "Example Telecom",
		"domain": "example.org", "hostnames": []string{}, "isTor": false, "totalReports": 0, "numDistinctUsers": 0,
		"lastReportedAt": nil,
	}
	for name, value := range changes {
		if value == nil {
			delete(data, name)
			continue
		}
		data[name] = value
	}
	body, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		panic(err)
	}
	return body
}

type changes = map[string]any

func TestMapping(t *testing.T) {
	null := json.RawMessage("null")
	for _, tc := range []struct {
		name       string
		changes    changes
		severity   float64
		confidence float64
		categories string
	}{
		{"never reported", nil, -1, 0.5, ""},
		{"never reported, by whatever users", changes{"numDistinctUsers": 3}, -1, 0.5, ""},
		{"score 0, one reporter", changes{"totalReports": 1, "numDistinctUsers": 1}, 0, 0.3, ""},
		{"score 0, many reporters", changes{"totalReports": 113, "numDistinctUsers": 28}, 0, 0.9, ""},
		{"score 1", changes{"abuseConfidenceScore": 1, "totalReports": 1, "numDistinctUsers": 1}, 0.01, 0.3, "abuse"},
		{"no reporter", changes{"abuseConfidenceScore": 50, "totalReports": 1}, 0.5, 0.5, "abuse"},
		{"one reporter", changes{"abuseConfidenceScore": 100, "totalReports": 900, "numDistinctUsers": 1}, 1, 0.3, "abuse"},
		{"2 reporters", changes{"abuseConfidenceScore": 100, "totalReports": 2, "numDistinctUsers": 2}, 1, 0.5, "abuse"},
		{"4 reporters", changes{"abuseConfidenceScore": 100, "totalReports": 4, "numDistinctUsers": 4}, 1, 0.5, "abuse"},
		{"5 reporters", changes{"abuseConfidenceScore": 50, "totalReports": 5, "numDistinctUsers": 5}, 0.5, 0.75, "abuse"},
		{"19 reporters", changes{"abuseConfidenceScore": 50, "totalReports": 19, "numDistinctUsers": 19}, 0.5, 0.75, "abuse"},
		{"20 reporters", changes{"abuseConfidenceScore": 99, "totalReports": 60, "numDistinctUsers": 20}, 0.99, 0.9, "abuse"},
		{"whitelisted", changes{"isWhitelisted": true, "totalReports": 9, "numDistinctUsers": 9}, -1, 0.9, ""},
		{"whitelisted, with a score", changes{"isWhitelisted": true, "abuseConfidenceScore": 60, "totalReports": 9}, -1, 0.9, ""},
		{"whitelisting not looked up", changes{"isWhitelisted": null, "totalReports": 9, "numDistinctUsers": 9}, 0, 0.75, ""},
		{"no word on whitelisting", changes{"isWhitelisted": nil, "totalReports": 9, "numDistinctUsers": 9}, 0, 0.75, ""},
		{"search engine, never reported", changes{"usageType": "Search Engine Spider"}, -1, 0.5, "crawler"},
		{"search engine, reported", changes{"usageType": "Search Engine Spider", "abuseConfidenceScore": 40,
			"totalReports": 30, "numDistinctUsers": 25}, 0.4, 0.9, "abuse, crawler"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parse(answerWith(tc.changes), asked)
			if err != nil {
				t.Fatal(err)
			}
			if got.Severity != tc.severity || got.Confidence != tc.confidence || got.Categories.String() != tc.categories {
				t.Errorf("severity %g, confidence %g, categories %q; want %g, %g, %q", got.Severity, got.Confidence,
					got.Categories, tc.severity, tc.confidence, tc.categories)
			}
		})
	}
}

func TestFacts(t *testing.T) {
	null := json.RawMessage("null")
	for _, tc := range []struct {
		name    string
		changes changes
		country string
		nature  string
	}{
		{"fixed line", nil, "DE", `{"tor":false,"hosting":false,"mobile":false}`},
		{"mobile", changes{"usageType": "Mobile ISP"}, "DE", `{"tor":false,"hosting":false,"mobile":true}`},
		{"hosting", changes{"usageType": "Data Center/Web Hosting/Transit"}, "DE", `{"tor":false,"hosting":true,"mobile":false}`},
		{"content network", changes{"usageType": "Content Delivery Network"}, "DE", `{"tor":false,"mobile":false}`},
		{"another type", changes{"usageType": "Space Station"}, "DE", `{"tor":false}`},
		{"nothing known", changes{"usageType": null, "isTor": nil, "countryCode": null}, "", `{}`},
		{"tor", changes{"isTor": true}, "DE", `{"tor":true,"hosting":false,"mobile":false}`},
		{"long country", changes{"countryCode": "DEU"}, "", `{"tor":false,"hosting":false,"mobile":false}`},
		{"small country", changes{"countryCode": "de"}, "", `{"tor":false,"hosting":false,"mobile":false}`},
		{"country with a line break", changes{"countryCode": "D\n"}, "", `{"tor":false,"hosting":false,"mobile":false}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parse(answerWith(tc.changes), asked)
			if err != nil {
				t.Fatal(err)
			}
			nature, err := json.Marshal(got.Facts.Nature)
			if err != nil || string(nature) != tc.nature || got.Facts.Country != tc.country || got.Facts.ASName != "" {
				t.Errorf("country %q, nature %s (%v), AS name %q; want %q, %s and no name", got.Facts.Country, nature, err,
					got.Facts.ASName, tc.country, tc.nature)
			}
		})
	}
}

func TestLastSeen(t *testing.T) {
	for value, want := range map[string]time.Time{
		"2026-11-01T12:11:12+02:00": time.Date(2026, 11, 1, 10, 11, 12, 0, time.UTC),
		"yesterday":                 {},
		"":                          {},
	} {
		got, err := parse(answerWith(changes{"lastReportedAt": value}), asked)
		if err != nil || got.LastSeen != want {
			t.Errorf("%q became %s (%v), want %s", value, got.LastSeen, err, want)
		}
	}
}

func TestNoVerdict(t *testing.T) {
	bad, unknown := reputation.ErrBadAnswer, reputation.ErrUnknown
	for _, tc := range []struct {
		name string
		body []byte
		want error
	}{
		{"not public", answerWith(changes{"isPublic": false, "isWhitelisted": true}), unknown},
		{"reserved", answerWith(changes{"usageType": "Reserved"}), unknown},
		{"no score", answerWith(changes{"abuseConfidenceScore": nil}), bad},
		{"score null", answerWith(changes{"abuseConfidenceScore": json.RawMessage("null")}), bad},
		{"score below 0", answerWith(changes{"abuseConfidenceScore": -1}), bad},
		{"score above 100", answerWith(changes{"abuseConfidenceScore": 101}), bad},
		{"score as text", answerWith(changes{"abuseConfidenceScore": "100"}), bad},
		{"score with a fraction", answerWith(changes{"abuseConfidenceScore": 99.5}), bad},
		{"no reports", answerWith(changes{"totalReports": nil}), bad},
		{"reports below 0", answerWith(changes{"totalReports": -1}), bad},
		{"no reporters", answerWith(changes{"numDistinctUsers": nil}), bad},
		{"reporters below 0", answerWith(changes{"numDistinctUsers": -1}), bad},
		{"no address", answerWith(changes{"ipAddress": nil}), bad},
		{"another address", answerWith(changes{"ipAddress": "203.0.113.11"}), bad},
		{"no data", []byte(`{}`), bad},
		{"data null", []byte(`{"data":null}`), bad},
		{"data empty", []byte(`{"data":{}}`), bad},
		{"data a list", []byte(`{"data":[]}`), bad},
		{"an error", []byte(`{"errors":[{"detail":"no","status":401}]}`), bad},
		{"a list", []byte(`[]`), bad},
		{"null", []byte(`null`), bad},
		{"two documents", append(answerWith(nil), answerWith(nil)...), bad},
		{"nothing", nil, bad},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, err := parse(tc.body, asked); !errors.Is(err, tc.want) {
				t.Errorf("got %+v and error %v, want %v", got, err, tc.want)
			}
		})
	}
}

func TestEchoInOtherSpellings(t *testing.T) {
	addr := netip.MustParseAddr("2001:db8::1")
	for _, spelling := range []string{"2001:db8::1", "2001:DB8:0:0:0:0:0:1", "2001:0db8:0000:0000:0000:0000:0000:0001"} {
		if _, err := parse(answerWith(changes{"ipAddress": spelling}), addr); err != nil {
			t.Errorf("%s: %v", spelling, err)
		}
	}
	if _, err := parse(answerWith(changes{"ipAddress": "::ffff:" + asked.String()}), asked); err != nil {
		t.Error(err)
	}
}

// TestMoreReportersNeverWeighLess: with the score given, more reporters never lower the confidence.
func TestMoreReportersNeverWeighLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		score := rapid.IntRange(1, 100).Draw(t, "score")
		few := rapid.IntRange(1, 100).Draw(t, "few")
		more := few + rapid.IntRange(0, 100).Draw(t, "more")
		ask := func(users int) reputation.Report {
			r, err := parse(answerWith(changes{"abuseConfidenceScore": score, "totalReports": users,
				"numDistinctUsers": users}), asked)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		if a, b := ask(few), ask(more); a.Confidence > b.Confidence || a.Severity != b.Severity {
			t.Errorf("%d reporters give %+v, %d give %+v", few, a, more, b)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	providertest.Fuzz(f, providertest.Reader{
		Read: parse, Capabilities: new(AbuseIPDB).Profile().Capabilities, Unknown: true,
		Severity: providertest.Range{Least: -1, Most: 1}, Confidence: providertest.Range{Least: .3, Most: .9},
		Accusations: reputation.CategoriesOf(reputation.Abuse),
	})
}

func FuzzDetail(f *testing.F) {
	f.Add([]byte(`{"errors":[{"detail":"bad key s3cr3tk3y"}]}`))
	f.Add([]byte(`{"errors":[{}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if got := detail(body); len(got) > 3*len(body) { // an invalid byte becomes U+FFFD
			t.Errorf("%d bytes became %d", len(body), len(got))
		}
	})
}
