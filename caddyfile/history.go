package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret"
)

// history reads the database of the history. Its connection string is a placeholder
// or comes from a store. Syntax:
//
//	history <placeholder>|<store> [<arguments>...] {
//		retention <duration>
//		max_size  <size>
//		spool     <size>
//		max_rows  <number>
//		migrate   auto|off
//		refresh   <duration>
//		expires   <day or time>
//		<options of the store>
//	}
func history(to **module.History) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		h := &module.History{Database: new(secret.Secret)}
		*to = h
		return checkedSecret(d, h.Database, h.CheckDatabase,
			option.Once("retention", option.Duration(&h.Retention, ""), h.Check),
			option.Once("max_size", option.Size(&h.MaxSize), h.Check),
			option.Once("spool", option.Size(&h.Spool), h.Check),
			option.Once("max_rows", option.Number(&h.MaxRows, "a number of rows such as 20000"), h.Check),
			option.Once("migrate", option.Text(&h.Migrate, "auto or off"), h.Check),
		)
	}
}
