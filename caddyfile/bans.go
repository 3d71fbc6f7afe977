package caddyfile

import (
	"strconv"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

// bans reads how long bans of rules and violations last. Syntax:
//
//	bans {
//		first <duration>
//		most  <duration>
//		burst <above 0 to 1>
//	}
func bans(to **module.Bans) option.Setter {
	return option.Sub(to, "bans", func(b *module.Bans) []option.Option {
		return []option.Option{
			option.Once("first", option.Duration(&b.First, "")),
			option.Once("most", option.Duration(&b.Most, "")),
			option.Once("burst", option.Value(&b.Burst, "a share above 0 and at most 1, such as 0.1",
				func(value string) (float64, bool) {
					f, err := strconv.ParseFloat(value, 64)
					return f, err == nil && f > 0 && f <= 1
				})),
		}
	})
}
