package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// feed reads one list and appends it. Syntax:
//
//	feed <preset|url|file|range>... {
//		name     <name>
//		category <category>...
//		nature   <nature>...
//		trust    <0 to 1>
//		<see listOptions>
//	}
//
// Categories and natures are separated by commas or spaces. For `feed crowdsec`, see decisions.
func feed(to *[]module.Feed) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		var f module.Feed
		if err := option.List(&f.Sources,
			"a preset, URLs, a file, or addresses and CIDR ranges")(d); err != nil {
			return err
		}
		if f.Sources[0] == crowdSec {
			return decisions(d, to, f.Sources[1:])
		}
		options := append([]option.Option{
			option.Once("name", option.Text(&f.Name, "the name of the feed")),
			option.Once("category", option.Words(&f.Category, "categories", reputation.ParseCategory)),
			option.Once("nature", option.Words(&f.Nature, "natures", reputation.ParseKind)),
			option.Once("trust", option.Share(&f.Trust)),
		}, listOptions(&f.ListOptions)...)
		if err := option.Read(d, "feed", options...); err != nil {
			return err
		}
		if err := f.Check(); err != nil {
			return d.WrapErr(err)
		}
		*to = append(*to, f)
		return nil
	}
}
