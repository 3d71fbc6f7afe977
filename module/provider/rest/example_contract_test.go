package rest_test

import (
	"net/netip"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestAcme proves of the provider of the example what every provider promises.
func TestAcme(t *testing.T) {
	providertest.Run(t, providertest.Config{
		New: providertest.Module("acme"),
		Cases: []providertest.Case{
			{
				Name: "risky", BodyFile: "testdata/risky.json",
				Report: reputation.Report{
					Severity: .8, Confidence: .7, Categories: reputation.CategoriesOf(reputation.Scanner),
					Facts: reputation.Facts{Country: "NL"},
				},
			},
			{Name: "never seen", Status: 404, Body: `{"ip":"203.0.113.10","message":"never seen"}`, Result: reputation.ResultNotFound},
		},
	})
}

func TestAcmeCaddyfile(t *testing.T) {
	providertest.Caddyfile(t, "acme", map[string]string{
		"acme":              `{}`,
		"acme {\n uri x\n}": `unknown option "uri" of acme: use one of url`,
	})
}

func FuzzAcme(f *testing.F) {
	providertest.Fuzz(f, providertest.Reader{
		Read: func(body []byte, addr netip.Addr) (reputation.Report, error) {
			var v acmeAnswer
			if err := rest.Decode(body, &v); err != nil {
				return reputation.Report{}, err
			}
			return v.report(addr)
		},
		Capabilities: new(Acme).Profile().Capabilities,
		Severity:     providertest.Range{Most: 1}, Confidence: providertest.Range{Most: .7},
	})
}
