// Package caddyfile turns the `ip_reputation` words of a Caddyfile into the configuration of the modules. It knows
// syntax and decides nothing: what a value means, and whether it makes sense, is for the modules to say. It only asks
// them early where it can, since an error found here can name the line.
package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
)

const directive = "ip_reputation"

func init() {
	httpcaddyfile.RegisterGlobalOption(directive, parseApp)
	httpcaddyfile.RegisterHandlerDirective(directive, parseHandler)
	// before everything that can answer, and before what can use the placeholders: map, vars, header, redir …
	httpcaddyfile.RegisterDirectiveOrder(directive, httpcaddyfile.Before, "map")
}

// parseApp reads what all sites share. Syntax:
//
//	ip_reputation {
//		exempt   <range|private_ranges|file|url|preset>...
//		deny     <range|file|url|preset>...
//		feed     <preset|url|file|range>... { <see feed> }
//		provider <service> [<arguments>...] { <see providerOption> }
//		wait     <duration>
//		memory   <subjects>
//		redis    <address>... { <see redis> }
//		history  <placeholder>|<store> [<arguments>...] { <see history> }
//		sentry   <placeholder>|<store> [<arguments>...] { <see sentry> }
//		privacy  off|truncate|hash { <see privacy> }
//	}
//
// `exempt`, `deny`, `feed` and `provider` may be repeated; the lines add up.
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next() // the option's name
	if existing != nil {
		return nil, d.Errf("%s is given twice in the global options: merge the two blocks", directive)
	}
	app := new(module.App)
	err := options{
		{word: "exempt", set: addresses("exempt", &app.Exempt), repeats: true},
		{word: "deny", set: addresses("deny", &app.Deny), repeats: true},
		{word: "feed", set: feed(&app.Feeds), repeats: true},
		{word: "provider", set: providerOption(&app.Providers), repeats: true},
		{word: "wait", set: checked(wait(&app.Wait), func() error { return module.CheckWait(*app.Wait) })},
		{word: "memory", set: checked(number(&app.Memory, "a number of addresses above 0, such as 200000"),
			func() error { return module.CheckMemory(app.Memory) })},
		{word: "redis", set: redis(&app.Redis)},
		{word: "history", set: history(&app.History)},
		{word: "sentry", set: sentry(&app.Sentry)},
		{word: "privacy", set: privacy(&app.Privacy)},
	}.parse(d, "global "+directive, nil)
	if err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: directive, Value: caddyconfig.JSON(app, nil)}, nil
}

// addresses reads what an own list is made of.
func addresses(option string, to *[]string) setter {
	set := list(to, "addresses, CIDR ranges, private_ranges, files, URLs or presets")
	return checked(set, func() error { return module.CheckAddresses(option, *to) })
}
