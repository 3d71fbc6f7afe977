// Package ipapiis is a provider for ipapi.is, which knows data centres, VPNs, proxies and addresses on public
// blocklists (https://ipapi.is/developers.html).
package ipapiis

import (
	"context"
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
	defaultURL = "https://api.ipapi.is"
	maxBatch   = 100
)

func init() { caddy.RegisterModule(IPAPIIs{}) }

// IPAPIIs asks ipapi.is where an address is, whose it is, what kind of access it offers, and
// whether it is on public blocklists. It needs an API key. A free one allows 1,000 calls a day.
// Without a key the service says almost nothing, thirty times a day, and then blocks the address
// that asks: so there are no calls without one.
//
// An abuser (`is_abuser`) has a severity of 0.6 with a confidence of 0.5, and counts as one more
// list that copies from others, since the service reads public blocklists. Not to be one says
// little about an address: the severity is 0. The shares of abusers in the network and in the
// company (`abuser_score`) are about neighbours, and are not used. Data centre, VPN, proxy, Tor
// exit and mobile network are facts. One that the answer leaves out is not known.
//
// Up to 100 addresses share a request; each counts as one of the quota.
//
// Unconfirmed: the bodies of errors, and whether `is_crawler` is a name or only true: any name is taken as yes.
//
// The address of the API is `https://api.ipapi.is`. The provider uses its `/`. The key is in the
// query of the URL, or in the body of a request about several addresses.
type IPAPIIs struct {
	rest.Endpoint
}

// CaddyModule returns the Caddy module information.
func (IPAPIIs) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.ipapi_is",
		New: func() caddy.Module { return new(IPAPIIs) },
	}
}

// Provision creates the client. It opens no connection.
func (p *IPAPIIs) Provision(ctx caddy.Context) error {
	return p.Open(ctx, rest.API{Profile: p.Profile(), Title: "ipapi.is", URL: defaultURL, Detail: rest.Message("error")})
}

// Profile implements reputation.Provider.
func (*IPAPIIs) Profile() reputation.Profile {
	return reputation.Profile{
		Name:      "ipapi_is",
		Quota:     []string{"1000/day"},
		Batch:     maxBatch,
		ListedTTL: 24 * time.Hour,
		CleanTTL:  24 * time.Hour,
		Weight:    20,
		Group:     "lists",
		Capabilities: reputation.Capabilities{
			Categories: reputation.CategoriesOf(reputation.Abuse, reputation.Crawler),
			Natures: reputation.KindsOf(reputation.NatureTor, reputation.NatureVPN, reputation.NatureProxy,
				reputation.NatureHosting, reputation.NatureMobile),
			Country: true, ASN: true, Network: true,
		},
		Protocol: reputation.ProtocolConfirmed,
	}
}

// Check implements reputation.Provider.
func (p *IPAPIIs) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	question := rest.Request{Path: []string{""}, Params: url.Values{"q": {q.Addr.String()}, "key": {q.Key}}}
	return rest.Ask(ctx, &p.Endpoint, q, question, func(v *answer, resp *rest.Response) (reputation.Report, error) {
		if err := v.refusal(resp); err != nil {
			return reputation.Report{}, err
		}
		return v.report(q.Addr)
	})
}

// CheckAll implements reputation.Batcher. The answer has a member for each address, as the question spells it.
func (p *IPAPIIs) CheckAll(ctx context.Context, key string, addrs []netip.Addr) ([]reputation.Answer, error) {
	question := rest.Request{Path: []string{""}, JSON: struct {
		IPs []netip.Addr `json:"ips"`
		Key string       `json:"key"`
	}{addrs, key}}
	return rest.AskAll(ctx, &p.Endpoint, key, addrs, question,
		func(v *answers, resp *rest.Response, each *rest.Answers) error {
			for _, m := range v.members {
				m.Into(each, m.Name, (*answer).report)
			}
			return v.refusal(resp)
		})
}

// UnmarshalCaddyfile reads the options that only this provider has.
//
//	ipapi_is {
//	    url <address>
//	}
func (p *IPAPIIs) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the provider's name
	return option.Read(d, "ipapi_is", p.Options("an address such as "+defaultURL)...)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*IPAPIIs)(nil)
	_ caddy.CleanerUpper    = (*IPAPIIs)(nil)
	_ caddyfile.Unmarshaler = (*IPAPIIs)(nil)
	_ reputation.Provider   = (*IPAPIIs)(nil)
	_ reputation.Batcher    = (*IPAPIIs)(nil)
)
