package ipapiis

import (
	"encoding/json"
	"errors"
	"fmt"
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

const (
	tor, vpn, proxy = reputation.NatureTor, reputation.NatureVPN, reputation.NatureProxy
	hosting, mobile = reputation.NatureHosting, reputation.NatureMobile
)

var asked = netip.MustParseAddr("203.0.113.10")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sample(name string) string { return filepath.Join("testdata", name+".json") }

// facts are those of the samples: the given kinds are yes, all others no.
func facts(yes ...reputation.Kind) reputation.Facts {
	f := reputation.Facts{Country: "NL", ASN: 64540, ASName: "Example Tuin BV",
		Network: netip.MustParsePrefix("203.0.113.0/24")}
	for _, k := range []reputation.Kind{tor, vpn, proxy, hosting, mobile} {
		f.Nature = f.Nature.With(k, false)
	}
	for _, k := range yes {
		f.Nature = f.Nature.With(k, true)
	}
	return f
}

func TestContract(t *testing.T) {
	v6 := facts(tor)
	v6.Network = netip.Prefix{} // an IPv4 route is not that of the address
	providertest.Run(t, providertest.Config{
		New: providertest.Module("ipapi_is"),
		Cases: []providertest.Case{
			{Name: "abusive VPN", BodyFile: sample("abusive_vpn"), Report: reputation.Report{Severity: 0.6, Confidence: 0.5,
				Categories: reputation.CategoriesOf(reputation.Abuse), Facts: facts(vpn, hosting)},
				Request: func(r *http.Request) error {
					if q := r.URL.Query(); !strings.HasSuffix(r.URL.Path, "/") || q.Get("q") != asked.String() ||
						q.Get("key") == "" || len(q) != 2 {
						return fmt.Errorf("the request is %s", r.URL)
					}
					return nil
				}},
			{Name: "mobile", BodyFile: sample("mobile"), Report: reputation.Report{Facts: facts(mobile)}},
			{Name: "crawler", BodyFile: sample("crawler"), Report: reputation.Report{
				Categories: reputation.CategoriesOf(reputation.Crawler), Facts: facts(hosting)}},
			{Name: "IPv6 in another spelling", Addr: netip.MustParseAddr("2001:db8::10"), BodyFile: sample("ipv6"),
				Report: reputation.Report{Facts: v6}},
			{Name: "without flags", BodyFile: sample("no_key"), Result: reputation.ResultBadAnswer},
			{Name: "bogon", BodyFile: sample("bogon"), Result: reputation.ResultNotFound},
			{Name: "another address", Addr: netip.MustParseAddr("203.0.113.11"), BodyFile: sample("mobile"),
				Result: reputation.ResultBadAnswer},
			{Name: "403", Status: 403, BodyFile: sample("error_403"), Result: reputation.ResultRefused},
			{Name: "200 that refuses the key", BodyFile: sample("error_403"), Result: reputation.ResultRefused},
			{Name: "429", Status: 429, BodyFile: sample("error_429"), Result: reputation.ResultThrottled},
			{Name: "200 with an error", BodyFile: sample("error_429"), Result: reputation.ResultBadAnswer},
		},
		Batch: batch(),
	})
}

// batch is about several addresses in one request.
func batch() *providertest.Batch {
	const member = `%[1]q:{"ip":%[1]q,"is_vpn":%[2]t,"is_abuser":%[2]t}`
	entry := func(addr string, abuser bool) providertest.Entry {
		r := reputation.Report{Facts: reputation.Facts{Nature: reputation.Nature{}.With(vpn, abuser)}}
		if abuser {
			r.Severity, r.Confidence, r.Categories = 0.6, 0.5, reputation.CategoriesOf(reputation.Abuse)
		}
		return providertest.Entry{Addr: netip.MustParseAddr(addr), Body: fmt.Sprintf(member, addr, abuser), Report: r}
	}
	return &providertest.Batch{
		Before: "{", After: "}",
		Entries: []providertest.Entry{
			entry("203.0.113.10", true), entry("2001:db8::10", false),
			{Addr: netip.MustParseAddr("198.51.100.7"), Body: `"198.51.100.7":{"ip":"198.51.100.7","is_bogon":true}`,
				Result: reputation.ResultNotFound},
			{Addr: netip.MustParseAddr("198.51.100.8"), Body: `"198.51.100.8":{"ip":"198.51.100.9"}`,
				Result: reputation.ResultBadAnswer},
		},
		Request: func(r *http.Request) error {
			var body struct {
				IPs []string
				Key string
			}
			err := json.NewDecoder(r.Body).Decode(&body)
			if err != nil || r.Method != http.MethodPost || r.URL.RawQuery != "" || !strings.HasSuffix(r.URL.Path, "/") ||
				strings.Join(body.IPs, " ") != "203.0.113.10 2001:db8::10 198.51.100.7 198.51.100.8" || body.Key == "" {
				return fmt.Errorf("the request is %s %s about %s (%w)", r.Method, r.URL, body.IPs, err)
			}
			return nil
		},
		Cases: []providertest.Case{
			{Name: "403", Status: 403, BodyFile: sample("error_403"), Result: reputation.ResultRefused},
			{Name: "200 that refuses the key", BodyFile: sample("error_403"), Result: reputation.ResultRefused},
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

func TestMapping(t *testing.T) {
	for _, tc := range []struct {
		members, nature string
		severity        float64
		categories      string
		asn             uint32
		err             error
	}{
		{`"is_abuser":null,"is_vpn":false`, `{}`, 0, "", 0, reputation.ErrBadAnswer},
		{`"is_tor":true,"is_proxy":false`, `{}`, 0, "", 0, reputation.ErrBadAnswer},
		{`"is_abuser":false`, `{}`, 0, "", 0, nil},
		{`"is_abuser":true`, `{}`, .6, "abuse", 0, nil},
		{`"is_abuser":false,"is_tor":true,"is_proxy":false`, `{"tor":true,"proxy":false}`, 0, "", 0, nil},
		{`"is_abuser":false,"is_crawler":true`, `{}`, 0, "crawler", 0, nil},
		{`"is_abuser":false,"is_crawler":""`, `{}`, 0, "", 0, nil},
		{`"is_abuser":false,"is_crawler":null`, `{}`, 0, "", 0, nil},
		{`"is_abuser":false,"asn":null`, `{}`, 0, "", 0, nil},
		{`"is_abuser":false,"asn":{"asn":64540,"route":"10.0.0.0/8"}`, `{}`, 0, "", 64540, nil},
		{`"is_abuser":false,"asn":"Example"`, `{}`, 0, "", 0, nil},
		{`"is_abuser":false,"company":"Example","location":null`, `{}`, 0, "", 0, nil},
		{`"is_vpn":"yes"`, `{}`, 0, "", 0, reputation.ErrBadAnswer},
		{`"asn":{"asn":-1}`, `{}`, 0, "", 0, reputation.ErrBadAnswer},
		{`"asn":64540`, `{}`, 0, "", 0, reputation.ErrBadAnswer},
		{`"is_bogon":true,"is_abuser":true`, `{}`, 0, "", 0, reputation.ErrUnknown},
	} {
		got, err := parse([]byte(`{"ip":"203.0.113.10",`+tc.members+`}`), asked)
		nature, _ := json.Marshal(got.Facts.Nature)
		if !errors.Is(err, tc.err) || got.Severity != tc.severity || got.Categories.String() != tc.categories ||
			string(nature) != tc.nature || got.Facts.ASN != tc.asn || got.Facts.Network.IsValid() {
			t.Errorf("%s: got %+v, nature %s, %v", tc.members, got, nature, err)
		}
	}
}

// TestScores: an abuser on public lists adds little, and next to nothing beside one of these lists.
func TestScores(t *testing.T) {
	source := score.OfProfile("ipapi_is", new(IPAPIIs).Profile())
	said := score.Evidence{Source: &source, Severity: 0.6, Confidence: 0.5,
		Categories: reputation.CategoriesOf(reputation.Abuse)}
	if got, _ := score.Judge([]score.Evidence{said}, nil); got < 1 || got > 10 {
		t.Errorf("alone: %.2f %%, want 1 to 10", got)
	}
	feed := score.OfFeed("public", reputation.CategoriesOf(reputation.Abuse))
	listed := score.Evidence{Source: &feed, Severity: 1, Confidence: 0.6, Categories: said.Categories, Listed: true}
	without, _ := score.Judge([]score.Evidence{listed}, nil)
	if with, _ := score.Judge([]score.Evidence{listed, said}, nil); with-without > 5 {
		t.Errorf("beside a list it raises %.2f %% to %.2f %%", without, with)
	}
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile(t, "ipapi_is", map[string]string{"ipapi_is": `{}`})
}

func FuzzAnswer(f *testing.F) {
	providertest.Fuzz(f, providertest.Reader{
		Read: parse, Capabilities: new(IPAPIIs).Profile().Capabilities, Unknown: true,
		Severity: providertest.Range{Most: .6}, Confidence: providertest.Range{Most: .5},
		Accusations: reputation.CategoriesOf(reputation.Abuse),
		Check: func(r reputation.Report) error {
			if r.Severity != 0 && r.Severity != .6 {
				return fmt.Errorf("severity %g", r.Severity)
			}
			return nil
		},
	})
}
