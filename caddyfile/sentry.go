package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

// sentry reads the error reporting. The DSN is a placeholder or comes from a store. Syntax:
//
//	sentry <placeholder>|<store> [<arguments>...] {
//		environment <name>
//		release     <text>
//		server_name <name>|off
//		refresh     <duration>
//		expires     <day or time>
//		<options of the store>
//	}
func sentry(to **module.Sentry) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		s := new(module.Sentry)
		*to = s
		return checkedSecret(d, &s.DSN, s.CheckDSN,
			option.Once("environment", option.Text(&s.Environment, "a name such as production"), s.Check),
			option.Once("release", option.Text(&s.Release, "the version that runs"), s.Check),
			option.Once("server_name", option.Text(&s.ServerName, "the name of this server, or off"), s.Check),
		)
	}
}
