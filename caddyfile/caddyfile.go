// Package caddyfile converts the `ip_reputation` directives and options of a Caddyfile to the
// configuration of the modules. It parses the syntax only: the modules validate the values. Where
// possible it calls their checks, since an error can then name the line.
package caddyfile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

const directive = "ip_reputation"

func init() {
	httpcaddyfile.RegisterGlobalOption(directive, parseApp)
	httpcaddyfile.RegisterHandlerDirective(directive, parseHandler)
	// before everything that can answer, and before what can use the placeholders:
	// map, vars, header, redir …
	httpcaddyfile.RegisterDirectiveOrder(directive, httpcaddyfile.Before, "map")
}

// parseApp reads the global option, which all sites share. Syntax:
//
//	ip_reputation {
//		exempt   <range|private_ranges|file|url|preset>... { <see list> }
//		deny     <range|file|url|preset>... { <see list> }
//		verified_bots [<bot>,<bot>...] { <see botOptions> }
//		violation <name> [<option> <value>...] { <see violation> }
//		neighbourhood off | { <see neighbourhood> }
//		feed     <preset|url|file|range>... { <see feed> }
//		mmdb     <file>... { <see databases> }
//		provider <service> [<arguments>...] { <see providerOption> }
//		spend    where_it_matters|first_come
//		wait     <duration>
//		memory   <subjects>
//		nat64    <prefix>...
//		bans     { <see bans> }
//		redis    <address>... { <see redis> }
//		history  <placeholder>|<store> [<arguments>...] { <see history> }
//		sentry   <placeholder>|<store> [<arguments>...] { <see sentry> }
//		privacy  off|truncate|hash { <see privacy> }
//	}
//
// `exempt`, `deny`, `violation`, `feed`, `mmdb`, `provider` and `nat64` may be repeated; all lines count. `exempt
// verified_bots` has the names and the block of `verified_bots`.
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next() // the option's name
	if existing != nil {
		return nil, d.Errf("%s is given twice in the global options: merge the two blocks", directive)
	}
	app := new(module.App)
	err := option.Read(d, "global "+directive,
		option.Repeated("exempt", exempt(app), app.CheckSources),
		option.Repeated("deny", list(&app.Deny, "deny"), app.CheckSources),
		option.Once("verified_bots", verifiedBots(app), app.CheckSources),
		option.Repeated("violation", violation(&app.Violations), app.CheckViolations),
		option.Once("neighbourhood", neighbourhood(&app.Neighbourhood)),
		option.Repeated("feed", feed(&app.Feeds), app.CheckSources),
		option.Repeated("mmdb", databases(&app.Databases), app.CheckDatabases),
		option.Repeated("provider", providerOption(&app.Providers), app.CheckSources),
		option.Once("spend", option.OneOf(&app.Spend, "where_it_matters", "first_come")),
		wait(&app.Wait),
		option.Once("memory", option.Number(&app.Memory, "a number of addresses above 0, such as 200000"),
			func() error { return module.CheckMemory(app.Memory) }),
		option.Repeated("nat64", option.List(&app.NAT64, "IPv6 prefixes such as 2001:db8:64::/96"),
			func() error { return module.CheckNAT64(app.NAT64) }),
		option.Once("bans", bans(&app.Bans), func() error { return app.Bans.Check() }),
		option.Once("redis", redis(&app.Redis)),
		option.Once("history", history(&app.History)),
		option.Once("sentry", sentry(&app.Sentry)),
		option.Once("privacy", privacy(&app.Privacy)),
	)
	if err != nil {
		return nil, elsewhere(err, siteOnly, "write it into the ip_reputation of a site")
	}
	return httpcaddyfile.App{Name: directive, Value: caddyconfig.JSON(app, nil)}, nil
}

// What stands in one of the two blocks named ip_reputation only.
var (
	siteOnly = []string{
		"mode", "pass", "limit", "block", "ban", "drop", "violations", "signed_in", "headers", "ask", "priority", "unknown", "log",
	}
	globalOnly = []string{
		"deny", "verified_bots", "neighbourhood", "feed", "mmdb", "provider", "spend", "memory", "nat64", "bans", "redis",
		"history", "sentry", "privacy",
	}
)

// elsewhere adds the cure to the error about an option of the other block.
func elsewhere(err error, others []string, cure string) error {
	m, ok := errors.AsType[*option.LineError](err)
	if !ok || m.Kind != option.Unknown || !strings.HasSuffix(m.Block, directive) || !slices.Contains(others, m.Word) {
		return err
	}
	return fmt.Errorf("%w; %s", err, cure)
}

// wait sets how long a request waits. It may be 0.
func wait(to **caddy.Duration) option.Option {
	set := option.Duration(to, "a duration such as 25ms, or 0 to never wait", 0)
	return option.Once("wait", set, func() error { return module.CheckWait(**to) })
}
