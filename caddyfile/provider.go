package caddyfile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider"
)

const providers = "ip_reputation.providers"

// provider reads one reputation service and appends it. Syntax:
//
//	provider <service> [<arguments>...] {
//		name          <name>
//		key           <placeholder>|<store> [<arguments>...] { <see readSecret> }
//		quota         <calls>/<window>...
//		burst         <above 0 to 1>
//		network_share <above 0 to 1>
//		rate          <calls>/<time>
//		send          address|network
//		ask           always|unless_listed
//		report        yes|no
//		report_quota  <reports>/<window>...
//		timeout       <duration>
//		concurrency   <number>
//		trust         <0 to 1>
//		ttl           <listed> <clean>
//		<options of the service>
//	}
//
// The arguments and the options of the service are read by its module. `key`, `quota`
// and `report_quota` may be repeated.
func providerOption(to *[]provider.Provider) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		if !d.NextArg() {
			return d.Errf("provider needs the name of a service: use one of %s", services())
		}
		service, word := d.Val(), *d
		if _, err := caddy.GetModule(providers + "." + service); err != nil {
			return d.Errf("unknown provider %q: use one of %s, or build Caddy with the module %s.%[1]s",
				service, services(), providers)
		}
		var p provider.Provider
		ours := providerOptions(&p)
		tokens, err := guest(d, "provider "+service, ours...)
		if err != nil {
			return err
		}
		if p.ServiceRaw, err = unmarshalGuest(providers, "service", service, tokens); err != nil {
			return alsoKnown(err, ours)
		}
		if err := p.CheckService(); err != nil {
			return word.Errf("provider %s: %w", service, err)
		}
		*to = append(*to, p)
		return nil
	}
}

// providerOptions are those that every provider has.
func providerOptions(p *provider.Provider) []option.Option {
	return []option.Option{
		option.Once("name", option.Text(&p.Name, "the name of the provider")),
		option.Repeated("key", oneOfSecrets(&p.Keys)),
		option.Repeated("quota",
			option.List(&p.Quota, "calls in a window of time, such as 1000/day"), p.Check),
		option.Once("burst", option.Share(&p.Burst), p.Check),
		option.Once("network_share", option.Share(&p.NetworkShare), p.Check),
		option.Once("rate", option.Text(&p.Rate, "calls in a short time, such as 5/s"), p.Check),
		option.Once("send", option.OneOf(&p.Send, "address", "network")),
		option.Once("ask", option.OneOf(&p.Ask, "always", "unless_listed")),
		option.Once("report", option.Value(&p.Report, "yes or no", yesNo)),
		option.Repeated("report_quota",
			option.List(&p.ReportQuota, "reports in a window of time, such as 1000/day"), p.Check),
		option.Once("timeout", option.Duration(&p.Timeout, ""), p.Check),
		option.Once("concurrency", option.Number(&p.Concurrency, "a number of calls above 0"), p.Check),
		option.Once("trust", option.Share(&p.Trust)),
		option.Once("ttl", ttl(&p.ListedTTL, &p.CleanTTL), p.Check),
	}
}

// alsoKnown adds the options that every provider has to the error about an option that the service does not know.
func alsoKnown(err error, ours []option.Option) error {
	if m, ok := errors.AsType[*option.LineError](err); !ok || m.Kind != option.Unknown {
		return err
	}
	words := make([]string, len(ours))
	for i, o := range ours {
		words[i] = o.Word
	}
	return fmt.Errorf("%w; every provider has %s besides", err, strings.Join(words, ", "))
}

// guest reads the rest of a segment of a guest module, with d at the name of the
// module. It reads those options of the block that are in the given list. The other
// options and the arguments are read by the guest.
func guest(d *caddyfile.Dispenser, block string, ours ...option.Option) ([]caddyfile.Token, error) {
	tokens := []caddyfile.Token{d.Token()}
	tokens = append(tokens, d.RemainingArgsAsTokens()...)
	opening := len(tokens)
	brace := option.Peek(d)
	err := option.Block{Name: block, Options: ours, Other: func(d *caddyfile.Dispenser) error {
		tokens = append(tokens, d.NextSegment()...)
		return nil
	}}.Read(d)
	if err == nil && len(tokens) > opening {
		tokens = append(slices.Insert(tokens, opening, brace), d.Token())
	}
	return tokens, err
}

// unmarshalGuest unmarshals the tokens of a guest module.
func unmarshalGuest(namespace, inlineKey, name string, tokens []caddyfile.Token) ([]byte, error) {
	d := caddyfile.NewDispenser(tokens)
	d.Next()
	read, err := caddyfile.UnmarshalModule(d, namespace+"."+name)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(read, inlineKey, name, nil), nil
}

func yesNo(word string) (yes, ok bool) { return word == "yes", word == "yes" || word == "no" }

// ttl sets the TTLs of answers with and without abuse.
func ttl(listed, clean *caddy.Duration) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		var args [2]string
		const want = "two durations, such as 6h 24h: one for listed addresses, one for clean ones"
		if err := option.Values(want, &args[0], &args[1])(d); err != nil {
			return err
		}
		for i, to := range []*caddy.Duration{listed, clean} {
			t, err := caddy.ParseDuration(args[i])
			if err != nil || t <= 0 {
				return d.Errf("ttl %q is not a duration above 0, such as 6h", args[i])
			}
			*to = caddy.Duration(t)
		}
		return nil
	}
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
