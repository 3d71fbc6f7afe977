// Package crowdseccti is a provider for CrowdSec's CTI, which knows what CrowdSec's users saw of an
// address (API v2, https://docs.crowdsec.net/u/cti_api/intro).
package crowdseccti

import (
	"context"
	"net/http"
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
	defaultURL = "https://cti.api.crowdsec.net/v2"

	// maxBody leaves room for attackers with a long history: each kind of attack has a description.
	maxBody = 256 << 10

	// maxBatch is how many addresses one question asks about. What the service takes at most is
	// unconfirmed.
	maxBatch = 20
)

func init() { caddy.RegisterModule(CrowdSecCTI{}) }

// CrowdSecCTI asks CrowdSec's threat intelligence about addresses. It needs an API key. A key of
// the free plan has 120 questions a month: an answer holds for two days, and for a week if it
// accuses nobody. For the decisions of a CrowdSec of your own, which have no quota, see
// `feed crowdsec`.
//
// The severity follows from the service's word: `malicious` is 0.7 and more, `suspicious` 0.4 to
// 0.75, each with its score of the last week; `known` is 0.2; what is on the community blocklist
// has at least 0.9. The confidence is the service's: high 0.9, medium 0.7, low 0.4, none 0.2.
// `safe` and `benign` addresses, and known false positives, get the small good weight. An address
// that the service both accuses and calls safe is neutral. So is one that it does not know: not to
// have attacked others proves little.
//
// The categories are the behaviours that were seen. Tor, VPN and proxy are facts; the service says
// who is one, not who is none.
//
// How much the service knows of IPv6, what it answers when the quota is used up, and whether a
// question about several addresses counts as one, is unconfirmed: each address is counted.
//
// The address of the API is `https://cti.api.crowdsec.net/v2`. The provider uses its `/smoke`.
type CrowdSecCTI struct {
	rest.Endpoint
}

// CaddyModule returns the Caddy module information.
func (CrowdSecCTI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.crowdsec_cti",
		New: func() caddy.Module { return new(CrowdSecCTI) },
	}
}

// Provision creates the client. It opens no connection.
func (p *CrowdSecCTI) Provision(ctx caddy.Context) error {
	return p.Open(ctx, rest.API{
		Profile: p.Profile(), Title: "CrowdSec CTI", URL: defaultURL, MaxBody: maxBody, Detail: rest.Message("message"),
	})
}

// Profile implements reputation.Provider. The quota is that of a key of the free plan.
func (*CrowdSecCTI) Profile() reputation.Profile {
	return reputation.Profile{
		Name:       "crowdsec_cti",
		Quota:      []string{"120/month"},
		Batch:      maxBatch,
		ListedTTL:  48 * time.Hour,
		CleanTTL:   7 * 24 * time.Hour,
		Weight:     32, // malicious, and sure of it: 88
		GoodWeight: 4,
		Group:      "crowdsec", // the decisions of a CrowdSec are of the same origin
		SelfAged:   true,
		Capabilities: reputation.Capabilities{
			Categories: reputation.CategoriesOf(reputation.Abuse, reputation.Scanner, reputation.BruteForce,
				reputation.WebAttack, reputation.Spam, reputation.Bot, reputation.DDoS, reputation.PublicService),
			Natures: reputation.KindsOf(reputation.NatureTor, reputation.NatureVPN, reputation.NatureProxy),
			Country: true, ASN: true, Network: true,
		},
		Protocol: reputation.ProtocolConfirmed,
	}
}

// Check implements reputation.Provider.
func (p *CrowdSecCTI) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	question := rest.Request{
		Path:    []string{"smoke", q.Addr.String()},
		Header:  map[string]string{"x-api-key": q.Key},
		Answers: []int{http.StatusNotFound},
	}
	return rest.Ask(ctx, &p.Endpoint, q, question, func(v *answer, resp *rest.Response) (reputation.Report, error) {
		if resp.Status == http.StatusNotFound {
			return reputation.Report{}, v.notFound()
		}
		return v.report(q.Addr)
	})
}

// CheckAll implements reputation.Batcher.
func (p *CrowdSecCTI) CheckAll(ctx context.Context, key string, addrs []netip.Addr) ([]reputation.Answer, error) {
	list := make([]string, len(addrs))
	for i, addr := range addrs {
		list[i] = addr.String()
	}
	question := rest.Request{
		Path:    []string{"smoke"},
		Params:  url.Values{"ips": {strings.Join(list, ",")}},
		Header:  map[string]string{"x-api-key": key},
		Answers: []int{http.StatusNotFound},
	}
	return rest.AskAll(ctx, &p.Endpoint, key, addrs, question, func(
		v *answers, resp *rest.Response, each *rest.Answers,
	) error {
		if resp.Status == http.StatusNotFound {
			return v.notFound(addrs, each.Set)
		}
		v.report(addrs, each.Set)
		return nil
	})
}

// UnmarshalCaddyfile reads the options that only this provider has.
//
//	crowdsec_cti {
//	    url <address>
//	}
func (p *CrowdSecCTI) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the provider's name
	return option.Read(d, "crowdsec_cti", p.Options("an address such as "+defaultURL)...)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*CrowdSecCTI)(nil)
	_ caddy.CleanerUpper    = (*CrowdSecCTI)(nil)
	_ caddyfile.Unmarshaler = (*CrowdSecCTI)(nil)
	_ reputation.Provider   = (*CrowdSecCTI)(nil)
	_ reputation.Batcher    = (*CrowdSecCTI)(nil)
)
