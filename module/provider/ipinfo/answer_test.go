package ipinfo

import (
	"encoding/json"
	"errors"
	"net/netip"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

var asked = netip.MustParseAddr("203.0.113.10")

// parse returns what a body says to each product.
func parse(api string, body []byte, addr netip.Addr) (reputation.Report, error) {
	switch api {
	case core, plus:
		var v lookupAnswer
		if err := rest.Decode(body, &v); err != nil {
			return reputation.Report{}, err
		}
		return v.report(addr, api == plus)
	case privacy:
		var v legacyAnswer
		if err := rest.Decode(body, &v); err != nil {
			return reputation.Report{}, err
		}
		return v.report(addr)
	}
	var v liteAnswer
	if err := rest.Decode(body, &v); err != nil {
		return reputation.Report{}, err
	}
	return v.report(addr)
}

func TestMapping(t *testing.T) {
	for _, tc := range []struct {
		name, api, members string
		country            string
		asn                uint32
		nature             string
		err                error
	}{
		{"nothing", lite, `"country_code":""`, "", 0, `{}`, reputation.ErrUnknown},
		{"only a country", lite, `"country_code":"AT","as_name":"of no number"`, "AT", 0, `{}`, nil},
		{"a country in words", lite, `"country_code":"Austria","asn":"AS64520"`, "", 64520, `{}`, nil},
		{"a system that is no number", lite, `"asn":"ASX"`, "", 0, `{}`, reputation.ErrUnknown},
		{"a number as the system", lite, `"asn":64520`, "", 0, `{}`, reputation.ErrBadAnswer},
		{"no flags", plus, `"geo":{"country_code":"AT"}`, "AT", 0, `{}`, nil},
		{"flags null", plus, `"is_hosting":null,"anonymous":null,"geo":{"country_code":"AT"}`, "AT", 0, `{}`, nil},
		{"only a type", plus, `"as":{"asn":"AS64520","type":"hosting"}`, "", 64520, `{"hosting":true}`, nil},
		{"only another type", plus, `"as":{"asn":"AS64520","type":"isp"}`, "", 64520, `{}`, nil},
		{"a flag as text", plus, `"is_hosting":"yes"`, "", 0, `{}`, reputation.ErrBadAnswer},
		{"anonymous in some way", core, `"is_anonymous":true,"is_mobile":true`, "", 0, `{"mobile":true}`, nil},
		{"hosting by its system", privacy, `"asn":{"asn":"AS64520","type":"hosting"}`, "", 64520, `{"hosting":true}`, nil},
		{"relay", privacy, `"privacy":{"relay":true}`, "", 0, `{"relay":true}`, nil},
		{"the number in the name", privacy, `"org":"AS64520 Example"`, "", 64520, `{}`, nil},
		{"another network", privacy, `"asn":{"asn":"AS64520","route":"198.51.100.0/24"}`, "", 64520, `{}`, nil},
		{"bogon", privacy, `"bogon":true,"country":"AT"`, "", 0, `{}`, reputation.ErrUnknown},
	} {
		got, err := parse(tc.api, []byte(`{"ip":"203.0.113.10",`+tc.members+`}`), asked)
		nature, _ := json.Marshal(got.Facts.Nature)
		if !errors.Is(err, tc.err) || got.Facts.Country != tc.country || got.Facts.ASN != tc.asn ||
			string(nature) != tc.nature ||
			got.Facts.Network.IsValid() || got.Facts.ASName != "" || got.Severity != 0 || got.Confidence != 0 {
			t.Errorf("%s: got %+v, nature %s, %v", tc.name, got, nature, err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	var products []providertest.Reader
	for _, api := range []string{lite, core, plus, privacy} { // they have no verdict: severity and confidence are 0
		products = append(products, providertest.Reader{
			Read:         func(body []byte, addr netip.Addr) (reputation.Report, error) { return parse(api, body, addr) },
			Capabilities: (&IPinfo{API: api}).Profile().Capabilities, Unknown: true,
		})
	}
	providertest.Fuzz(f, products...)
}
