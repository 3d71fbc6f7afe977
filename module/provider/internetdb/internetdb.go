// Package internetdb is a provider for Shodan's InternetDB, which knows what Shodan has found when it
// scanned an address (https://internetdb.shodan.io).
package internetdb

import (
	"context"
	"errors"
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

const defaultURL = "https://internetdb.shodan.io"

func init() { caddy.RegisterModule(InternetDB{}) }

// InternetDB asks Shodan's InternetDB what runs on an address. It needs no key. Its use is free for
// non-commercial purposes, and Shodan is to be named as the source.
//
// It is not a list of attackers: it says what an address offers to the Internet, and most home lines
// offer nothing. Only three kinds of its tags accuse an address: `malware`, `c2`, and those of
// machines that were broken into (`compromised`, `doublepulsar`) have a severity of 0.6, `scanner`
// has 0.3. The confidence is 0.4, since a tag says nothing of when, and addresses change hands. The
// tags `tor`, `vpn`, `proxy` and `cloud` are natures. A missing tag means nothing: the nature stays
// unknown. Open ports and vulnerabilities are ignored, since the visitor is rarely who runs them.
//
// The service has no quota, but bans whoever asks too fast for an hour: it is asked once a second.
// Its data changes once a week, so answers are used for five days. It knows few IPv6 addresses.
//
// The list of tags is unconfirmed: unknown ones are ignored.
//
// The address of the API is `https://internetdb.shodan.io`. The provider uses the address in question as the path.
type InternetDB struct {
	rest.Endpoint
}

// CaddyModule returns the Caddy module information.
func (InternetDB) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.internetdb",
		New: func() caddy.Module { return new(InternetDB) },
	}
}

// Provision creates the client. It opens no connection.
func (p *InternetDB) Provision(ctx caddy.Context) error {
	return p.Open(ctx, rest.API{Profile: p.Profile(), Title: "InternetDB", URL: defaultURL})
}

// Profile implements reputation.Provider.
func (*InternetDB) Profile() reputation.Profile {
	return reputation.Profile{
		Name:      "internetdb",
		Rate:      "1/s",
		ListedTTL: 5 * 24 * time.Hour, // as the service's Cache-Control says
		CleanTTL:  5 * 24 * time.Hour,
		Trust:     0.5, // that it knows nothing bad says little about a client
		Key:       reputation.KeyNone,
		Capabilities: reputation.Capabilities{
			Categories: reputation.CategoriesOf(reputation.Malware, reputation.BotnetC2, reputation.Compromised,
				reputation.Scanner),
			Natures: reputation.KindsOf(reputation.NatureTor, reputation.NatureVPN, reputation.NatureProxy,
				reputation.NatureHosting),
		},
		Terms:    "non-commercial use only, with Shodan named as the source",
		Protocol: reputation.ProtocolConfirmed,
	}
}

// Check implements reputation.Provider.
func (p *InternetDB) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	question := rest.Request{Path: []string{q.Addr.String()}, Answers: []int{http.StatusNotFound}}
	return rest.Ask(ctx, &p.Endpoint, q, question, func(v *answer, resp *rest.Response) (reputation.Report, error) {
		if resp.Status == http.StatusNotFound {
			return reputation.Report{}, v.notFound()
		}
		return v.report(q.Addr)
	})
}

// answer is the body of a 200, or of a 404.
type answer struct {
	IP     string    `json:"ip"`
	Tags   *[]string `json:"tags"`
	Detail any       `json:"detail"` // a text, or a list in a 422
}

// unknown is what the service says in its own 404. Another 404 is that of a wrong path.
const unknown = "No information available"

func (v *answer) notFound() error {
	if v.Detail != unknown {
		return fmt.Errorf("%w: a 404 that is not the service's own, check the url option", reputation.ErrBadAnswer)
	}
	return reputation.ErrUnknown
}

// report returns the report of the answer about addr.
func (v *answer) report(addr netip.Addr) (reputation.Report, error) {
	if err := v.validate(addr); err != nil {
		return reputation.Report{}, fmt.Errorf("%w: %w", reputation.ErrBadAnswer, err)
	}
	r := reputation.Report{Confidence: 0.4}
	for _, tag := range *v.Tags {
		if m, ok := accusations[tag]; ok {
			r.Severity = max(r.Severity, m.severity)
			r.Categories |= reputation.CategoriesOf(m.category)
		}
		if kind, ok := natures[tag]; ok {
			r.Facts.Nature = r.Facts.Nature.With(kind, true)
		}
	}
	return r, nil
}

// validate checks the values that a report needs.
func (v *answer) validate(addr netip.Addr) error {
	switch {
	case !rest.SameAddr(v.IP, addr):
		return errors.New(`"ip" is not the address that was asked about`)
	case v.Tags == nil:
		return errors.New(`there are no "tags"`)
	}
	return nil
}

// accusations are the tags that speak against an address.
var accusations = map[string]struct {
	category reputation.Category
	severity float64
}{
	"malware":      {reputation.Malware, 0.6},
	"c2":           {reputation.BotnetC2, 0.6},
	"compromised":  {reputation.Compromised, 0.6},
	"doublepulsar": {reputation.Compromised, 0.6}, // a back door that an attacker has left
	"scanner":      {reputation.Scanner, 0.3},
}

// natures are the tags that say what kind of access an address offers.
var natures = map[string]reputation.Kind{
	"tor": reputation.NatureTor, "vpn": reputation.NatureVPN, "proxy": reputation.NatureProxy,
	"cloud": reputation.NatureHosting,
}

// UnmarshalCaddyfile reads the options that only this provider has.
//
//	internetdb {
//	    url <address>
//	}
func (p *InternetDB) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the provider's name
	return option.Read(d, "internetdb", p.Options("an address such as "+defaultURL)...)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*InternetDB)(nil)
	_ caddy.CleanerUpper    = (*InternetDB)(nil)
	_ caddyfile.Unmarshaler = (*InternetDB)(nil)
	_ reputation.Provider   = (*InternetDB)(nil)
)
