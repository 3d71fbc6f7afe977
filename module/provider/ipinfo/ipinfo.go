// Package ipinfo is a provider for IPinfo, which knows the country, the autonomous system and the kind of
// access of an address (https://ipinfo.io/developers).
package ipinfo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	defaultURL = "https://api.ipinfo.io"
	legacyURL  = "https://ipinfo.io"

	// maxBatch keeps answers small enough for the usual timeout. The service allows 1,000.
	maxBatch = 100
)

// The products.
const (
	lite    = "lite"
	core    = "core"
	plus    = "plus"
	privacy = "privacy"
)

const keyInHeader, keyInQuery = "header", "query"

func init() { caddy.RegisterModule(IPinfo{}) }

// IPinfo asks the service of the same name about facts: country, autonomous system, and what kind
// of access an address offers. It says nothing about abuse, so it never changes the score, and
// counts little for the coverage. Rules can test what it says: `block nature tor`, `block country XX`.
// It needs an API key, which the service calls a token.
//
// `api` says which product the key is for. Each says more than the one before:
//
//   - `lite`, free and without a limit: country and autonomous system. A local database says the same, and sends
//     no address to anybody.
//   - `core`: hosting and mobile networks, too. That an address is "anonymous" is not used, since
//     Core does not say in which way.
//   - `plus`: VPNs, proxies, Tor exits and relays such as Apple's, too.
//   - `privacy`: the older product with all of these but mobile networks, for accounts that have it. An account that
//     does not gets the country and the autonomous system only, and nothing about the rest is known.
//
// The data changes daily. Answers of `lite` are used for a week, those of the others for a day.
//
// With `privacy`, up to 100 addresses share a request; each counts as one of the quota.
//
// Unconfirmed: the texts of errors, and how the other products are asked about several addresses.
// The quota of 50,000 a month, for all but `lite`, is that of an older free plan: write yours.
//
// The address of the API is `https://api.ipinfo.io`, and `https://ipinfo.io` for `privacy`. The provider uses its
// `/lite`, its `/lookup`, or the address itself as the path.
type IPinfo struct {
	rest.Endpoint

	// The product that the key is for: `lite`, `core`, `plus` or `privacy`. With another one than
	// that of your plan the service refuses the key, or says less. Default: `lite`.
	API string `json:"api,omitempty"`

	// Where the key is sent: in a `header`, or in the `query` of the URL, for gateways that pass on
	// no Authorization field. Default: `header`.
	KeyIn string `json:"key_in,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (IPinfo) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.ipinfo",
		New: func() caddy.Module { return new(IPinfo) },
	}
}

// Provision creates the client. It opens no connection.
func (p *IPinfo) Provision(ctx caddy.Context) error {
	address := defaultURL
	if p.API == privacy {
		address = legacyURL
	}
	return p.Open(ctx, rest.API{Profile: p.Profile(), Title: "IPinfo", URL: address, Detail: rest.Message("error", "message")})
}

// Validate checks the settings.
func (p *IPinfo) Validate() error {
	switch p.API {
	case "", lite, core, plus, privacy:
	default:
		return fmt.Errorf("unknown api %q: use %s, %s, %s or %s", p.API, lite, core, plus, privacy)
	}
	if p.KeyIn != "" && p.KeyIn != keyInHeader && p.KeyIn != keyInQuery {
		return fmt.Errorf("unknown key_in %q: use %s or %s", p.KeyIn, keyInHeader, keyInQuery)
	}
	return nil
}

// Profile implements reputation.Provider. Without a word about abuse, a verdict loses little if the
// service does not answer: that is the trust. The weights are never used.
func (p *IPinfo) Profile() reputation.Profile {
	const day = 24 * time.Hour
	profile := reputation.Profile{
		Name: "ipinfo", Trust: 0.1, Weight: 1, GoodWeight: 1, Protocol: reputation.ProtocolConfirmed,
		Quota: []string{"50000/month"}, ListedTTL: day, CleanTTL: day,
		Capabilities: reputation.Capabilities{Country: true, ASN: true},
	}
	switch p.API {
	case core:
		profile.Capabilities.Natures = reputation.KindsOf(reputation.NatureHosting, reputation.NatureMobile)
	case plus:
		profile.Capabilities.Natures = reputation.KindsOf(reputation.AllKinds()...)
	case privacy:
		profile.Capabilities.Natures = reputation.KindsOf(reputation.NatureTor, reputation.NatureVPN,
			reputation.NatureProxy, reputation.NatureRelay, reputation.NatureHosting)
		profile.Capabilities.Network = true
		profile.Batch = maxBatch
	default:
		profile.Quota, profile.Rate = nil, "5/s"
		profile.ListedTTL, profile.CleanTTL = 7*day, 7*day
		profile.Terms = "CC BY-SA 4.0: attribution is required"
	}
	return profile
}

// Variants returns the settings of each product, of which the documentation makes a table.
func (*IPinfo) Variants() []json.RawMessage {
	return []json.RawMessage{
		json.RawMessage(`{"api": "lite"}`), json.RawMessage(`{"api": "core"}`),
		json.RawMessage(`{"api": "plus"}`), json.RawMessage(`{"api": "privacy"}`),
	}
}

// Check implements reputation.Provider.
func (p *IPinfo) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	addr := q.Addr.String()
	switch p.API {
	case core, plus:
		return rest.Ask(ctx, &p.Endpoint, q, p.question(q.Key, "lookup", addr),
			func(v *lookupAnswer, _ *rest.Response) (reputation.Report, error) {
				return v.report(q.Addr, p.API == plus)
			})
	case privacy:
		return rest.Ask(ctx, &p.Endpoint, q, p.question(q.Key, addr),
			func(v *legacyAnswer, _ *rest.Response) (reputation.Report, error) { return v.report(q.Addr) })
	}
	return rest.Ask(ctx, &p.Endpoint, q, p.question(q.Key, "lite", addr),
		func(v *liteAnswer, _ *rest.Response) (reputation.Report, error) { return v.report(q.Addr) })
}

// CheckAll implements reputation.Batcher, for Privacy only: see Profile.
func (p *IPinfo) CheckAll(ctx context.Context, key string, addrs []netip.Addr) ([]reputation.Answer, error) {
	question := p.question(key, "batch")
	question.JSON = addrs
	return rest.AskAll(ctx, &p.Endpoint, key, addrs, question,
		func(members *rest.Members[legacyAnswer], _ *rest.Response, each *rest.Answers) error {
			for _, m := range *members {
				m.Into(each, m.Name, (*legacyAnswer).report)
			}
			return nil
		})
}

// question asks with the key for what is at a path.
func (p *IPinfo) question(key string, path ...string) rest.Request {
	r := rest.Request{Path: path}
	if p.KeyIn == keyInQuery {
		r.Params = url.Values{"token": {key}}
	} else {
		r.Header = map[string]string{"Authorization": rest.Bearer(key)}
	}
	return r
}

// UnmarshalCaddyfile reads the options that only this provider has.
//
//	ipinfo {
//	    url    <address>
//	    api    lite|core|plus|privacy
//	    key_in header|query
//	}
func (p *IPinfo) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the provider's name
	return option.Read(d, "ipinfo", append(p.Options("an address such as "+defaultURL),
		option.Once("api", option.OneOf(&p.API, lite, core, plus, privacy)),
		option.Once("key_in", option.OneOf(&p.KeyIn, keyInHeader, keyInQuery)),
	)...)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*IPinfo)(nil)
	_ caddy.Validator       = (*IPinfo)(nil)
	_ caddy.CleanerUpper    = (*IPinfo)(nil)
	_ caddyfile.Unmarshaler = (*IPinfo)(nil)
	_ reputation.Provider   = (*IPinfo)(nil)
	_ reputation.Batcher    = (*IPinfo)(nil)
)
