// Package abuseipdb is a provider for AbuseIPDB, to which administrators report addresses that
// attacked them (API v2, https://docs.abuseipdb.com/#check-endpoint).
package abuseipdb

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	defaultURL        = "https://api.abuseipdb.com/api/v2"
	defaultMaxAgeDays = 30

	// The bounds that the service documents for maxAgeInDays.
	minMaxAgeDays, maxMaxAgeDays = 1, 365
)

func init() { caddy.RegisterModule(AbuseIPDB{}) }

// AbuseIPDB asks the service of the same name about addresses. It needs an API key. The free plan
// allows 1,000 requests a day.
//
// The severity is the service's score. The confidence follows from the number of different
// reporters: one reporter counts little, twenty count nearly in full. An address that was never
// reported, or that the service has whitelisted, gets the small good weight of the source. A score
// of 0 in spite of reports is neutral.
//
// With `report yes`, addresses that violated your site's rules are reported to it, in the categories that fit: see
// docs/reports.md.
//
// The address of the API is `https://api.abuseipdb.com/api/v2`. The provider uses its `/check` and, with `report yes`,
// its `/report`.
type AbuseIPDB struct {
	rest.Endpoint

	// The age, in days, up to which reports count: from 1 to 365. With more days there are more
	// reports, but some are about the former user of an address. Default: 30.
	MaxAgeDays int `json:"max_age_days,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (AbuseIPDB) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.abuseipdb",
		New: func() caddy.Module { return new(AbuseIPDB) },
	}
}

// Provision sets the defaults and creates the client. It opens no connection.
func (p *AbuseIPDB) Provision(ctx caddy.Context) error {
	if p.MaxAgeDays == 0 {
		p.MaxAgeDays = defaultMaxAgeDays
	}
	return p.Open(ctx, rest.API{
		Profile: p.Profile(), Title: "AbuseIPDB", URL: defaultURL, ResetHeader: "X-RateLimit-Reset", Detail: detail,
	})
}

// Validate checks the settings' ranges.
func (p *AbuseIPDB) Validate() error {
	return checkMaxAge(p.MaxAgeDays)
}

// Profile implements reputation.Provider. The quota is that of the free plan; AbuseIPDB counts by
// the UTC day, for each account.
func (*AbuseIPDB) Profile() reputation.Profile {
	return reputation.Profile{
		Name:       "abuseipdb",
		Quota:      []string{"1000/day"},
		ListedTTL:  6 * time.Hour,
		CleanTTL:   24 * time.Hour,
		Weight:     32, // a score of 100 by twenty reporters gives more than 85, by one less than 15
		GoodWeight: 4,
		SelfAged:   true,
		Capabilities: reputation.Capabilities{
			Categories: reputation.CategoriesOf(reputation.Abuse, reputation.Crawler),
			Natures: reputation.KindsOf(reputation.NatureTor, reputation.NatureHosting,
				reputation.NatureMobile),
			Country: true,
		},
		Reports:  reports(),
		Protocol: reputation.ProtocolConfirmed,
	}
}

// Check implements reputation.Provider.
func (p *AbuseIPDB) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	return rest.Ask(ctx, &p.Endpoint, q, p.question(q),
		func(v *answer, _ *rest.Response) (reputation.Report, error) {
			return v.report(q.Addr)
		})
}

// Probe implements reputation.Prober. It costs one check of the quota: the service answers about loopback
// addresses too, and calls them reserved.
func (p *AbuseIPDB) Probe(ctx context.Context, key string) error {
	_, err := p.Check(ctx, reputation.Query{Addr: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Key: key})
	if errors.Is(err, reputation.ErrUnknown) {
		return nil
	}
	return err
}

func (p *AbuseIPDB) question(q reputation.Query) rest.Request {
	return rest.Request{
		Path:   []string{"check"},
		Params: url.Values{"ipAddress": {q.Addr.String()}, "maxAgeInDays": {strconv.Itoa(p.MaxAgeDays)}},
		Header: map[string]string{"Key": q.Key},
	}
}

// UnmarshalCaddyfile reads the options that only this provider has.
//
//	abuseipdb {
//	    url     <address>
//	    max_age <days>
//	}
func (p *AbuseIPDB) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the provider's name
	return option.Block{Name: "abuseipdb", Reword: reword, Options: append(p.Options(defaultURL),
		// any number: checkMaxAge checks the range, with the same error as for JSON
		option.Once("max_age", option.Number(&p.MaxAgeDays, "30", math.MinInt),
			func() error { return checkMaxAge(p.MaxAgeDays) }),
	)}.Read(d)
}

func reword(m option.LineError) string {
	switch m.Kind {
	case option.Argument:
		return fmt.Sprintf("unexpected argument '%s' after abuseipdb: put options into a block, such as "+
			"{ max_age 30 }",
			m.Value)
	case option.Unknown:
		return fmt.Sprintf("unknown option '%s': abuseipdb has url and max_age, besides those that "+
			"every provider has",
			m.Word)
	case option.NoBlock:
		return fmt.Sprintf("unknown option '{': %s of abuseipdb takes no block", m.Word)
	case option.Duplicate:
		return m.Word + " is set twice for abuseipdb: remove one"
	case option.Count:
		return fmt.Sprintf("%s of abuseipdb takes exactly one value, such as %s", m.Word, m.Want)
	case option.Empty:
		return fmt.Sprintf("the %s of abuseipdb is empty: remove it, or write it like %s", m.Word, m.Want)
	case option.Malformed:
		return fmt.Sprintf("max_age '%s' of abuseipdb is no number of days: use a whole number from %d to %d",
			m.Value, minMaxAgeDays, maxMaxAgeDays)
	}
	return ""
}

func checkMaxAge(days int) error {
	if days < minMaxAgeDays || days > maxMaxAgeDays {
		return fmt.Errorf("the max_age of abuseipdb is %d days: it must be from %d to %d", days,
			minMaxAgeDays, maxMaxAgeDays)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*AbuseIPDB)(nil)
	_ caddy.Validator       = (*AbuseIPDB)(nil)
	_ caddy.CleanerUpper    = (*AbuseIPDB)(nil)
	_ caddyfile.Unmarshaler = (*AbuseIPDB)(nil)
	_ reputation.Provider   = (*AbuseIPDB)(nil)
	_ reputation.Prober     = (*AbuseIPDB)(nil)
	_ reputation.Reporter   = (*AbuseIPDB)(nil)
)
