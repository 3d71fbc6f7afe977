package ipinfo

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	tor, vpn, proxy        = reputation.NatureTor, reputation.NatureVPN, reputation.NatureProxy
	hosting, mobile, relay = reputation.NatureHosting, reputation.NatureMobile, reputation.NatureRelay
)

type kinds = []reputation.Kind

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sample(name string) string { return filepath.Join("testdata", name+".json") }

// facts returns a report with nothing but facts of Austria.
func facts(asn uint32, name string, yes, no kinds) reputation.Report {
	var n reputation.Nature
	for _, k := range yes {
		n = n.With(k, true)
	}
	for _, k := range no {
		n = n.With(k, false)
	}
	return reputation.Report{Facts: reputation.Facts{Country: "AT", ASN: asn, ASName: name, Nature: n}}
}

// errorCases are the same for all products.
func errorCases() []providertest.Case {
	return []providertest.Case{
		{Name: "403", Status: 403, BodyFile: sample("error_403"), Result: reputation.ResultRefused},
		{Name: "404", Status: 404, BodyFile: sample("error_404"), Result: reputation.ResultError},
		{Name: "429", Status: 429, BodyFile: sample("error_429"), Header: http.Header{"Retry-After": {"60"}},
			Result: reputation.ResultThrottled, RetryAfter: time.Minute},
		{Name: "200 with an error", BodyFile: sample("error_429"), Result: reputation.ResultBadAnswer},
		{Name: "bogon", BodyFile: sample("lite_bogon"), Result: reputation.ResultNotFound},
		{Name: "nothing of the product", BodyFile: sample("residential_proxy"), Result: reputation.ResultNotFound},
		{Name: "without the address", BodyFile: sample("privacy_alone"), Result: reputation.ResultBadAnswer},
		{Name: "another address", Addr: netip.MustParseAddr("203.0.113.11"), BodyFile: sample("lite"),
			Result: reputation.ResultBadAnswer},
	}
}

func TestContract(t *testing.T) {
	withRoute := facts(64521, "Example Hosting GmbH", kinds{vpn, hosting}, kinds{tor, proxy, relay})
	withRoute.Facts.Network = netip.MustParsePrefix("203.0.113.0/24")
	noASN := facts(64520, "", nil, nil)
	v6 := netip.MustParseAddr("2001:db8:0:1::10")
	for _, tc := range []struct {
		settings string
		path     string
		cases    []providertest.Case
		batch    *providertest.Batch
	}{
		{`{}`, "/lite/203.0.113.10", []providertest.Case{
			{Name: "lite", BodyFile: sample("lite"), Report: facts(64520, "Example Fiber GmbH", nil, nil)}}, nil},
		{`{"api":"lite","key_in":"query"}`, "/lite/203.0.113.10", []providertest.Case{
			{Name: "key in the query", BodyFile: sample("lite"), Report: facts(64520, "Example Fiber GmbH", nil, nil)}}, nil},
		{`{"api":"core"}`, "/lookup/203.0.113.10", []providertest.Case{
			{Name: "core", BodyFile: sample("core"),
				Report: facts(64520, "Example Hosting GmbH", kinds{hosting}, kinds{mobile})},
			{Name: "what only Plus promises", Addr: v6, BodyFile: sample("plus_relay"),
				Report: facts(64520, "Example Relay", kinds{hosting}, kinds{mobile})}}, nil},
		{`{"api":"plus"}`, "/lookup/203.0.113.10", []providertest.Case{
			{Name: "VPN in a mobile network", BodyFile: sample("plus_vpn"),
				Report: facts(64520, "Example Hosting GmbH", kinds{vpn, mobile}, kinds{tor, proxy, relay, hosting})},
			{Name: "relay, IPv6 in another spelling", Addr: v6, BodyFile: sample("plus_relay"),
				Report: facts(64520, "Example Relay", kinds{relay, hosting}, kinds{tor, vpn, proxy, mobile})},
			{Name: "of a Core account", BodyFile: sample("core"),
				Report: facts(64520, "Example Hosting GmbH", kinds{hosting}, kinds{mobile})}}, nil},
		{`{"api":"privacy"}`, "/203.0.113.10", []providertest.Case{
			{Name: "privacy", BodyFile: sample("legacy_privacy"), Report: withRoute},
			{Name: "free account", BodyFile: sample("legacy_free"), Report: noASN}}, batch()},
	} {
		t.Run(tc.path+tc.settings, func(t *testing.T) {
			tc.cases[0].Request = func(r *http.Request) error {
				key, inQuery := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), r.URL.Query().Get("token")
				if !strings.HasSuffix(r.URL.Path, tc.path) || (key == "") != strings.Contains(tc.settings, "query") ||
					(inQuery == "") == strings.Contains(tc.settings, "query") {
					return fmt.Errorf("the path is %s, with a key of %d bytes in the header and %d in the query",
						r.URL.Path, len(key), len(inQuery))
				}
				return nil
			}
			providertest.Run(t, providertest.Config{
				New:   providertest.Module("ipinfo", tc.settings),
				Cases: append(tc.cases, errorCases()...),
				Batch: tc.batch,
			})
		})
	}
}

