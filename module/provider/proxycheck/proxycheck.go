// Package proxycheck is a provider for proxycheck.io, which detects proxies, VPNs and compromised machines
// (API v2 and v3, https://proxycheck.io/api).
package proxycheck

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	defaultURL = "https://proxycheck.io"

	// maxBatch is how many addresses a request may have with every plan, and without a key.
	maxBatch = 100
)

// The versions of the API.
const (
	v2 = "v2"
	v3 = "v3"
)

func init() { caddy.RegisterModule(ProxyCheck{}) }

// ProxyCheck asks proxycheck.io whether an address is a proxy, a VPN, a Tor exit or a machine in a
// data centre, and how risky it is. A free key allows 1,000 questions a day. Without a key there
// are 100 a day: write `quota 100/day` then.
//
// The service's risk is mostly that of a proxy, and that is a nature, not abuse. So it becomes the
// severity where the service has also seen abuse (a compromised machine, a scraper, a history of
// attacks), or where it says that the address is no proxy, VPN or Tor exit, and no data centre
// explains it. Otherwise the severity is 0, and rules can test the nature: `block nature
// proxy,tor`. An address with a risk of 0 gets the small good weight of the source. The confidence
// is that of the service, up to 0.8, and 0.7 with `v2`, which has none.
//
// Several addresses share a request, up to 100; each counts as one of the quota. The service is
// told to store none of the addresses that it detects (`tag=0`). The key is in the query of the
// URL.
//
// Unconfirmed: with which status a refusal comes: it is recognized with any; that the type "Wireless"
// is a mobile network; what is in a history of attacks: all but zeros counts.
//
// The address of the API is `https://proxycheck.io`. The provider uses its `/v3` or `/v2`.
type ProxyCheck struct {
	rest.Endpoint

	// The version of the API: `v3`, or the older `v2` for a gateway that has no other. Version 3
	// tells proxies, VPNs and Tor exits apart, knows more kinds of abuse, and says how sure it is.
	// Default: `v3`.
	API string `json:"api,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (ProxyCheck) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.proxycheck",
		New: func() caddy.Module { return new(ProxyCheck) },
	}
}

// Provision creates the client. It opens no connection.
func (p *ProxyCheck) Provision(ctx caddy.Context) error {
	return p.Open(ctx, rest.API{Profile: p.Profile(), Title: "proxycheck.io", URL: defaultURL, Detail: rest.Message("message")})
}

// Validate checks the settings.
func (p *ProxyCheck) Validate() error {
	switch p.API {
	case "", v2, v3:
		return nil
	}
	return fmt.Errorf("unknown api %q: use %s or %s", p.API, v2, v3)
}

// Profile implements reputation.Provider.
func (p *ProxyCheck) Profile() reputation.Profile {
	profile := reputation.Profile{
		Name:       "proxycheck",
		Quota:      []string{"1000/day"},
		Batch:      maxBatch,
		ListedTTL:  24 * time.Hour,
		CleanTTL:   24 * time.Hour,
		Weight:     24,
		GoodWeight: 4,
		SelfAged:   true,
		Key:        reputation.KeyOptional,
		Capabilities: reputation.Capabilities{
			Categories: reputation.CategoriesOf(reputation.Abuse, reputation.Compromised),
			Natures: reputation.KindsOf(reputation.NatureTor, reputation.NatureVPN, reputation.NatureProxy,
				reputation.NatureHosting, reputation.NatureMobile),
			Country: true, ASN: true, Network: true,
		},
		Protocol: reputation.ProtocolConfirmed,
	}
	if p.API != v2 {
		profile.Capabilities.Categories |= reputation.CategoriesOf(reputation.Bot)
	}
	return profile
}

// Variants returns the settings of each version, of which the documentation makes a table.
func (*ProxyCheck) Variants() []json.RawMessage {
	return []json.RawMessage{json.RawMessage(`{"api": "v3"}`), json.RawMessage(`{"api": "v2"}`)}
}

// Check implements reputation.Provider.
func (p *ProxyCheck) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	if p.API == v2 {
		return check[answer2](ctx, p, q)
	}
	return check[answer3](ctx, p, q)
}

// CheckAll implements reputation.Batcher.
func (p *ProxyCheck) CheckAll(ctx context.Context, key string, addrs []netip.Addr) ([]reputation.Answer, error) {
	if p.API == v2 {
		return checkAll[answer2](ctx, p, key, addrs)
	}
	return checkAll[answer3](ctx, p, key, addrs)
}

func check[T answer](ctx context.Context, p *ProxyCheck, q reputation.Query) (reputation.Report, error) {
	return rest.Ask(ctx, &p.Endpoint, q, p.question(q.Key, q.Addr.String()),
		func(v *envelope[T], resp *rest.Response) (reputation.Report, error) {
			found, err := v.about(q.Addr, resp)
			if err != nil {
				return reputation.Report{}, err
			}
			return found.report(q.Addr)
		})
}

func checkAll[T answer](
	ctx context.Context, p *ProxyCheck, key string, addrs []netip.Addr,
) ([]reputation.Answer, error) {
	question := p.question(key, "")
	words := make([]string, len(addrs))
	for i, addr := range addrs {
		words[i] = addr.String()
	}
	question.Form = url.Values{"ips": {strings.Join(words, ",")}}
	return rest.AskAll(ctx, &p.Endpoint, key, addrs, question,
		func(v *envelope[T], resp *rest.Response, each *rest.Answers) error {
			some := false
			for _, m := range v.members {
				some = m.Into(each, m.Name, func(one *T, addr netip.Addr) (reputation.Report, error) {
					return (*one).report(addr)
				}) || some
			}
			if !some && (v.Status == denied || v.Status == failed) {
				return v.refusal(resp)
			}
			return nil
		})
}

// question asks about the address that is the last element of the path, or about those of a form.
func (p *ProxyCheck) question(key, last string) rest.Request {
	r := rest.Request{Path: []string{v3, last}, Params: url.Values{"tag": {"0"}}, Failure: failure}
	if p.API == v2 {
		// vpn=1 looks for VPNs, too; without asn and risk there are none in the answer
		r.Path[0] = v2
		r.Params = url.Values{"tag": {"0"}, "vpn": {"1"}, "asn": {"1"}, "risk": {"1"}}
	}
	if key != "" {
		r.Params.Set("key", key)
	}
	return r
}

// UnmarshalCaddyfile reads the options that only this provider has.
//
//	proxycheck {
//	    url <address>
//	    api v3|v2
//	}
func (p *ProxyCheck) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the provider's name
	return option.Read(d, "proxycheck", append(p.Options("an address such as "+defaultURL),
		option.Once("api", option.OneOf(&p.API, v3, v2)))...)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*ProxyCheck)(nil)
	_ caddy.Validator       = (*ProxyCheck)(nil)
	_ caddy.CleanerUpper    = (*ProxyCheck)(nil)
	_ caddyfile.Unmarshaler = (*ProxyCheck)(nil)
	_ reputation.Provider   = (*ProxyCheck)(nil)
	_ reputation.Batcher    = (*ProxyCheck)(nil)
)
