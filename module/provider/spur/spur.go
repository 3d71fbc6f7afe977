// Package spur is a provider for Spur, which knows whose VPN or proxy an address is (Context API
// v2, https://docs.spur.us).
package spur

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const defaultURL = "https://api.spur.us"

func init() { caddy.RegisterModule(Spur{}) }

// Spur asks the service of the same name about addresses. It needs a token of a paid plan, as its
// key; write your plan's `quota`, which is 1,000 a day otherwise.
//
// The answers are mostly facts: VPN, proxy, Tor, hosting, mobile, country and ASN, residential
// proxies included. They raise no severity by themselves; write rules with `nature`. Of its risks,
// brute force against log-ins and spam have the severity 0.6, scraping 0.3; all others have none.
// The addresses of Apple's Private Relay have none in any case, since many people share them. The
// confidence is 0.7: it is one company's model. What the service does not say is not known. An
// address without risks is neutral.
//
// The protocol is known from third parties: the errors, the answer about an unknown address, and
// the test of the token are unconfirmed. An answer with the status 404 counts only if it names the
// address, since that of a gateway looks the same.
//
// The address of the API is `https://api.spur.us`. The provider uses its `/v2/context`, and
// `/status` when an operator tests the token.
type Spur struct {
	rest.Endpoint
}

// CaddyModule returns the Caddy module information.
func (Spur) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.spur",
		New: func() caddy.Module { return new(Spur) },
	}
}

// Provision creates the client. It opens no connection.
func (p *Spur) Provision(ctx caddy.Context) error {
	return p.Open(ctx, rest.API{Profile: p.Profile(), Title: "Spur", URL: defaultURL, Detail: rest.Message("error")})
}

// Profile implements reputation.Provider. Plans differ: the quota is below those that are known.
func (*Spur) Profile() reputation.Profile {
	return reputation.Profile{
		Name:      "spur",
		Quota:     []string{"1000/day"},
		ListedTTL: 24 * time.Hour,
		CleanTTL:  72 * time.Hour,
		Weight:    24,
		SelfAged:  true, // it says what holds now
		Capabilities: reputation.Capabilities{
			Categories: reputation.CategoriesOf(reputation.BruteForce, reputation.Spam, reputation.Bot),
			Natures: reputation.KindsOf(reputation.NatureTor, reputation.NatureVPN, reputation.NatureProxy,
				reputation.NatureHosting, reputation.NatureMobile, reputation.NatureRelay),
			Country: true, ASN: true,
		},
		Paid:     true,
		Terms:    "a paid plan is needed",
		Protocol: reputation.ProtocolUnconfirmed,
	}
}

// Check implements reputation.Provider.
func (p *Spur) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	question := rest.Request{
		Path:    []string{"v2", "context", q.Addr.String()},
		Header:  map[string]string{"Token": q.Key},
		Answers: []int{http.StatusNotFound},
	}
	return rest.Ask(ctx, &p.Endpoint, q, question, func(v *answer, resp *rest.Response) (reputation.Report, error) {
		if resp.Status == http.StatusNotFound {
			return reputation.Report{}, v.notFound(q.Addr)
		}
		return v.report(q.Addr)
	})
}

// Probe implements reputation.Prober. It costs nothing.
func (p *Spur) Probe(ctx context.Context, key string) error {
	nobody := netip.AddrFrom4([4]byte{9, 9, 9, 9}) // is not sent
	question := rest.Request{Path: []string{"status"}, Header: map[string]string{"Token": key}}
	_, err := rest.Ask(ctx, &p.Endpoint, reputation.Query{Addr: nobody, Key: key}, question,
		func(v *status, _ *rest.Response) (r reputation.Report, err error) {
			switch {
			case v.Active == nil:
				err = fmt.Errorf(`%w: there is no "active"`, reputation.ErrBadAnswer)
			case !*v.Active:
				err = fmt.Errorf("%w: the token is not active", reputation.ErrRefused)
			}
			return r, err
		})
	return err
}

// status is what the service says of a token.
type status struct {
	Active *bool `json:"active"`
}

// UnmarshalCaddyfile reads the options that only this provider has.
//
//	spur {
//	    url <address>
//	}
func (p *Spur) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the provider's name
	return option.Read(d, "spur", p.Options("an address such as "+defaultURL)...)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Spur)(nil)
	_ caddy.CleanerUpper    = (*Spur)(nil)
	_ caddyfile.Unmarshaler = (*Spur)(nil)
	_ reputation.Provider   = (*Spur)(nil)
	_ reputation.Prober     = (*Spur)(nil)
)
