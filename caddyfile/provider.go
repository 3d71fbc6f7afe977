package caddyfile

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider"
)

const providers = "ip_reputation.providers"

// provider reads one reputation service and appends it. Syntax:
//
//	provider <service> [<arguments>...] {
//		name        <name>
//		key         <placeholder>|<store> [<arguments>...] { <see readSecret> }
//		quota       <calls>/<window>...
//		rate        <calls>/<time>
//		timeout     <duration>
//		concurrency <number>
//		trust       <0 to 1>
//		ttl         <listed> <clean>
//		<options of the service>
//	}
//
// The arguments and the options of the service are read by its module. `key` and `quota` may be repeated.
func providerOption(to *[]provider.Provider) setter {
	return func(d *caddyfile.Dispenser) error {
		if !d.NextArg() {
			return d.Errf("provider needs the name of a service: use one of %s", services())
		}
		service := d.Val()
		if _, err := caddy.GetModule(providers + "." + service); err != nil {
			return d.Errf("unknown provider %q: use one of %s, or build Caddy with the module %s.%[1]s",
				service, services(), providers)
		}
		var p provider.Provider
		tokens, err := guest(d, "provider "+service, options{
			{word: "name", set: text(&p.Name, "the name of the provider")},
			{word: "key", set: oneOfSecrets(&p.Keys), repeats: true},
			{word: "quota", set: checked(list(&p.Quota, "calls in a window of time, such as 1000/day"), p.Check), repeats: true},
			{word: "rate", set: checked(text(&p.Rate, "calls in a short time, such as 5/s"), p.Check)},
			{word: "timeout", set: checked(duration(&p.Timeout), p.Check)},
			{word: "concurrency", set: checked(number(&p.Concurrency, "a number of calls above 0"), p.Check)},
			{word: "trust", set: share(&p.Trust)},
			{word: "ttl", set: checked(ttl(&p.ListedTTL, &p.CleanTTL), p.Check)},
		})
		if err != nil {
			return err
		}
		if p.ServiceRaw, err = unmarshalGuest(providers, "service", service, tokens); err != nil {
			return err
		}
		*to = append(*to, p)
		return nil
	}
}

// guest reads the rest of a segment that belongs to a guest module, whose name d stands on, and to us: the words of its block
// that are among ours are read here, the others are the guest's, as are the arguments.
func guest(d *caddyfile.Dispenser, block string, ours options) ([]caddyfile.Token, error) {
	tokens := []caddyfile.Token{d.Token()}
	tokens = append(tokens, d.RemainingArgsAsTokens()...)
	opening := len(tokens)
	brace := peek(d)
	err := ours.parse(d, block, func(d *caddyfile.Dispenser) {
		tokens = append(tokens, d.NextSegment()...)
	})
	if err == nil && len(tokens) > opening {
		tokens = append(slices.Insert(tokens, opening, brace), d.Token())
	}
	return tokens, err
}

// unmarshalGuest lets a guest module read its tokens.
func unmarshalGuest(namespace, inlineKey, name string, tokens []caddyfile.Token) ([]byte, error) {
	d := caddyfile.NewDispenser(tokens)
	d.Next()
	read, err := caddyfile.UnmarshalModule(d, namespace+"."+name)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(read, inlineKey, name, nil), nil
}

// services lists the services that are compiled in.
func services() string { return names(providers) }

// names lists the modules of a namespace that are compiled in.
func names(namespace string) string {
	var names []string
	for _, info := range caddy.GetModules(namespace) {
		names = append(names, info.ID.Name())
	}
	if len(names) == 0 {
		return "none is compiled in"
	}
	return strings.Join(names, ", ")
}
