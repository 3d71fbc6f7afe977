package iphub

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

var asked = netip.MustParseAddr("203.0.113.10")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sample(name string) string { return filepath.Join("testdata", name+".json") }

func TestContract(t *testing.T) {
	facts := reputation.Facts{ASN: 64530, ASName: "Example Bredband AB"}
	hosting := facts
	hosting.Nature = hosting.Nature.With(reputation.NatureHosting, true)
	providertest.Run(t, providertest.Config{
		New: providertest.Module("iphub"),
		Cases: []providertest.Case{
			{Name: "not residential", BodyFile: sample("other"), Report: reputation.Report{Severity: 1, Confidence: 0.6,
				Categories: reputation.CategoriesOf(reputation.Hosting), Facts: hosting},
				Request: func(r *http.Request) error {
					if !strings.HasSuffix(r.URL.Path, "/ip/203.0.113.10") || r.Header.Get("X-Key") == "" || r.URL.RawQuery != "" {
						return fmt.Errorf("the request is %s, with a key of %d bytes", r.URL, len(r.Header.Get("X-Key")))
					}
					return nil
				}},
			{Name: "residential", BodyFile: sample("residential"), Report: reputation.Report{Facts: facts}},
			{Name: "both", BodyFile: sample("mixed"), Report: reputation.Report{Facts: facts}},
			{Name: "answer of another question", BodyFile: sample("bulk"), Result: reputation.ResultBadAnswer},
			{Name: "another address", Addr: netip.MustParseAddr("203.0.113.11"), BodyFile: sample("residential"),
				Result: reputation.ResultBadAnswer},
			{Name: "403", Status: 403, BodyFile: sample("error_403"), Result: reputation.ResultRefused},
			{Name: "429", Status: 429, BodyFile: sample("error_429"), Result: reputation.ResultThrottled},
			{Name: "200 with an error", BodyFile: sample("error_403"), Result: reputation.ResultBadAnswer},
			{Name: "404", Status: 404, BodyFile: sample("error_403"), Result: reputation.ResultError},
		},
		Batch: batch(facts, hosting),
	})
}

// batch is about several addresses in one request.
func batch(facts, hosting reputation.Facts) *providertest.Batch {
	const entry = `{"ip":"%s","block":%d,"countryCode":"SE","asn":64530,"isp":"Example Bredband AB"}`
	other := netip.MustParseAddr("198.51.100.7")
	return &providertest.Batch{
		Entries: []providertest.Entry{
			{Addr: asked, Body: fmt.Sprintf(entry, asked, 1), Report: reputation.Report{Severity: 1, Confidence: 0.6,
				Categories: reputation.CategoriesOf(reputation.Hosting), Facts: hosting}},
			{Addr: other, Body: fmt.Sprintf(entry, other, 0), Report: reputation.Report{Facts: facts}},
			{Addr: netip.MustParseAddr("198.51.100.8"), Body: fmt.Sprintf(entry, "198.51.100.8", 9),
				Result: reputation.ResultBadAnswer},
		},
		Request: func(r *http.Request) error {
			body, err := io.ReadAll(r.Body)
			if err != nil || r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/ip/bulk") ||
				r.Header.Get("X-Key") == "" ||
				string(body) != `["203.0.113.10","198.51.100.7","198.51.100.8"]` {
				return fmt.Errorf("the request is %s %s with %s (%w)", r.Method, r.URL, body, err)
			}
			return nil
		},
		Cases: []providertest.Case{
			{Name: "403", Status: 403, BodyFile: sample("error_403"), Result: reputation.ResultRefused},
			{Name: "200 with an error", BodyFile: sample("error_403"), Result: reputation.ResultBadAnswer},
		},
	}
}

func parse(body []byte, addr netip.Addr) (reputation.Report, error) {
	var v answer
	if err := rest.Decode(body, &v); err != nil {
		return reputation.Report{}, err
	}
	return v.report(addr)
}

func TestNoVerdict(t *testing.T) {
	for _, members := range []string{
		``, `,"block":null`, `,"block":-1`, `,"block":3`, `,"block":"1"`, `,"block":0.5`, `,"block":true`,
		`,"block":0,"asn":-1`, `,"block":0,"asn":4294967296`, `,"block":0,"asn":"AS64530"`,
	} {
		if got, err := parse([]byte(`{"ip":"203.0.113.10"`+members+`}`), asked); !errors.Is(err, reputation.ErrBadAnswer) {
			t.Errorf("%s became %+v, %v", members, got, err)
		}
	}
	got, err := parse([]byte(`{"ip":"203.0.113.10","block":0,"asn":null,"isp":"Example","countryCode":"N/A"}`), asked)
	if err != nil || got != (reputation.Report{}) {
		t.Errorf("no facts became %+v, %v", got, err)
	}
}

// TestScores: a machine in a data centre is no attacker, and lists of them count beside it in part only.
func TestScores(t *testing.T) {
	source := score.OfProfile("iphub", new(IPHub).Profile())
	feed := score.OfFeed("hosting", reputation.CategoriesOf(reputation.Hosting))
	said := score.Evidence{Source: &source, Severity: 1, Confidence: 0.6,
		Categories: reputation.CategoriesOf(reputation.Hosting)}
	listed := score.Evidence{Source: &feed, Severity: 1, Confidence: 1, Categories: said.Categories, Listed: true}
	for name, evidence := range map[string][]score.Evidence{"alone": {said}, "with a list": {said, listed}} {
		if got, _ := score.Judge(evidence, nil); got < 1 || got >= 10 {
			t.Errorf("%s: %.2f %%, want 1 to 10", name, got)
		}
	}
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile(t, "iphub", map[string]string{
		"iphub":                     `{}`,
		"iphub {\n strictness 1\n}": `unknown option "strictness" of iphub: use one of url`,
	})
}

func FuzzAnswer(f *testing.F) {
	providertest.Fuzz(f, providertest.Reader{
		Read: parse, Capabilities: new(IPHub).Profile().Capabilities,
		Severity: providertest.Range{Most: 1}, Confidence: providertest.Range{Most: .6},
		Check: func(r reputation.Report) error {
			hosting, known := r.Facts.Nature.Is(reputation.NatureHosting)
			if (r.Severity == 1) != hosting || hosting != known || r.Severity != 0 && r.Severity != 1 {
				return fmt.Errorf("severity %g, hosting %t (known: %t)", r.Severity, hosting, known)
			}
			return nil
		},
	})
}
