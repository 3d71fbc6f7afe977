package caddyfile

import (
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

// bans reads how long bans of rules and violations last. Syntax:
//
//	bans {
//		first <duration>
//		most  <duration>
//		burst <0 to 1>
//	}
func bans(to **module.Bans) option.Setter {
	return option.Sub(to, "bans", func(b *module.Bans) []option.Option {
		return []option.Option{
			option.Once("first", option.Duration(&b.First, "")),
			option.Once("most", option.Duration(&b.Most, "")),
			option.Once("burst", option.Share(&b.Burst)),
		}
	})
}
