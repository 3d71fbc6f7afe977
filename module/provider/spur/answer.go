package spur

import (
	"fmt"
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// answer is what the service knows of an address. Any member may be missing.
type answer struct {
	IP             string `json:"ip"`
	Infrastructure string `json:"infrastructure"`
	AS             struct {
		Number uint32 `json:"number"`
	} `json:"as"`
	Location struct {
		Country string `json:"country"`
	} `json:"location"`
	Tunnels []struct {
		Type     string `json:"type"`
		Operator string `json:"operator"`
	} `json:"tunnels"`
	Risks  []string `json:"risks"`
	Client struct {
		Proxies []string `json:"proxies"` // whose software its devices run, often without their owners' knowledge
	} `json:"client"`
}

// notFound returns what a 404 means. About an address that is nobody's VPN or proxy, the service sends
// an answer with nothing but the address.
func (v *answer) notFound(addr netip.Addr) error {
	if !rest.SameAddr(v.IP, addr) {
		return fmt.Errorf("%w: a 404 that does not name the address, check the url option", reputation.ErrBadAnswer)
	}
	return reputation.ErrUnknown
}

// accusations are the risks that are abuse.
var accusations = map[string]struct {
	severity float64
	category reputation.Category
}{
	"LOGIN_BRUTEFORCE": {.6, reputation.BruteForce},
	"SPAM":             {.6, reputation.Spam},
	"WEB_SCRAPING":     {.3, reputation.Bot},
}

// report returns the report of an answer about addr.
func (v *answer) report(addr netip.Addr) (reputation.Report, error) {
	if !rest.SameAddr(v.IP, addr) {
		return reputation.Report{}, fmt.Errorf(`%w: "ip" is not the address that was asked about`, reputation.ErrBadAnswer)
	}
	r := reputation.Report{
		Confidence: .7,
		Facts:      reputation.Facts{Country: rest.Country(v.Location.Country), ASN: v.AS.Number, Nature: v.nature()},
	}
	if relay, _ := r.Facts.Nature.Is(reputation.NatureRelay); relay {
		return r, nil
	}
	for _, risk := range v.Risks {
		if is, ok := accusations[risk]; ok {
			r.Severity = max(r.Severity, is.severity)
			r.Categories |= reputation.CategoriesOf(is.category)
		}
	}
	return r, nil
}

func (v *answer) nature() (n reputation.Nature) {
	switch v.Infrastructure {
	case "DATACENTER":
		n = n.With(reputation.NatureHosting, true).With(reputation.NatureMobile, false)
	case "RESIDENTIAL", "SATELLITE":
		n = n.With(reputation.NatureHosting, false).With(reputation.NatureMobile, false)
	case "MOBILE":
		n = n.With(reputation.NatureHosting, false).With(reputation.NatureMobile, true)
	}
	for _, tunnel := range v.Tunnels {
		switch {
		case tunnel.Operator == "ICLOUD_RELAY_PROXY":
			n = n.With(reputation.NatureRelay, true)
		case tunnel.Type == "VPN":
			n = n.With(reputation.NatureVPN, true)
		case tunnel.Type == "PROXY":
			n = n.With(reputation.NatureProxy, true)
		case tunnel.Type == "TOR":
			n = n.With(reputation.NatureTor, true)
		}
	}
	if len(v.Client.Proxies) > 0 {
		n = n.With(reputation.NatureProxy, true)
	}
	for _, risk := range v.Risks {
		if risk == "CALLBACK_PROXY" { // a device behind the address lets others through
			n = n.With(reputation.NatureProxy, true)
		}
	}
	return n
}
