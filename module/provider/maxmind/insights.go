package maxmind

import (
	"fmt"
	"math"
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// insightsAnswer is the body of a 200. The service leaves out what is empty or false.
type insightsAnswer struct {
	Anonymizer flags `json:"anonymizer"`
	Country    struct {
		ISOCode string `json:"iso_code"`
	} `json:"country"`
	Traits traits `json:"traits"`
}

// flags say how an address hides its users.
type flags struct {
	Anonymous        bool `json:"is_anonymous"`
	VPN              bool `json:"is_anonymous_vpn"`
	Hosting          bool `json:"is_hosting_provider"`
	PublicProxy      bool `json:"is_public_proxy"`
	ResidentialProxy bool `json:"is_residential_proxy"`
	TorExitNode      bool `json:"is_tor_exit_node"`
}

// hides reports whether an address is known to hide its users.
func (f flags) hides() bool {
	return f.Anonymous || f.VPN || f.PublicProxy || f.ResidentialProxy || f.TorExitNode
}

type traits struct {
	flags // copies of the anonymizer's, which older plans have alone

	IPAddress string   `json:"ip_address"`
	Network   string   `json:"network"`
	Risk      *float64 `json:"ip_risk_snapshot"` // to 99; missing if it is low or not known
	ASN       uint32   `json:"autonomous_system_number"`
	UserCount float64  `json:"user_count"`
	UserType  string   `json:"user_type"`
}

// manyUsers is how many people behind one address make its risk say less about each.
const manyUsers = 50

// report returns the report of an answer about addr.
func (v *insightsAnswer) report(addr netip.Addr) (reputation.Report, error) {
	if !rest.SameAddr(v.Traits.IPAddress, addr) {
		return reputation.Report{}, fmt.Errorf(`%w: "ip_address" is not the address that was asked about`,
			reputation.ErrBadAnswer)
	}
	nature := v.nature()
	r := reputation.Report{Confidence: .7, Facts: reputation.Facts{
		Country: rest.Country(v.Country.ISOCode), ASN: v.Traits.ASN, Network: rest.Network(v.Traits.Network, addr),
		Nature: nature,
	}}
	if risk := v.Traits.Risk; risk != nil {
		var err error
		if r.Severity, err = severity(*risk); err != nil {
			return reputation.Report{}, err
		}
	}
	switch relay, _ := nature.Is(reputation.NatureRelay); {
	case relay:
		r.Severity = 0
	case v.Anonymizer.hides() || v.Traits.hides():
		r.Severity = min(r.Severity, .6)
	}
	if v.Traits.UserCount > manyUsers {
		r.Confidence = .4
	}
	if r.Severity > 0 {
		r.Categories |= reputation.CategoriesOf(reputation.Abuse)
	}
	if v.Traits.UserType == "search_engine_spider" {
		r.Categories |= reputation.CategoriesOf(reputation.Crawler)
	}
	return r, nil
}

// severity returns the severity of a risk in percent. Risks below half a percent are none.
func severity(risk float64) (float64, error) {
	if !(risk >= 0 && risk <= 100) { // written so that NaN is refused
		return 0, fmt.Errorf("%w: the risk is %g, outside 0 to 100", reputation.ErrBadAnswer, risk)
	}
	return math.Round(risk) / 100, nil
}

func (v *insightsAnswer) nature() (n reputation.Nature) {
	switch v.Traits.UserType {
	case "hosting":
		n = n.With(reputation.NatureHosting, true).With(reputation.NatureMobile, false)
	case "cellular":
		n = n.With(reputation.NatureHosting, false).With(reputation.NatureMobile, true)
	case "business", "cafe", "college", "government", "library", "military", "residential", "school":
		n = n.With(reputation.NatureHosting, false).With(reputation.NatureMobile, false)
	case "consumer_privacy_network":
		n = n.With(reputation.NatureRelay, true)
	}
	for _, f := range []flags{v.Anonymizer, v.Traits.flags} {
		for _, flag := range []struct {
			is   bool
			kind reputation.Kind
		}{
			{f.VPN, reputation.NatureVPN}, {f.Hosting, reputation.NatureHosting}, {f.TorExitNode, reputation.NatureTor},
			{f.PublicProxy || f.ResidentialProxy, reputation.NatureProxy},
		} {
			if flag.is {
				n = n.With(flag.kind, true)
			}
		}
	}
	return n
}
