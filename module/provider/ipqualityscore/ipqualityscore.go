// Package ipqualityscore is a provider for IPQualityScore, a commercial service that detects proxies
// and fraud (https://www.ipqualityscore.com/documentation/proxy-detection-api/overview).
package ipqualityscore

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	defaultURL    = "https://www.ipqualityscore.com/api"
	maxStrictness = 3

	keyInPath, keyInHeader = "path", "header"
)

func init() { caddy.RegisterModule(IPQualityScore{}) }

// IPQualityScore asks the service of the same name whether an address is a proxy, a VPN or a Tor exit, and
// whether it was abused. It needs an API key.
//
// The service's fraud score is mostly that of an anonymizer, and that is a nature, not abuse.
// So the score becomes the severity where the service has also seen abuse (`recent_abuse`,
// `frequent_abuser`, `high_risk_attacks`, `bot_status`), or where it says that the address is no proxy, VPN or
// Tor exit, and no data centre explains it. Otherwise the severity is 0, and rules can test the nature: `block nature vpn,tor`. An
// address with a score of 0, and a crawler that the service has confirmed, get the small good weight of the
// source. The confidence is 0.7, as for any model of one company, and 0.5 for a score of 0.
//
// The service is asked with the address only, never with the visitor's browser. Its answers do not repeat
// the address, so they cannot be compared with the question. What a plan does not include is not known.
//
// Unconfirmed: how much the free plan includes. It was 1,000 calls a month in 2026 and less than 35 a day
// before, and both are the default of `quota`. Which texts come with an exhausted plan, and with which
// status, is known from examples only.
//
// The address of the API is `https://www.ipqualityscore.com/api`. The provider uses its `/json/ip`.
type IPQualityScore struct {
	rest.Endpoint

	// How deep the service looks, from 0 to 3. More finds more proxies, and takes more ordinary visitors
	// for one: the service recommends to begin with 0. It changes the score much: a VPN that has a score of
	// 20 with 0 may have 100 with 1. Default: 0.
	Strictness int `json:"strictness,omitempty"`

	// Whether the service is lenient with the shared lines of schools, hotels and companies, whose
	// visitors it may otherwise take for proxies. Default: no.
	AllowPublicAccessPoints bool `json:"allow_public_access_points,omitempty"`

	// Whether the service lowers scores for addresses that it is not sure about. It matters to sites that
	// refuse too many visitors of mobile networks. Default: no.
	LighterPenalties bool `json:"lighter_penalties,omitempty"`

	// Where the key is sent: in the `path` of the URL, or in a `header` (`IPQS-KEY`), so that no proxy on
	// the way logs it. The path works with every account, the header with newer ones, which is
	// unconfirmed. Default: `path`.
	KeyIn string `json:"key_in,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (IPQualityScore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.ipqualityscore",
		New: func() caddy.Module { return new(IPQualityScore) },
	}
}

// Provision creates the client. It opens no connection.
func (p *IPQualityScore) Provision(ctx caddy.Context) error {
	return p.Open(ctx, rest.API{Profile: p.Profile(), Title: "IPQualityScore", URL: defaultURL, Detail: rest.Message("message")})
}

// Validate checks the settings.
func (p *IPQualityScore) Validate() error {
	switch {
	case p.Strictness < 0 || p.Strictness > maxStrictness:
		return fmt.Errorf("strictness %d is out of range: use 0 to %d", p.Strictness, maxStrictness)
	case p.KeyIn != "" && p.KeyIn != keyInPath && p.KeyIn != keyInHeader:
		return fmt.Errorf("unknown key_in %q: use %s or %s", p.KeyIn, keyInPath, keyInHeader)
	}
	return nil
}

// Profile implements reputation.Provider.
func (*IPQualityScore) Profile() reputation.Profile {
	return reputation.Profile{
		Name:       "ipqualityscore",
		Quota:      []string{"33/day", "1000/month"},
		ListedTTL:  24 * time.Hour,
		CleanTTL:   24 * time.Hour,
		Weight:     24,
		GoodWeight: 4,
		SelfAged:   true,
		Capabilities: reputation.Capabilities{
			Categories: reputation.CategoriesOf(reputation.Abuse, reputation.Bot, reputation.Crawler),
			Natures: reputation.KindsOf(reputation.NatureTor, reputation.NatureVPN, reputation.NatureProxy,
				reputation.NatureHosting, reputation.NatureMobile),
			Country: true, ASN: true,
		},
		Protocol: reputation.ProtocolUnconfirmed,
	}
}

// Check implements reputation.Provider.
func (p *IPQualityScore) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	return rest.Ask(ctx, &p.Endpoint, q, p.question(q),
		func(v *answer, resp *rest.Response) (reputation.Report, error) {
			if err := v.refusal(resp); err != nil {
				return reputation.Report{}, err
			}
			return v.report()
		})
}

func (p *IPQualityScore) question(q reputation.Query) rest.Request {
	r := rest.Request{
		Path:    []string{"json", "ip", q.Key, q.Addr.String()},
		Params:  url.Values{"strictness": {strconv.Itoa(p.Strictness)}},
		Failure: failure,
	}
	if p.KeyIn == keyInHeader {
		r.Path = []string{"json", "ip", q.Addr.String()}
		r.Header = map[string]string{"IPQS-KEY": q.Key}
	}
	if p.AllowPublicAccessPoints {
		r.Params.Set("allow_public_access_points", "true")
	}
	if p.LighterPenalties {
		r.Params.Set("lighter_penalties", "true")
	}
	return r
}

// UnmarshalCaddyfile reads the options that only this provider has.
//
//	ipqualityscore {
//	    url        <address>
//	    strictness <0-3>
//	    key_in     path|header
//	    allow_public_access_points
//	    lighter_penalties
//	}
func (p *IPQualityScore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the provider's name
	return option.Read(d, "ipqualityscore", append(p.Options("an address such as "+defaultURL),
		option.Once("strictness", option.Number(&p.Strictness, "", 0, maxStrictness)),
		option.Once("key_in", option.OneOf(&p.KeyIn, keyInPath, keyInHeader)),
		option.Once("allow_public_access_points", option.Flag(&p.AllowPublicAccessPoints)),
		option.Once("lighter_penalties", option.Flag(&p.LighterPenalties)),
	)...)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*IPQualityScore)(nil)
	_ caddy.Validator       = (*IPQualityScore)(nil)
	_ caddy.CleanerUpper    = (*IPQualityScore)(nil)
	_ caddyfile.Unmarshaler = (*IPQualityScore)(nil)
	_ reputation.Provider   = (*IPQualityScore)(nil)
)
