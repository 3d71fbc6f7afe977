package ipapiis

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// failure is what an answer has that is an error, with any status.
type failure struct {
	Error     string `json:"error"`
	ErrorCode string `json:"error_code"`
}

// answer is what the service says of an address. Without a key, all flags but IsBogon are missing.
type answer struct {
	failure
	IP           string  `json:"ip"`
	IsBogon      bool    `json:"is_bogon"` // an address that nobody on the Internet has
	IsMobile     *bool   `json:"is_mobile"`
	IsCrawler    crawler `json:"is_crawler"`
	IsDatacenter *bool   `json:"is_datacenter"`
	IsTor        *bool   `json:"is_tor"`
	IsProxy      *bool   `json:"is_proxy"`
	IsVPN        *bool   `json:"is_vpn"`
	IsAbuser     *bool   `json:"is_abuser"`
	ASN          system  `json:"asn"`
	Location     struct {
		CountryCode string `json:"country_code"`
	} `json:"location"`
}

// crawler is true, or the name of the crawler.
type crawler bool

// UnmarshalJSON implements json.Unmarshaler.
func (c *crawler) UnmarshalJSON(text []byte) error {
	var name string
	named := json.Unmarshal(text, &name) == nil && name != ""
	*c = crawler(named || string(text) == "true")
	return nil
}

// system is an autonomous system. Without a key, it is a text such as "AS64500 Example Cloud".
type system struct {
	Number uint32 `json:"asn"`
	Route  string `json:"route"`
	Org    string `json:"org"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *system) UnmarshalJSON(text []byte) error {
	if bytes.HasPrefix(text, []byte(`"`)) {
		var words string
		err := json.Unmarshal(text, &words)
		*s = system{Number: rest.ASN(words)}
		return err //nolint:wrapcheck // rest.Decode words it
	}
	type plain system                        // has no methods
	return json.Unmarshal(text, (*plain)(s)) //nolint:wrapcheck // rest.Decode words it
}

// answers is what the service says of several addresses: a member for each.
type answers struct {
	failure
	members rest.Members[answer]
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *answers) UnmarshalJSON(text []byte) error {
	if err := json.Unmarshal(text, &v.failure); err != nil {
		return err //nolint:wrapcheck // rest.Decode words it
	}
	return json.Unmarshal(text, &v.members) //nolint:wrapcheck // rest.Decode words it
}

// refusal returns the error that an answer with status 200 is, or nil.
func (f *failure) refusal(resp *rest.Response) error {
	if strings.Contains(f.ErrorCode, "API_KEY") {
		return fmt.Errorf("%w%s", reputation.ErrRefused, resp.Quote(f.Error))
	}
	return nil
}

// report returns what an answer says about addr.
func (v *answer) report(addr netip.Addr) (reputation.Report, error) {
	switch {
	case !rest.SameAddr(v.IP, addr):
		return reputation.Report{}, fmt.Errorf(`%w: "ip" is not the address that was asked about`, reputation.ErrBadAnswer)
	case v.IsBogon:
		return reputation.Report{}, fmt.Errorf("%w: it calls it reserved", reputation.ErrUnknown)
	}
	if v.IsAbuser == nil {
		return reputation.Report{}, fmt.Errorf(`%w: there is no "is_abuser", as in answers without a key`, reputation.ErrBadAnswer)
	}
	r := reputation.Report{Facts: reputation.Facts{
		Country: rest.Country(v.Location.CountryCode),
		Network: rest.Network(v.ASN.Route, addr), Nature: v.nature(),
	}}
	r.Facts.ASN, r.Facts.ASName = rest.System(v.ASN.Number, v.ASN.Org)
	if *v.IsAbuser {
		r.Severity, r.Confidence = 0.6, 0.5
		r.Categories |= reputation.CategoriesOf(reputation.Abuse)
	}
	if v.IsCrawler {
		r.Categories |= reputation.CategoriesOf(reputation.Crawler)
	}
	return r, nil
}

func (v *answer) nature() reputation.Nature {
	n := rest.Flag(reputation.Nature{}, reputation.NatureTor, v.IsTor)
	n = rest.Flag(n, reputation.NatureVPN, v.IsVPN)
	n = rest.Flag(n, reputation.NatureProxy, v.IsProxy)
	n = rest.Flag(n, reputation.NatureHosting, v.IsDatacenter)
	return rest.Flag(n, reputation.NatureMobile, v.IsMobile)
}
