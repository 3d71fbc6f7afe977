// Package virustotal is a provider for VirusTotal, which asks about ninety lists and scanners about an
// address (API v3, https://docs.virustotal.com/reference/ip-info).
package virustotal

import (
	"context"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	defaultURL = "https://www.virustotal.com/api/v3"

	// maxBody leaves room for a certificate and the text of whois. The usual answers have 10 to 40 kB.
	maxBody = 256 << 10
)

func init() { caddy.RegisterModule(VirusTotal{}) }

// VirusTotal asks the service of the same name about addresses. It needs an API key. A free key
// allows 4 requests a minute, 500 a day and 15,500 a month, and must not be used in commercial
// products, services or business workflows. Some accounts have less: then set `quota`.
//
// About ninety engines judge an address, mostly by what it hosts: it is good for botnets' servers and
// machines that spread malware, and weak for those that only attack others. One engine alone is
// often wrong: it gives a severity of 0.25. With more, the severity is 0.32, plus 0.08 for each engine
// that calls the address malicious, plus 0.04 for each that calls it suspicious, up to 1. The
// confidence is 0.3, plus 0.1 for each that calls it malicious, up to 0.9. The category is `abuse`,
// and `malware` too if three engines say so.
//
// An address that engines call harmless, and none malicious or suspicious, gets the small good weight of
// the source. One that no engine has an opinion on is neutral. The votes and the reputation of VirusTotal's
// users are ignored: anybody can vote.
//
// The time of the last analysis counts as the time of the behaviour, so old verdicts count less.
// Whether the service says how long to pause when a quota is used up is unconfirmed.
//
// The address of the API is `https://www.virustotal.com/api/v3`. The provider uses its `/ip_addresses`.
type VirusTotal struct {
	rest.Endpoint
}

// CaddyModule returns the Caddy module information.
func (VirusTotal) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.virustotal",
		New: func() caddy.Module { return new(VirusTotal) },
	}
}

// Provision creates the client. It opens no connection.
func (p *VirusTotal) Provision(ctx caddy.Context) error {
	return p.Open(ctx, rest.API{
		Profile: p.Profile(), Title: "VirusTotal", URL: defaultURL, MaxBody: maxBody, Detail: detail,
	})
}

// Profile implements reputation.Provider. The quotas are those of a free key, by the UTC day.
func (*VirusTotal) Profile() reputation.Profile {
	return reputation.Profile{
		Name:       "virustotal",
		Quota:      []string{"4/minute", "500/day", "15500/month"},
		ListedTTL:  24 * time.Hour,
		CleanTTL:   48 * time.Hour,
		Weight:     24,
		GoodWeight: 4,
		Capabilities: reputation.Capabilities{
			Categories: reputation.CategoriesOf(reputation.Abuse, reputation.Malware),
			Country:    true, ASN: true, Network: true,
		},
		Terms:    "a free key: not in commercial products, services or business workflows",
		Protocol: reputation.ProtocolConfirmed,
	}
}

// Check implements reputation.Provider.
func (p *VirusTotal) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	question := rest.Request{
		Path:    []string{"ip_addresses", q.Addr.String()},
		Header:  map[string]string{"x-apikey": q.Key},
		Answers: []int{http.StatusNotFound},
	}
	return rest.Ask(ctx, &p.Endpoint, q, question, func(v *answer, resp *rest.Response) (reputation.Report, error) {
		if resp.Status == http.StatusNotFound {
			return reputation.Report{}, v.notFound()
		}
		return v.report(q.Addr)
	})
}

// UnmarshalCaddyfile reads the options that only this provider has.
//
//	virustotal {
//	    url <address>
//	}
func (p *VirusTotal) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the provider's name
	return option.Read(d, "virustotal", p.Options("an address such as "+defaultURL)...)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*VirusTotal)(nil)
	_ caddy.CleanerUpper    = (*VirusTotal)(nil)
	_ caddyfile.Unmarshaler = (*VirusTotal)(nil)
	_ reputation.Provider   = (*VirusTotal)(nil)
)
