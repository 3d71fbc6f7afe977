package ipinfo

import (
	"fmt"
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// subject is what all answers have: the address that they are about.
type subject struct {
	IP    string `json:"ip"`
	Bogon bool   `json:"bogon"` // an address that nobody on the Internet has
}

// report returns a report with the facts of an answer.
func (s *subject) report(addr netip.Addr, facts reputation.Facts) (reputation.Report, error) {
	switch {
	case !rest.SameAddr(s.IP, addr):
		return reputation.Report{}, fmt.Errorf(`%w: "ip" is not the address that was asked about`, reputation.ErrBadAnswer)
	case s.Bogon, facts == reputation.Facts{}:
		return reputation.Report{}, reputation.ErrUnknown
	}
	return reputation.Report{Facts: facts}, nil
}

// liteAnswer is what Lite says.
type liteAnswer struct {
	subject
	ASN         string `json:"asn"` // "AS64500"
	ASName      string `json:"as_name"`
	CountryCode string `json:"country_code"`
}

func (v *liteAnswer) report(addr netip.Addr) (reputation.Report, error) {
	return v.subject.report(addr, system(v.ASN, v.ASName, v.CountryCode))
}

// system returns the facts that every product knows.
func system(asn, name, country string) reputation.Facts {
	f := reputation.Facts{Country: rest.Country(country)}
	f.ASN, f.ASName = rest.System(rest.ASN(asn), name)
	return f
}

// lookupAnswer is what Core and Plus say. Anonymous is of Plus only.
type lookupAnswer struct {
	subject
	Geo struct {
		CountryCode string `json:"country_code"`
	} `json:"geo"`
	AS struct {
		ASN  string `json:"asn"`
		Name string `json:"name"`
		Type string `json:"type"`
	} `json:"as"`
	IsHosting *bool `json:"is_hosting"`
	IsMobile  *bool `json:"is_mobile"`
	Anonymous struct {
		IsProxy *bool `json:"is_proxy"`
		IsRelay *bool `json:"is_relay"`
		IsTor   *bool `json:"is_tor"`
		IsVPN   *bool `json:"is_vpn"`
	} `json:"anonymous"`
}

func (v *lookupAnswer) report(addr netip.Addr, plus bool) (reputation.Report, error) {
	facts := system(v.AS.ASN, v.AS.Name, v.Geo.CountryCode)
	n := rest.Flag(reputation.Nature{}, reputation.NatureHosting, v.IsHosting)
	n = rest.Flag(n, reputation.NatureMobile, v.IsMobile)
	if v.AS.Type == "hosting" {
		n = n.With(reputation.NatureHosting, true)
	}
	if plus {
		n = rest.Flag(n, reputation.NatureProxy, v.Anonymous.IsProxy)
		n = rest.Flag(n, reputation.NatureRelay, v.Anonymous.IsRelay)
		n = rest.Flag(n, reputation.NatureTor, v.Anonymous.IsTor)
		n = rest.Flag(n, reputation.NatureVPN, v.Anonymous.IsVPN)
	}
	facts.Nature = n
	return v.subject.report(addr, facts)
}

// legacyAnswer is what the older product says. ASN and Privacy are of some plans only.
type legacyAnswer struct {
	subject
	Country string `json:"country"`
	Org     string `json:"org"` // "AS64500 Example LLC"
	ASN     struct {
		ASN   string `json:"asn"`
		Name  string `json:"name"`
		Route string `json:"route"`
		Type  string `json:"type"`
	} `json:"asn"`
	Privacy struct {
		VPN     *bool `json:"vpn"`
		Proxy   *bool `json:"proxy"`
		Tor     *bool `json:"tor"`
		Relay   *bool `json:"relay"`
		Hosting *bool `json:"hosting"`
	} `json:"privacy"`
}

func (v *legacyAnswer) report(addr netip.Addr) (reputation.Report, error) {
	facts := system(v.ASN.ASN, v.ASN.Name, v.Country)
	if facts.ASN == 0 {
		facts.ASN = rest.ASN(v.Org)
	}
	facts.Network = rest.Network(v.ASN.Route, addr)
	n := rest.Flag(reputation.Nature{}, reputation.NatureVPN, v.Privacy.VPN)
	n = rest.Flag(n, reputation.NatureProxy, v.Privacy.Proxy)
	n = rest.Flag(n, reputation.NatureTor, v.Privacy.Tor)
	n = rest.Flag(n, reputation.NatureRelay, v.Privacy.Relay)
	n = rest.Flag(n, reputation.NatureHosting, v.Privacy.Hosting)
	if v.ASN.Type == "hosting" {
		n = n.With(reputation.NatureHosting, true)
	}
	facts.Nature = n
	return v.subject.report(addr, facts)
}
