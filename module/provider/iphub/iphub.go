// Package iphub is a provider for IPHub, which tells residential addresses from all others
// (API v2, https://iphub.info/api).
package iphub

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	defaultURL = "https://v2.api.iphub.info"

	// maxBatch is how many addresses a request has. The service does not document how many it may have.
	maxBatch = 50
)

func init() { caddy.RegisterModule(IPHub{}) }

// IPHub asks the service of the same name whether an address is residential, or one of a data
// centre, a VPN or a proxy. It needs an API key. The free plan allows 1,000 calls a day.
//
// The service says one of three things. `block` 1, not residential, becomes the nature and the
// category `hosting`: the service does not say what it is, and a machine in a data centre is the
// most likely. It gives few points, together with the lists of such networks, since it is no abuse.
// `block` 2, where visitors and proxies share an address, and `block` 0, residential or not
// classified, say nothing about an address. The autonomous system comes with all of them. The
// country is not used: it is that of the system.
//
// The service wishes to be asked about visitors of sensitive pages only, such as a log-in, and to
// be given 5 seconds: write `timeout 5s`.
//
// Up to 50 addresses share a request; each counts as one of the quota.
//
// Unconfirmed: the free plan, the bodies of errors, how many addresses a request may have, and
// whether the service knows IPv6 addresses. It is asked about IPv4 only.
//
// The address of the API is `https://v2.api.iphub.info`. The provider uses its `/ip` and its `/ip/bulk`.
type IPHub struct {
	rest.Endpoint
}

// CaddyModule returns the Caddy module information.
func (IPHub) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.iphub",
		New: func() caddy.Module { return new(IPHub) },
	}
}

// Provision creates the client. It opens no connection.
func (p *IPHub) Provision(ctx caddy.Context) error {
	return p.Open(ctx, rest.API{Profile: p.Profile(), Title: "IPHub", URL: defaultURL, Detail: rest.Message("error")})
}

// Profile implements reputation.Provider. The weight and the group are those of lists of data
// centres. The trust is below 1 since it speaks of whole networks.
func (*IPHub) Profile() reputation.Profile {
	return reputation.Profile{
		Name:      "iphub",
		Quota:     []string{"1000/day"},
		Batch:     maxBatch,
		ListedTTL: 24 * time.Hour,
		CleanTTL:  24 * time.Hour,
		Weight:    8,
		Trust:     0.5,
		Group:     "nature",
		Covers:    reputation.IPv4,
		Capabilities: reputation.Capabilities{
			Categories: reputation.CategoriesOf(reputation.Hosting),
			Natures:    reputation.KindsOf(reputation.NatureHosting),
			ASN:        true,
		},
		Terms:    "asks to be used for sensitive pages only, not for all visitors of a site",
		Protocol: reputation.ProtocolConfirmed,
	}
}

// Check implements reputation.Provider.
func (p *IPHub) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	question := rest.Request{Path: []string{"ip", q.Addr.String()}, Header: map[string]string{"X-Key": q.Key}}
	return rest.Ask(ctx, &p.Endpoint, q, question,
		func(v *answer, _ *rest.Response) (reputation.Report, error) { return v.report(q.Addr) })
}

// CheckAll implements reputation.Batcher.
func (p *IPHub) CheckAll(ctx context.Context, key string, addrs []netip.Addr) ([]reputation.Answer, error) {
	question := rest.Request{
		Path: []string{"ip", "bulk"}, Header: map[string]string{"X-Key": key}, JSON: addrs,
	}
	return rest.AskAll(ctx, &p.Endpoint, key, addrs, question,
		func(list *rest.Entries[answer], _ *rest.Response, each *rest.Answers) error {
			for _, entry := range *list {
				entry.Into(each, entry.Value.IP, (*answer).report)
			}
			return nil
		})
}

// answer is what the service says of an address.
type answer struct {
	IP    string  `json:"ip"`
	ASN   *uint32 `json:"asn"`
	ISP   string  `json:"isp"`
	Block *int    `json:"block"`
}

// report returns what an answer says about addr.
func (v *answer) report(addr netip.Addr) (reputation.Report, error) {
	switch {
	case !rest.SameAddr(v.IP, addr):
		return reputation.Report{}, fmt.Errorf(`%w: "ip" is not the address that was asked about`, reputation.ErrBadAnswer)
	case v.Block == nil || *v.Block < 0 || *v.Block > 2:
		return reputation.Report{}, fmt.Errorf(`%w: "block" is not 0, 1 or 2`, reputation.ErrBadAnswer)
	}
	var r reputation.Report
	if v.ASN != nil {
		r.Facts.ASN, r.Facts.ASName = rest.System(*v.ASN, v.ISP)
	}
	if *v.Block == 1 {
		r.Severity, r.Confidence = 1, 0.6
		r.Categories = reputation.CategoriesOf(reputation.Hosting)
		r.Facts.Nature = r.Facts.Nature.With(reputation.NatureHosting, true)
	}
	return r, nil
}

// UnmarshalCaddyfile reads the options that only this provider has.
//
//	iphub {
//	    url <address>
//	}
func (p *IPHub) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the provider's name
	return option.Read(d, "iphub", p.Options("an address such as "+defaultURL)...)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*IPHub)(nil)
	_ caddy.CleanerUpper    = (*IPHub)(nil)
	_ caddyfile.Unmarshaler = (*IPHub)(nil)
	_ reputation.Provider   = (*IPHub)(nil)
	_ reputation.Batcher    = (*IPHub)(nil)
)
