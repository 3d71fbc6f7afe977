package rest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestAcme proves of the provider of the example what every provider promises.
func TestAcme(t *testing.T) {
	providertest.Run(t, providertest.Config{
		New: func(tb testing.TB, url string) reputation.Provider {
			ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
			tb.Cleanup(cancel)
			m, err := ctx.LoadModuleByID("ip_reputation.providers.acme", json.RawMessage(fmt.Sprintf(`{"url": %q}`, url)))
			if err != nil {
				tb.Fatal(err)
			}
			return m.(reputation.Provider)
		},
		Cases: []providertest.Case{
			{
				Name: "risky", Body: `{"ip":"203.0.113.10","risk":80,"country_code":"NL"}`,
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
	var a Acme
	if err := a.UnmarshalCaddyfile(caddyfile.NewTestDispenser("acme {\n url http://127.0.0.1\n}")); err != nil || a.URL != "http://127.0.0.1" {
		t.Errorf("got %q, %v", a.URL, err)
	}
	if err := a.UnmarshalCaddyfile(caddyfile.NewTestDispenser("acme {\n uri x\n}")); err == nil {
		t.Error("an unknown option was accepted")
	}
}
