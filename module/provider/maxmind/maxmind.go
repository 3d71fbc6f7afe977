// Package maxmind is a provider for MaxMind's web services: GeoIP Insights 2.1 and minFraud Score
// 2.0 (https://dev.maxmind.com).
package maxmind

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
	insightsURL = "https://geoip.maxmind.com/geoip/v2.1"
	minfraudURL = "https://minfraud.maxmind.com/minfraud/v2.0"
)

// The products.
const (
	insights = "insights"
	minfraud = "minfraud"
)

func init() { caddy.RegisterModule(MaxMind{}) }

// MaxMind asks a web service of MaxMind about addresses. It needs an account with funds: each
// question is paid. The key is the account ID and a licence key with a colon between them, such as
// `{env.MAXMIND_ACCOUNT}:{env.MAXMIND_LICENSE}`. Write a `quota` that you can pay; the default is
// 1,000 a day. For MaxMind's databases, which cost nothing per question, see `mmdb`.
//
// `insights` says what an address is: VPN, proxy, Tor, hosting, mobile, relay, country and network.
// Its severity is the service's risk, from 0 to 1. An answer without one is neutral: the risk is
// low, or not known. The risk of a VPN or proxy is that of all who use it: 0.6 at most. A relay for
// privacy, such as Apple's, has none. The confidence is 0.7, and 0.4 for an address that more than
// 50 people share. What the service does not say is not known.
//
// `minfraud` is made for transactions, and says of an address its risk only: the severity, with a
// confidence of 0.7. As a source, it has the name `minfraud`.
//
// The address of the API is `https://geoip.maxmind.com/geoip/v2.1`, of which the provider uses
// `/insights`; for `minfraud` it is `https://minfraud.maxmind.com/minfraud/v2.0`, of which it uses
// `/score`.
type MaxMind struct {
	rest.Endpoint

	// The product: `insights` or `minfraud`. Default: `insights`.
	API string `json:"api,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (MaxMind) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.maxmind",
		New: func() caddy.Module { return new(MaxMind) },
	}
}

// Provision creates the client. It opens no connection.
func (p *MaxMind) Provision(ctx caddy.Context) error {
	api := rest.API{Profile: p.Profile(), Title: "MaxMind", URL: insightsURL, Detail: rest.Message("error")}
	if p.API == minfraud {
		api.Title, api.URL = "minFraud", minfraudURL
	}
	return p.Open(ctx, api)
}

// Validate checks the settings.
func (p *MaxMind) Validate() error {
	switch p.API {
	case "", insights, minfraud:
		return nil
	}
	return fmt.Errorf("unknown api %q: use %s or %s", p.API, insights, minfraud)
}

// Profile implements reputation.Provider. There is no free plan: the quota keeps whoever forgets to
// write one from paying for every visitor.
func (p *MaxMind) Profile() reputation.Profile {
	profile := reputation.Profile{
		Name:      "maxmind",
		Quota:     []string{"1000/day"},
		ListedTTL: 24 * time.Hour,
		CleanTTL:  72 * time.Hour,
		Weight:    24,
		Group:     "maxmind",
		SelfAged:  true, // the risk is today's
		Capabilities: reputation.Capabilities{
			Categories: reputation.CategoriesOf(reputation.Abuse, reputation.Crawler),
			Natures:    reputation.KindsOf(reputation.AllKinds()...),
			Country:    true, ASN: true, Network: true,
		},
		Paid:     true,
		Terms:    "paid by the question",
		Protocol: reputation.ProtocolConfirmed,
	}
	if p.API == minfraud {
		profile.Name, profile.Terms = "minfraud", "paid by the question, and made for transactions"
		profile.Capabilities = reputation.Capabilities{Categories: reputation.CategoriesOf(reputation.Abuse)}
	}
	return profile
}

// Variants returns the settings of each product, of which the documentation makes a table.
func (*MaxMind) Variants() []json.RawMessage {
	return []json.RawMessage{json.RawMessage(`{"api": "insights"}`), json.RawMessage(`{"api": "minfraud"}`)}
}

// Check implements reputation.Provider.
func (p *MaxMind) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	question := rest.Request{Basic: q.Key, Failure: notKnown}
	if p.API == minfraud {
		question.Path, question.JSON = []string{"score"}, transaction{Device: device{q.Addr.String()}}
		return rest.Ask(ctx, &p.Endpoint, q, question, func(v *scoreAnswer, _ *rest.Response) (reputation.Report, error) {
			return v.report()
		})
	}
	question.Path = []string{insights, q.Addr.String()}
	return rest.Ask(ctx, &p.Endpoint, q, question, func(v *insightsAnswer, _ *rest.Response) (reputation.Report, error) {
		return v.report(q.Addr)
	})
}

// failure is the body of an error, unless it has none.
type failure struct {
	Code  string `json:"code"`
	Error string `json:"error"`
}

// notKnown tells an address that the service does not have, or calls reserved, from other errors.
func notKnown(resp *rest.Response, body []byte) error {
	var f failure
	_ = json.Unmarshal(body, &f)
	if resp.Status == http.StatusNotFound && f.Code == "IP_ADDRESS_NOT_FOUND" ||
		resp.Status == http.StatusBadRequest && f.Code == "IP_ADDRESS_RESERVED" {
		return reputation.ErrUnknown
	}
	return nil
}

// UnmarshalCaddyfile reads the options that only this provider has.
//
//	maxmind {
//	    url <address>
//	    api insights|minfraud
//	}
func (p *MaxMind) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the provider's name
	return option.Read(d, "maxmind", append(p.Options("an address such as "+insightsURL),
		option.Once("api", option.OneOf(&p.API, insights, minfraud)))...)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*MaxMind)(nil)
	_ caddy.Validator       = (*MaxMind)(nil)
	_ caddy.CleanerUpper    = (*MaxMind)(nil)
	_ caddyfile.Unmarshaler = (*MaxMind)(nil)
	_ reputation.Provider   = (*MaxMind)(nil)
)
