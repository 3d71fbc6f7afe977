// Package otx is a provider for OTX, LevelBlue's (formerly AlienVault's) Open Threat Exchange, in which
// anybody publishes lists of indicators, called pulses (https://otx.alienvault.com/api).
package otx

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	defaultURL = "https://otx.alienvault.com/api/v1"

	// maxBody leaves room for fifty pulses with long descriptions, which have some 100 kB.
	maxBody = 1 << 20
)

func init() { caddy.RegisterModule(OTX{}) }

// OTX asks LevelBlue's Open Threat Exchange in how many pulses an address is. It needs an API key,
// which is free.
//
// A pulse is a list of addresses, names and files that somebody has published. It counts if it was
// changed in the last 180 days and OTX calls the address active in it. The severity is 0.25 for one
// pulse, 0.4 from two on, 0.55 from five on, and 0.7 from ten on. The confidence follows from the
// number of different authors: 0.3, 0.4 from two on, 0.5 from three on, and 0.6 from five on.
// Anybody can publish, and large addresses are in hundreds of pulses: do not block by OTX alone.
//
// The category is `abuse`. A more precise one, such as `bruteforce` or `malware`, needs two authors
// whose tags say so, since rules may block by it. An address that OTX has validated as harmless gets
// the small good weight of the source. One in no pulse that counts, or of which a report as a false
// positive was accepted, is neutral.
//
// OTX is said to allow 10,000 questions an hour with a key, which is unconfirmed; it is asked once a
// second. It is often slow: raise `timeout` if its calls time out. An answer with the status 403 is
// taken for a refused key, but may also mean that too much was asked, which is unconfirmed too. One with
// the status 404 counts only if it names the address, since that of a gateway looks the same.
//
// The address of the API is `https://otx.alienvault.com/api/v1`. The provider uses its `/indicators`.
type OTX struct {
	rest.Endpoint

	now func() time.Time
}

// CaddyModule returns the Caddy module information.
func (OTX) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.otx",
		New: func() caddy.Module { return new(OTX) },
	}
}

// Provision creates the client. It opens no connection.
func (p *OTX) Provision(ctx caddy.Context) error {
	p.now = time.Now
	return p.Open(ctx, rest.API{
		Profile: p.Profile(), Title: "OTX", URL: defaultURL, MaxBody: maxBody, Detail: detail,
	})
}

// Profile implements reputation.Provider.
func (*OTX) Profile() reputation.Profile {
	return reputation.Profile{
		Name:       "otx",
		Quota:      []string{"10000/hour"},
		Rate:       "1/s",
		ListedTTL:  24 * time.Hour,
		CleanTTL:   24 * time.Hour,
		Weight:     24,
		GoodWeight: 4,
		Trust:      0.7, // anybody can publish a pulse
		Capabilities: reputation.Capabilities{
			Categories: reputation.CategoriesOf(reputation.Abuse, reputation.Scanner, reputation.BruteForce,
				reputation.WebAttack, reputation.Spam, reputation.BotnetC2, reputation.Malware, reputation.DDoS),
			Country: true, ASN: true,
		},
		Protocol: reputation.ProtocolUnconfirmed,
	}
}

// Check implements reputation.Provider.
func (p *OTX) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	family := "IPv4"
	if q.Addr.Is6() {
		family = "IPv6"
	}
	question := rest.Request{
		Path:    []string{"indicators", family, q.Addr.String(), "general"},
		Header:  map[string]string{"X-OTX-API-KEY": q.Key},
		Answers: []int{http.StatusNotFound},
		Failure: forbidden,
	}
	return rest.Ask(ctx, &p.Endpoint, q, question, func(v *answer, resp *rest.Response) (reputation.Report, error) {
		if resp.Status == http.StatusNotFound {
			return reputation.Report{}, v.notFound(q.Addr)
		}
		return v.report(q.Addr, p.now())
	})
}

// forbidden tells of a 403 that it may not be about the key.
func forbidden(resp *rest.Response, body []byte) error {
	if resp.Status != http.StatusForbidden || !json.Valid(body) {
		return nil // a page is a firewall's
	}
	return fmt.Errorf("%w: status 403, which may also mean that too much was asked%s", reputation.ErrRefused,
		resp.Quote(detail(body)))
}

// UnmarshalCaddyfile reads the options that only this provider has.
//
//	otx {
//	    url <address>
//	}
func (p *OTX) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the provider's name
	return option.Read(d, "otx", p.Options("an address such as "+defaultURL)...)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*OTX)(nil)
	_ caddy.CleanerUpper    = (*OTX)(nil)
	_ caddyfile.Unmarshaler = (*OTX)(nil)
	_ reputation.Provider   = (*OTX)(nil)
)
