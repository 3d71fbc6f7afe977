package caddyfile

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
)

const providers = "ip_reputation.providers"

// provider reads one reputation service and appends it. Syntax:
//
//	provider <service> [<arguments>...] {
//		name        <name>
//		key         <secret>
//		quota       <calls>/<window>...
//		rate        <calls>/<time>
//		timeout     <duration>
//		concurrency <number>
//		trust       <0 to 1>
//		ttl         <listed> <clean>
//		<options of the service>
//	}
//
// The arguments and the options of the service are read by its module. `quota` may be repeated.
func provider(to *[]module.Provider) setter {
	return func(d *caddyfile.Dispenser) error {
		if !d.NextArg() {
			return d.Errf("provider needs the name of a service: use one of %s", services())
		}
		service := d.Val()
		if _, err := caddy.GetModule(providers + "." + service); err != nil {
			return d.Errf("unknown provider %q: use one of %s, or build Caddy with the module %s.%[1]s",
				service, services(), providers)
		}
		var p module.Provider
		guest := []caddyfile.Token{d.Token()}
		guest = append(guest, d.RemainingArgsAsTokens()...)
		opening := len(guest)
		brace := peek(d)

		err := options{
			{word: "name", set: text(&p.Name, "the name of the provider")},
			{word: "key", set: text(&p.Key, "a placeholder such as {env.NAME} or {file./path}")},
			{word: "quota", set: checked(list(&p.Quota, "calls in a window of time, such as 1000/day"), p.Check), repeats: true},
			{word: "rate", set: checked(text(&p.Rate, "calls in a short time, such as 5/s"), p.Check)},
			{word: "timeout", set: checked(duration(&p.Timeout), p.Check)},
			{word: "concurrency", set: checked(number(&p.Concurrency, "a number of calls above 0"), p.Check)},
			{word: "trust", set: share(&p.Trust)},
			{word: "ttl", set: checked(ttl(&p.ListedTTL, &p.CleanTTL), p.Check)},
		}.parse(d, "provider "+service, func(d *caddyfile.Dispenser) {
			guest = append(guest, d.NextSegment()...)
		})
		if err != nil {
			return err
		}
		if len(guest) > opening {
			// the block of the service is the provider's own block without the words that all providers share
			guest = append(slices.Insert(guest, opening, brace), d.Token())
		}
		if p.ServiceRaw, err = unmarshalService(service, guest); err != nil {
			return err
		}
		*to = append(*to, p)
		return nil
	}
}

// unmarshalService lets the module of a service read its tokens.
func unmarshalService(service string, tokens []caddyfile.Token) ([]byte, error) {
	d := caddyfile.NewDispenser(tokens)
	d.Next()
	guest, err := caddyfile.UnmarshalModule(d, providers+"."+service)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(guest, "service", service, nil), nil
}

// services lists the services that are compiled in.
func services() string {
	var names []string
	for _, info := range caddy.GetModules(providers) {
		names = append(names, info.ID.Name())
	}
	return strings.Join(names, ", ")
}
