package proxycheck

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// answer is what one version of the API says of an address.
type answer interface {
	report(addr netip.Addr) (reputation.Report, error)
}

// maxSure is the confidence in an answer of which the service is sure. With sure, it does not say.
const maxSure, sure = 0.8, 0.7

// answer3 is that of v3.
type answer3 struct {
	Network struct {
		ASN      string `json:"asn"` // "AS64500"
		Range    string `json:"range"`
		Provider string `json:"provider"`
		Type     string `json:"type"`
	} `json:"network"`
	Location struct {
		CountryCode string `json:"country_code"`
	} `json:"location"`
	Detections *struct {
		Proxy       *bool    `json:"proxy"`
		VPN         *bool    `json:"vpn"`
		Tor         *bool    `json:"tor"`
		Hosting     *bool    `json:"hosting"`
		Compromised bool     `json:"compromised"`
		Scraper     bool     `json:"scraper"`
		Risk        *int     `json:"risk"`       // 0 to 100
		Confidence  *float64 `json:"confidence"` // 0 to 100
		LastSeen    string   `json:"last_seen"`
	} `json:"detections"`
	AttackHistory json.RawMessage `json:"attack_history"`
}

func (v answer3) report(addr netip.Addr) (reputation.Report, error) {
	d := v.Detections
	if d == nil {
		return reputation.Report{}, fmt.Errorf(`%w: there are no "detections"`, reputation.ErrBadAnswer)
	}
	confidence := sure
	if c := d.Confidence; c != nil {
		if !(*c >= 0 && *c <= 100) {
			return reputation.Report{}, fmt.Errorf(`%w: "confidence" is outside 0 to 100`, reputation.ErrBadAnswer)
		}
		confidence = *c / 100 * maxSure
	}
	n := network(v.Network.Type)
	n = rest.Flag(n, reputation.NatureProxy, d.Proxy)
	n = rest.Flag(n, reputation.NatureVPN, d.VPN)
	n = rest.Flag(n, reputation.NatureTor, d.Tor)
	n = rest.Flag(n, reputation.NatureHosting, d.Hosting)
	abused := d.Compromised || d.Scraper || holds(v.AttackHistory)
	r, err := reportOf(d.Risk, abused, n, confidence)
	if err != nil {
		return reputation.Report{}, err
	}
	if d.Compromised {
		r.Categories |= reputation.CategoriesOf(reputation.Compromised)
	}
	if d.Scraper {
		r.Categories |= reputation.CategoriesOf(reputation.Bot)
	}
	r.LastSeen = rest.Time(d.LastSeen)
	r.Facts = facts(addr, v.Location.CountryCode, v.Network.ASN, v.Network.Provider, v.Network.Range)
	r.Facts.Nature = n
	return r, nil
}

// answer2 is that of v2.
type answer2 struct {
	ASN      string          `json:"asn"`
	Range    string          `json:"range"`
	Provider string          `json:"provider"`
	ISOCode  string          `json:"isocode"`
	Proxy    string          `json:"proxy"` // yes or no; VPNs and Tor exits are proxies
	Type     string          `json:"type"`  // of the proxy, or of the network if it is none
	Risk     *int            `json:"risk"`
	LastSeen json.RawMessage `json:"last seen unix"` // a number or its text
}

// compromised is the type of a machine that somebody has broken into.
const compromised = "Compromised Server"

func (v answer2) report(addr netip.Addr) (reputation.Report, error) {
	var n reputation.Nature
	switch v.Proxy {
	case "yes":
		n = kindOfProxy(v.Type)
	case "no":
		n = network(v.Type).With(reputation.NatureProxy, false).With(reputation.NatureVPN, false).
			With(reputation.NatureTor, false)
	default:
		return reputation.Report{}, fmt.Errorf(`%w: "proxy" is neither yes nor no`, reputation.ErrBadAnswer)
	}
	abused := v.Proxy == "yes" && v.Type == compromised
	r, err := reportOf(v.Risk, abused, n, sure)
	if err != nil {
		return reputation.Report{}, err
	}
	if abused {
		r.Categories |= reputation.CategoriesOf(reputation.Compromised)
	}
	if unix, err := strconv.ParseInt(string(bytes.Trim(v.LastSeen, `"`)), 10, 64); err == nil {
		r.LastSeen = rest.Unix(unix)
	}
	r.Facts = facts(addr, v.ISOCode, v.ASN, v.Provider, v.Range)
	r.Facts.Nature = n
	return r, nil
}

