package caddyipreputation_test

import (
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-ip-reputation/caddy-ip-reputation"
)

// TestImport proves that a Caddy which imports the root package, as xcaddy makes it, has all modules, their syntax and the command.
func TestImport(t *testing.T) {
	for _, id := range []string{
		"ip_reputation",
		"http.handlers.ip_reputation",
		"http.handlers.ip_reputation_health",
		"http.matchers.ip_reputation",
		"events.handlers.ip_reputation_webhook",
		"ip_reputation.providers.abuseipdb",
		"ip_reputation.secrets.aws_secretsmanager",
		"ip_reputation.secrets.aws_ssm",
		"ip_reputation.secrets.vault",
	} {
		if _, err := caddy.GetModule(id); err != nil {
			t.Error(err)
		}
	}
	if _, ok := caddycmd.Commands()["ip-reputation"]; !ok {
		t.Error("there is no command ip-reputation")
	}
	const config = `
		{
			ip_reputation {
				provider abuseipdb {
					key {env.ABUSEIPDB_KEY}
				}
			}
		}
		:80 {
			ip_reputation
		}
	`
	if _, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), nil); err != nil {
		t.Error(err)
	}
}
