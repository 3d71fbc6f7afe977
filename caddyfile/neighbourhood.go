package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

// neighbourhood reads what the offenders of a network cost the others of it. Syntax:
//
//	neighbourhood off
//	neighbourhood {
//		from   <offenders>
//		points <above 0 to 20>
//		mobile
//	}
func neighbourhood(to **module.Neighbourhood) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		n := new(module.Neighbourhood)
		*to = n
		if d.NextArg() {
			if d.Val() != "off" || d.NextArg() || option.OpensBlock(d) {
				return d.Errf("neighbourhood %s: write `neighbourhood off` on a line of its own, or a block with from, points "+
					"and mobile", d.Val())
			}
			n.Off = true
			return nil
		}
		if !option.OpensBlock(d) {
			return d.Err("neighbourhood needs `off`, or a block with from, points or mobile")
		}
		return option.Read(d, "neighbourhood",
			option.Once("from", option.Number(&n.From, "a number of offenders, such as 3"), n.Check),
			option.Once("points", points(&n.Points), n.Check),
			option.Once("mobile", option.Flag(&n.Mobile)),
		)
	}
}
