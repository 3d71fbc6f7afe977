package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

// exempt reads what is exempt: verified bots, or a list.
func exempt(app *module.App) option.Setter {
	readList := list(&app.Exempt, "exempt")
	return func(d *caddyfile.Dispenser) error {
		line := *d
		is, err := app.ExemptBots(line.RemainingArgs())
		if err != nil {
			return d.WrapErr(err)
		}
		if !is {
			return readList(d)
		}
		*d = line
		return botOptions(d, app.VerifiedBots)
	}
}

// verifiedBots reads the bots that are verified.
func verifiedBots(app *module.App) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		if err := app.VerifyBots(d.RemainingArgs()); err != nil {
			return d.WrapErr(err)
		}
		return botOptions(d, app.VerifiedBots)
	}
}

// botOptions reads the block behind the bots that are verified. Syntax:
//
//	verified_bots [<bot>,<bot>...] {
//		resolver <address>...
//		ranges   <bot> <url>...
//	}
//
// Without names, it is all bots. `exempt verified_bots` takes the same. `ranges` may be repeated.
func botOptions(d *caddyfile.Dispenser, v *module.VerifiedBots) error {
	return option.Read(d, "verified_bots",
		option.Once("resolver", option.List(&v.Resolvers, "addresses of DNS servers"), v.Check),
		option.Repeated("ranges", ranges(&v.Ranges), v.Check),
	)
}

// ranges reads where the addresses of a bot are fetched from.
func ranges(to *map[string][]string) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		var words []string
		if err := option.List(&words, "a bot and URLs")(d); err != nil {
			return err
		}
		if _, given := (*to)[words[0]]; given {
			return d.Errf("ranges of %q are given twice: write all URLs on one line", words[0])
		}
		if *to == nil {
			*to = make(map[string][]string)
		}
		(*to)[words[0]] = words[1:]
		return nil
	}
}
