// Package stopforumspam is a provider for StopForumSpam, to which forums report who has spammed
// them (https://www.stopforumspam.com/usage).
package stopforumspam

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
	defaultURL = "https://api.stopforumspam.org"

	// maxBatch is how many addresses a request may have.
	maxBatch = 15
)

func init() { caddy.RegisterModule(StopForumSpam{}) }

// StopForumSpam asks the service of the same name about addresses. It needs no key.
//
// The service is for those who post: sign-ups, comments, contact forms. It is not to be used as a
// firewall, and blocks whoever asks about every connection. It takes 20,000 questions a day; the
// default of `quota` is 1,000. Let sites name the requests that post by `priority`, so that most of
// these are spent on their clients. Up to 15 addresses that wait share a request. Its data is said to be
// for non-commercial use only, which is unconfirmed.
//
// The severity is the service's confidence that the address is a spammer's; 0.95 at least if the
// service has blacklisted it. The confidence follows from the number of reports: 0.3 for one, 0.5
// from two on, 0.6 from ten on. The category is `spam`. Old reports count less. An address that is
// not listed is neutral: most attackers never spam a forum.
//
// Whether an address is an exit of Tor is only said of those that are. What the service says in its
// errors is unconfirmed: a text about a limit is taken for a request to pause.
//
// The address of the API is `https://api.stopforumspam.org`. The provider uses its `/api`.
type StopForumSpam struct {
	rest.Endpoint
}

// CaddyModule returns the Caddy module information.
func (StopForumSpam) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.stopforumspam",
		New: func() caddy.Module { return new(StopForumSpam) },
	}
}

// Provision creates the client. It opens no connection.
func (p *StopForumSpam) Provision(ctx caddy.Context) error {
	return p.Open(ctx, rest.API{Profile: p.Profile(), Title: "StopForumSpam", URL: defaultURL})
}

// Profile implements reputation.Provider.
func (*StopForumSpam) Profile() reputation.Profile {
	return reputation.Profile{
		Name:      "stopforumspam",
		Quota:     []string{"1000/day"}, // of 20,000, which are not for asking about every visitor
		Rate:      "2/s",
		Batch:     maxBatch,
		ListedTTL: 24 * time.Hour,
		CleanTTL:  24 * time.Hour,
		Weight:    24,
		Trust:     0.8, // anybody can report
		Key:       reputation.KeyNone,
		Capabilities: reputation.Capabilities{
			Categories: reputation.CategoriesOf(reputation.Spam),
			Natures:    reputation.KindsOf(reputation.NatureTor),
			Country:    true, ASN: true,
		},
		Terms:    "not to ask about every connection, only about who posts; non-commercial use, as far as is known",
		Protocol: reputation.ProtocolConfirmed,
	}
}

// Check implements reputation.Provider.
func (p *StopForumSpam) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	question := rest.Request{
		Path:   []string{"api"},
		Params: url.Values{"ip": {q.Addr.String()}, "json": {""}, "confidence": {""}},
	}
	return rest.Ask(ctx, &p.Endpoint, q, question, func(v *answer, resp *rest.Response) (reputation.Report, error) {
		if err := v.failure(resp); err != nil {
			return reputation.Report{}, err
		}
		return v.IP.report(q.Addr)
	})
}

// CheckAll implements reputation.Batcher.
func (p *StopForumSpam) CheckAll(
	ctx context.Context, key string, addrs []netip.Addr,
) ([]reputation.Answer, error) {
	params := url.Values{"json": {""}, "confidence": {""}}
	for _, addr := range addrs {
		params.Add("ip[]", addr.String())
	}
	question := rest.Request{Path: []string{"api"}, Params: params}
	return rest.AskAll(ctx, &p.Endpoint, key, addrs, question,
		func(v *answers, resp *rest.Response, each *rest.Answers) error {
			if err := v.failure(resp); err != nil {
				return err
			}
			for _, one := range v.IP {
				one.Into(each, one.Value.Value, (*entry).report)
			}
			return nil
		})
}

// UnmarshalCaddyfile reads the options that only this provider has.
//
//	stopforumspam {
//	    url <address>
//	}
func (p *StopForumSpam) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the provider's name
	return option.Read(d, "stopforumspam", p.Options("an address such as "+defaultURL)...)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*StopForumSpam)(nil)
	_ caddy.CleanerUpper    = (*StopForumSpam)(nil)
	_ caddyfile.Unmarshaler = (*StopForumSpam)(nil)
	_ reputation.Provider   = (*StopForumSpam)(nil)
	_ reputation.Batcher    = (*StopForumSpam)(nil)
)