// batch is about several addresses in one request.
func batch() *providertest.Batch {
	const member = `%[1]q:{"ip":%[1]q,"country":"AT","privacy":{"vpn":%[2]t}}`
	entry := func(addr string, is bool) providertest.Entry {
		return providertest.Entry{Addr: netip.MustParseAddr(addr), Body: fmt.Sprintf(member, addr, is),
			Report: reputation.Report{Facts: reputation.Facts{Country: "AT", Nature: reputation.Nature{}.With(vpn, is)}}}
	}
	return &providertest.Batch{
		Before: "{", After: "}",
		Entries: []providertest.Entry{
			entry("203.0.113.10", true), entry("2001:db8::10", false),
			{Addr: netip.MustParseAddr("198.51.100.7"), Body: `"198.51.100.7":{"ip":"198.51.100.7","bogon":true}`,
				Result: reputation.ResultNotFound},
		},
		Request: func(r *http.Request) error {
			body, err := io.ReadAll(r.Body)
			if err != nil || r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/batch") ||
				r.Header.Get("Authorization") == "" ||
				string(body) != `["203.0.113.10","2001:db8::10","198.51.100.7"]` {
				return fmt.Errorf("the request is %s %s with %s (%w)", r.Method, r.URL, body, err)
			}
			return nil
		},
		Cases: []providertest.Case{{Name: "403", Status: 403, BodyFile: sample("error_403"),
			Result: reputation.ResultRefused}},
	}
}

func TestAddresses(t *testing.T) {
	for config, want := range map[string]string{
		`{}`:                                  "https://api.ipinfo.io/lite/2001:db8::7",
		`{"api":"core"}`:                      "https://api.ipinfo.io/lookup/2001:db8::7",
		`{"api":"privacy"}`:                   "https://ipinfo.io/2001:db8::7",
		`{"api":"privacy","key_in":"query"}`:  "https://ipinfo.io/2001:db8::7?token=k",
		`{"api":"plus","url":"http://[::1]"}`: "http://[::1]/lookup/2001:db8::7",
	} {
		p := providertest.Load(t, "ipinfo", "", config).(*IPinfo)
		path := map[string][]string{"": {"lite"}, core: {"lookup"}, plus: {"lookup"}}[p.API]
		question := p.question("k", append(path, "2001:db8::7")...)
		if got, err := p.Target(&question); err != nil || got.String() != want {
			t.Errorf("%s asks %s (%v), want %s", config, got, err, want)
		}
	}
}

func TestSettings(t *testing.T) {
	providertest.Settings(t, "ipinfo", map[string]string{
		`{"api": "free"}`:    `unknown api "free": use lite, core, plus or privacy`,
		`{"key_in": "path"}`: `unknown key_in "path": use header or query`,
	})
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile(t, "ipinfo", map[string]string{
		"ipinfo":                                `{}`,
		"ipinfo {\n api plus\n key_in query\n}": `{"api":"plus","key_in":"query"}`,
	})
}

// The profile follows the product, before it is provisioned too.
func TestProfileFollowsTheProduct(t *testing.T) {
	for _, settings := range new(IPinfo).Variants() {
		p := new(IPinfo)
		if err := json.Unmarshal(settings, p); err != nil {
			t.Fatal(err)
		}
		profile := p.Profile()
		if err := profile.Validate(); err != nil {
			t.Errorf("%s: %v", settings, err)
		}
		free := p.API == lite
		if (len(profile.Quota) == 0) != free || (profile.Terms != "") != free ||
			profile.Capabilities.Natures.Has(vpn) != (p.API == plus || p.API == privacy) ||
			(profile.Batch > 0) != (p.API == privacy) {
			t.Errorf("%s: %+v", settings, profile)
		}
	}
}
