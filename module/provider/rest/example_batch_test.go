package rest_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func init() { caddy.RegisterModule(AcmePro{}) }

// AcmePro is Acme with a plan that answers about up to 100 addresses in one request.
type AcmePro struct {
	Acme
}

// CaddyModule returns the Caddy module information.
func (AcmePro) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.acme_pro",
		New: func() caddy.Module { return new(AcmePro) },
	}
}

// Profile implements reputation.Provider.
func (p *AcmePro) Profile() reputation.Profile {
	profile := p.Acme.Profile()
	profile.Name, profile.Batch = "acme_pro", 100
	return profile
}

// CheckAll implements reputation.Batcher. The answer is a list, of which each entry names its address.
func (p *AcmePro) CheckAll(ctx context.Context, key string, addrs []netip.Addr) ([]reputation.Answer, error) {
	question := rest.Request{Path: []string{"bulk"}, Header: map[string]string{"X-Key": key}, JSON: addrs}
	return rest.AskAll(ctx, &p.Endpoint, key, addrs, question,
		func(entries *rest.Entries[acmeAnswer], _ *rest.Response, each *rest.Answers) error {
			for _, e := range *entries {
				e.Into(each, e.Value.IP, (*acmeAnswer).report)
			}
			return nil
		})
}

// TestAcmePro proves what every provider promises that is asked about several addresses in one request.
func TestAcmePro(t *testing.T) {
	nl := reputation.Report{
		Severity: .8, Confidence: .7, Categories: reputation.CategoriesOf(reputation.Scanner), Facts: reputation.Facts{Country: "NL"},
	}
	providertest.Run(t, providertest.Config{
		New: providertest.Module("acme_pro"),
		Cases: []providertest.Case{
			{Name: "risky", Body: `{"ip":"203.0.113.10","risk":80,"country_code":"NL"}`, Report: nl},
		},
		Batch: &providertest.Batch{
			Entries: []providertest.Entry{
				{Addr: netip.MustParseAddr("203.0.113.10"), Body: `{"ip":"203.0.113.10","risk":80,"country_code":"NL"}`, Report: nl},
				{
					Addr: netip.MustParseAddr("203.0.113.11"), Body: `{"ip":"203.0.113.11","risk":0}`,
					Report: reputation.Report{Confidence: .7},
				},
				{Addr: netip.MustParseAddr("203.0.113.12"), Body: `{"ip":"203.0.113.12"}`, Result: reputation.ResultBadAnswer},
			},
			Cases: []providertest.Case{
				{Name: "error", Body: `{"message":"not in your plan"}`, Result: reputation.ResultBadAnswer},
			},
		},
	})
}
