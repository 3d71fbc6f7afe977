// Package greynoise is a provider for GreyNoise, whose sensors see who scans the whole Internet
// (https://docs.greynoise.io).
package greynoise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	defaultURL = "https://api.greynoise.io"

	// maxBody leaves room for what a busy scanner sent, which v3 lists port by port.
	maxBody = 1 << 20

	// maxBatch is how many addresses one question of v3 asks about. The service takes 10,000, and says
	// much of each.
	maxBatch = 50
)

// The products.
const (
	community = "community"
	v3        = "v3"
)

func init() { caddy.RegisterModule(GreyNoise{}) }

// GreyNoise asks the service of the same name about addresses. It says which addresses scan the
// whole Internet, and which of them are research scanners or common services rather than attackers.
//
// The severity is 0.85 for a `malicious` scanner, 0.6 for a `suspicious` one, and 0.3 if the
// service does not know why an address scans. The confidence is 0.8, and half of it if the address
// may be forged. A `benign` scanner, and a service that most companies use, get the good weight,
// which is large: it outweighs lists and complaints. The confidence in such a service is 0.9 if
// GreyNoise trusts it most, 0.4 if it trusts it less, and 0.5 in `community`, which does not say. A
// common service that scans with bad intent is neutral. An address that does not scan is unknown,
// even if it attacks you.
//
// The quota of `community` is about 50 questions a week with a free key and 25 without one. Both
// numbers, the answer to a wrong key, and what `v3` answers about an address that it does not know,
// are unconfirmed. It covers IPv4 only.
//
// The address of the API is `https://api.greynoise.io`. The provider uses its `/v3/community` or
// `/v3/ip`, and `/ping` when an operator tests the key.
type GreyNoise struct {
	rest.Endpoint

	// The product: `community`, which is free, or `v3`, which needs a paid plan and also says what
	// an address did, its country, ASN and nature. Default: `community`.
	API string `json:"api,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (GreyNoise) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.greynoise",
		New: func() caddy.Module { return new(GreyNoise) },
	}
}

// Provision creates the client. It opens no connection.
func (p *GreyNoise) Provision(ctx caddy.Context) error {
	return p.Open(ctx, rest.API{
		Profile: p.Profile(), Title: "GreyNoise", URL: defaultURL, MaxBody: maxBody, Detail: rest.Message("message"),
	})
}

// Validate checks the settings.
func (p *GreyNoise) Validate() error {
	switch p.API {
	case "", community, v3:
		return nil
	}
	return fmt.Errorf("unknown api %q: use %s or %s", p.API, community, v3)
}

// Profile implements reputation.Provider. The quota of community is that of a free key.
func (p *GreyNoise) Profile() reputation.Profile {
	profile := reputation.Profile{
		Name:       "greynoise",
		Quota:      []string{"50/week"},
		ListedTTL:  72 * time.Hour,
		CleanTTL:   7 * 24 * time.Hour,
		Weight:     26,
		GoodWeight: 40, // a benign scanner is on every list, and nobody's attacker
		Key:        reputation.KeyOptional,
		Covers:     reputation.IPv4,
		Capabilities: reputation.Capabilities{
			Categories: reputation.CategoriesOf(reputation.Abuse, reputation.Scanner, reputation.BenignScanner,
				reputation.PublicService),
		},
		Protocol: reputation.ProtocolConfirmed,
	}
	if p.API == v3 {
		profile.Quota, profile.Key = []string{"1000/day"}, reputation.KeyRequired
		profile.Paid, profile.Terms = true, "a paid plan is needed"
		profile.ListedTTL, profile.CleanTTL = 24*time.Hour, 72*time.Hour
		profile.Batch = maxBatch
		profile.Capabilities.Categories |= reputation.CategoriesOf(reputation.BruteForce, reputation.Bot,
			reputation.Compromised)
		profile.Capabilities.Natures = reputation.KindsOf(reputation.NatureTor, reputation.NatureVPN,
			reputation.NatureHosting, reputation.NatureMobile)
		profile.Capabilities.Country, profile.Capabilities.ASN = true, true
	}
	return profile
}

// Variants returns the settings of each product, of which the documentation makes a table.
func (*GreyNoise) Variants() []json.RawMessage {
	return []json.RawMessage{json.RawMessage(`{"api": "community"}`), json.RawMessage(`{"api": "v3"}`)}
}

// Check implements reputation.Provider.
func (p *GreyNoise) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	if p.API == v3 {
		return p.checkV3(ctx, q)
	}
	return p.checkCommunity(ctx, q)
}

// Probe implements reputation.Prober. With a key, it costs nothing of the quota.
func (p *GreyNoise) Probe(ctx context.Context, key string) error {
	nobody := netip.AddrFrom4([4]byte{9, 9, 9, 9}) // a public resolver, which is no visitor
	if key == "" && p.API != v3 {
		if _, err := p.Check(ctx, reputation.Query{Addr: nobody}); !errors.Is(err, reputation.ErrUnknown) {
			return err
		}
		return nil
	}
	question := rest.Request{Path: []string{"ping"}, Header: map[string]string{"key": key}}
	_, err := rest.Ask(ctx, &p.Endpoint, reputation.Query{Addr: nobody, Key: key}, question,
		func(v *failure, _ *rest.Response) (reputation.Report, error) {
			if v.Message != "pong" {
				return reputation.Report{}, fmt.Errorf("%w: it is no answer to a ping", reputation.ErrBadAnswer)
			}
			return reputation.Report{}, nil
		})
	return err
}

// failure is the body of an error, and of the answer to a ping.
type failure struct {
	IP      string `json:"ip"`
	Message string `json:"message"`
}

// notRoutable tells a 400 about an address that the service never has from one about the request.
func notRoutable(addr netip.Addr) func(*rest.Response, []byte) error {
	return func(resp *rest.Response, body []byte) error {
		var f failure
		_ = json.Unmarshal(body, &f)
		if resp.Status == http.StatusBadRequest && rest.SameAddr(f.IP, addr) &&
			strings.Contains(f.Message, "not a valid routable") {
			return fmt.Errorf("%w: it calls it not routable", reputation.ErrUnknown)
		}
		return nil
	}
}

// UnmarshalCaddyfile reads the options that only this provider has.
//
//	greynoise {
//	    url <address>
//	    api community|v3
//	}
func (p *GreyNoise) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the provider's name
	return option.Read(d, "greynoise", append(p.Options("an address such as "+defaultURL),
		option.Once("api", option.OneOf(&p.API, community, v3)))...)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*GreyNoise)(nil)
	_ caddy.Validator       = (*GreyNoise)(nil)
	_ caddy.CleanerUpper    = (*GreyNoise)(nil)
	_ caddyfile.Unmarshaler = (*GreyNoise)(nil)
	_ reputation.Provider   = (*GreyNoise)(nil)
	_ reputation.Prober     = (*GreyNoise)(nil)
	_ reputation.Batcher    = (*GreyNoise)(nil)
)
