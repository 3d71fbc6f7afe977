package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
)

// sentry reads where errors are reported to: the DSN, as a placeholder, or a store and what it needs to find it. Syntax:
//
//	sentry <placeholder>|<store> [<arguments>...] {
//		environment <name>
//		release     <text>
//		server_name <name>|off
//		refresh     <duration>
//		expires     <day or time>
//		<options of the store>
//	}
func sentry(to **module.Sentry) setter {
	return func(d *caddyfile.Dispenser) error {
		s := new(module.Sentry)
		*to = s
		return readSecret(d, &s.DSN, options{
			{word: "environment", set: checked(text(&s.Environment, "a name such as production"), s.Check)},
			{word: "release", set: checked(text(&s.Release, "the version that runs"), s.Check)},
			{word: "server_name", set: checked(text(&s.ServerName, "the name of this server, or off"), s.Check)},
		}...)
	}
}
