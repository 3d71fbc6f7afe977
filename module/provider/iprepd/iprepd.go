// Package iprepd is a provider for Mozilla's iprepd, a daemon that keeps the reputations which an operator's
// own services give to addresses (https://github.com/mozilla-services/iprepd).
package iprepd

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

const exampleURL = "http://10.0.0.5:8080"

func init() { caddy.RegisterModule(Iprepd{}) }

// Iprepd asks your own iprepd about addresses, so that you can go on using what it knows while you
// move to `violation` and `ban`. It needs a key unless the daemon's `disableauth` is on; a read-only
// one is sufficient. Hawk authentication is not supported.
//
// The `url` of the daemon is required. On your own network it may begin with `http://`: with a private
// address, the name of a container, or a name that ends in `.internal` or `.local`. Elsewhere the
// key would be readable on the way, which is warned about.
//
// iprepd gives each address a reputation, of which every violation takes some and which recovers with time.
// The severity is what is missing of the best reputation, 100: a reputation of 75 is 0.25, one of 0
// is 1. The confidence is 0.9, and 1 if a person has reviewed the entry. The category is `abuse`:
// the daemon does not tell which violations there were. Alone, a reputation of 0 gives a score of
// 95, 25 gives 73, 50 gives 29. An address with the best reputation is neutral, and so is one that the
// daemon does not know or has among its exceptions.
//
// A 404 of the daemon has no body, so it looks like that of a wrong address. That is why the daemon
// is asked for its violations before it is believed, and every few hours.
//
// Answers are used for a minute, since the daemon has no quota and its reputations change soon. Of
// IPv6 addresses it knows networks, of the length that its `ip6prefix` has: 32 to 128, a multiple of 4.
type Iprepd struct {
	rest.Endpoint
}

// CaddyModule returns the Caddy module information.
func (Iprepd) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.iprepd",
		New: func() caddy.Module { return new(Iprepd) },
	}
}

// Provision creates the client. It opens no connection.
func (p *Iprepd) Provision(ctx caddy.Context) error {
	return p.Open(ctx, rest.API{Profile: p.Profile(), Title: "iprepd", URL: exampleURL, SelfHosted: true})
}

// Profile implements reputation.Provider.
func (*Iprepd) Profile() reputation.Profile {
	return reputation.Profile{
		Name:         "iprepd",
		ListedTTL:    time.Minute,
		CleanTTL:     time.Minute,
		Weight:       36, // it is the operator's own evidence: the worst reputation alone gives 95
		SelfAged:     true,
		Key:          reputation.KeyOptional,
		SelfTest:     true,
		Capabilities: reputation.Capabilities{Categories: reputation.CategoriesOf(reputation.Abuse)},
		Protocol:     reputation.ProtocolConfirmed,
	}
}

// Check implements reputation.Provider.
func (p *Iprepd) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	question := rest.Request{
		Path:    []string{"type", "ip", q.Addr.String()},
		Header:  map[string]string{"Authorization": authorization(q.Key)},
		Unknown: []int{http.StatusNotFound}, // without a body; Probe tells it from that of a wrong url
	}
	return rest.Ask(ctx, &p.Endpoint, q, question, func(v *answer, _ *rest.Response) (reputation.Report, error) {
		return v.report(q.Addr)
	})
}

// Probe implements reputation.Prober. It asks for the list of violations, for which a key is needed
// as for reputations.
func (p *Iprepd) Probe(ctx context.Context, key string) error {
	q := reputation.Query{Addr: netip.IPv4Unspecified(), Key: key}
	question := rest.Request{
		Path:   []string{"violations"},
		Header: map[string]string{"Authorization": authorization(key)},
		Failure: func(resp *rest.Response, _ []byte) error {
			if resp.Status == http.StatusNotFound {
				return fmt.Errorf("%w: status 404, check the url option", reputation.ErrBadAnswer)
			}
			return nil
		},
	}
	type violation struct {
		Name string `json:"name"`
	}
	_, err := rest.Ask(ctx, &p.Endpoint, q, question, func(*[]violation, *rest.Response) (reputation.Report, error) {
		return reputation.Report{}, nil
	})
	return err
}

// authorization returns the Authorization field for a key, or "" without a key.
func authorization(key string) string {
	if key == "" {
		return ""
	}
	return "APIKey " + key
}

// answer is the body of a 200. Pointers distinguish missing values from zero.
type answer struct {
	Object      string    `json:"object"`
	Type        string    `json:"type"`
	Reputation  *int      `json:"reputation"`
	Reviewed    bool      `json:"reviewed"`
	LastUpdated time.Time `json:"lastupdated"`
}

// report returns the report of the answer about addr.
func (v *answer) report(addr netip.Addr) (reputation.Report, error) {
	if err := v.validate(addr); err != nil {
		return reputation.Report{}, fmt.Errorf("%w: %w", reputation.ErrBadAnswer, err)
	}
	r := reputation.Report{
		Severity: float64(100-*v.Reputation) / 100, Confidence: 0.9,
		LastSeen: rest.Time(v.LastUpdated.Format(time.RFC3339Nano)), // which leaves out years that cannot be
	}
	if v.Reviewed {
		r.Confidence = 1
	}
	if r.Severity > 0 {
		r.Categories = reputation.CategoriesOf(reputation.Abuse)
	}
	return r, nil
}

// validate checks the values that a report needs. Its errors quote numbers only.
func (v *answer) validate(addr netip.Addr) error {
	switch {
	case v.Type != "ip" || !isAbout(v.Object, addr):
		return errors.New(`"object" is not the address that was asked about`)
	case v.Reputation == nil:
		return errors.New(`there is no "reputation"`)
	case *v.Reputation < 0 || *v.Reputation > 100:
		return fmt.Errorf(`"reputation" is %d, outside 0 to 100`, *v.Reputation)
	}
	return nil
}

// minPrefix is the length of the widest IPv6 network that an answer may be about, and of an IPv4 address.
const minPrefix = 32

// isAbout reports whether an entry is about the address, or about an IPv6 network with it: such an
// entry has the first address of the network, whose length only the daemon knows. It is taken to end
// at a hexadecimal digit, so that a neighbour is not taken for a part of a network of another length.
func isAbout(object string, asked netip.Addr) bool {
	first, err := netip.ParseAddr(object)
	if err != nil || first.Is6() != asked.Is6() || first.Zone() != "" {
		return false
	}
	for bits := asked.BitLen(); bits >= minPrefix; bits -= 4 {
		if netip.PrefixFrom(asked, bits).Masked().Addr() == first {
			return true
		}
	}
	return false
}

var errNoURL = errors.New("the url of iprepd is missing: write that of your daemon, such as `url " + exampleURL + "`")

// UnmarshalCaddyfile reads the options that only this provider has.
//
//	iprepd {
//	    url <address>
//	}
func (p *Iprepd) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the provider's name
	name := *d
	if err := option.Read(d, "iprepd", p.Options("an address such as "+exampleURL)...); err != nil {
		return err
	}
	if p.URL == "" {
		return name.WrapErr(errNoURL)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Iprepd)(nil)
	_ caddy.CleanerUpper    = (*Iprepd)(nil)
	_ caddyfile.Unmarshaler = (*Iprepd)(nil)
	_ reputation.Provider   = (*Iprepd)(nil)
	_ reputation.Prober     = (*Iprepd)(nil)
)
