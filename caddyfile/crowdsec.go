package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

const crowdSec = "crowdsec"

// decisions reads the block of a feed of CrowdSec's decisions, and appends it. Syntax:
//
//	feed crowdsec <url|socket> {
//		key           <placeholder>|<store> [<arguments>...] { <see readSecret> }
//		name          <name>
//		refresh       <duration>
//		scenarios     <part of a name>...
//		not_scenarios <part of a name>...
//		origins       <origin>...
//		trust         <0 to 1>
//		tls           { <see secure> }
//		max_entries   <number>
//		max_shrink    <0 to 1>
//	}
//
// Scenarios and origins are separated by commas or spaces.
func decisions(d *caddyfile.Dispenser, to *[]module.Feed, args []string) error {
	if len(args) != 1 {
		return d.Err("feed crowdsec is followed by one address: that of the local API, such as http://127.0.0.1:8080")
	}
	c := &module.CrowdSec{URL: args[0]}
	f := module.Feed{CrowdSec: c}
	err := option.Read(d, "feed crowdsec",
		option.Once("key", oneSecret(&f.Key)),
		option.Once("name", option.Text(&f.Name, "the name of the feed")),
		option.Once("refresh", option.Duration(&f.Refresh, "")),
		option.Once("scenarios", option.Words(&c.Scenarios, "parts of the names of scenarios", anyWord)),
		option.Once("not_scenarios", option.Words(&c.NotScenarios, "parts of the names of scenarios", anyWord)),
		option.Once("origins", option.Words(&c.Origins, "origins such as crowdsec or CAPI", anyWord)),
		option.Once("trust", option.Share(&f.Trust)),
		option.Once("tls", secure(&c.TLS, "feed crowdsec")),
		option.Once("max_entries", option.Number(&f.MaxEntries, "a number above 0, such as 5000000")),
		option.Once("max_shrink", option.Share(&f.MaxShrink)),
	)
	if err != nil {
		return err
	}
	if err := f.Check(); err != nil {
		return d.WrapErr(err)
	}
	*to = append(*to, f)
	return nil
}