// reportOf returns the report of a risk, without facts.
func reportOf(risk *int, abused bool, n reputation.Nature, confidence float64) (reputation.Report, error) {
	switch {
	case risk == nil:
		return reputation.Report{}, fmt.Errorf(`%w: there is no "risk"`, reputation.ErrBadAnswer)
	case *risk < 0 || *risk > 100:
		return reputation.Report{}, fmt.Errorf(`%w: "risk" is %d, outside 0 to 100`, reputation.ErrBadAnswer, *risk)
	}
	r := reputation.Report{Severity: float64(*risk) / 100, Confidence: confidence}
	switch {
	case abused:
	case *risk == 0:
		r.Severity = -1
	case n.IsAny(reputation.KindsOf(reputation.NatureHosting)), !isNone(n): // where it is not known, it may be what explains the risk
		r.Severity = 0
	}
	if r.Severity > 0 {
		r.Categories = reputation.CategoriesOf(reputation.Abuse)
	}
	return r, nil
}

// isNone reports whether an address is known to be no proxy, VPN or Tor exit.
func isNone(n reputation.Nature) bool {
	for _, kind := range []reputation.Kind{reputation.NatureProxy, reputation.NatureVPN, reputation.NatureTor} {
		if is, known := n.Is(kind); is || !known {
			return false
		}
	}
	return true
}

func facts(addr netip.Addr, country, asn, provider, network string) reputation.Facts {
	f := reputation.Facts{Country: rest.Country(country), Network: rest.Network(network, addr)}
	f.ASN, f.ASName = rest.System(rest.ASN(asn), provider)
	return f
}

// network returns the nature of a type of network.
func network(typ string) reputation.Nature {
	var n reputation.Nature
	switch typ {
	case "Hosting":
		n = n.With(reputation.NatureHosting, true).With(reputation.NatureMobile, false)
	case "Wireless":
		n = n.With(reputation.NatureHosting, false).With(reputation.NatureMobile, true)
	case "Residential", "Business":
		n = n.With(reputation.NatureHosting, false).With(reputation.NatureMobile, false)
	}
	return n
}

// kindOfProxy returns the nature of a type of proxy in v2. There are many for proxies, such as "SOCKS5".
func kindOfProxy(typ string) reputation.Nature {
	kind := reputation.NatureProxy
	switch {
	case typ == compromised: // it may be anything
		return reputation.Nature{}
	case strings.EqualFold(typ, "VPN"):
		kind = reputation.NatureVPN
	case strings.EqualFold(typ, "TOR"):
		kind = reputation.NatureTor
	}
	return reputation.Nature{}.With(kind, true)
}

// holds reports whether a value is there and not empty: a list or an object has something in it that is not 0, false or
// an empty text.
func holds(value json.RawMessage) bool {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	return len(value) > 0 && nextHolds(d)
}

// nextHolds is holds for the next value of d, which it reads once, however deep it is nested. It may stop inside it.
func nextHolds(d *json.Decoder) bool {
	token, err := d.Token()
	if err != nil {
		return false // rest.Decode has read it before: there is none
	}
	open, nested := token.(json.Delim)
	for nested && d.More() {
		if open == '{' {
			_, _ = d.Token() // the name
		}
		if nextHolds(d) {
			return true
		}
	}
	if nested {
		_, _ = d.Token() // the end
		return false
	}
	return token != nil && token != false && token != "" && token != json.Number("0")
}
