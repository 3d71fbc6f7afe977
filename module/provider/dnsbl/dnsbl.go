// Package dnsbl is a provider for lists that are asked by DNS (RFC 5782): DNSBLs.
//
// A list answers with addresses in 127.0.0.0/8 that are codes, or says that the name does not exist. Whatever
// else comes is no answer: many lists refuse by codes of their own, resolvers invent addresses, and lists that
// end answer "yes" or "no" for everybody. So each list is tested by entries that must be listed, or must not.
package dnsbl

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func init() {
	caddy.RegisterModule(DNSBL{})
}

// DNSBL asks a DNS list about addresses. Each list is a source of its own: write one `provider dnsbl` for each.
//
// Being listed gives points, never more than a score of about 80 by itself. The lists were made for mail; most
// know little of web visitors, and a home address may be listed for its former user. Policy entries, such as those
// of Spamhaus' PBL, accuse nobody.
//
// Lists see which addresses visit you, and so does the resolver. Most lists refuse public resolvers: run one of
// your own. Each list is tested when Caddy starts and every six hours, and is not asked while the test fails.
type DNSBL struct {
	// The list: `zen`, `dqs`, `authbl`, `dronebl`, `httpbl`, `spamcop`, `barracuda`, `s5h` or `torexit`, whose codes and
	// terms are known, or the name of a zone, such as `bl.example.org`. A label `{key}` in the name stands for the
	// key. Required.
	List string `json:"list,omitempty"`

	// The resolvers to ask, each an address with or without a port, such as `127.0.0.1` or `[::1]:5353`; at
	// most 4. The next one is asked if one has no answer. Global placeholders, such as `{env.RESOLVER}`, are
	// resolved when the configuration is loaded. Default: those of the system, from `/etc/resolv.conf`.
	Resolvers []string `json:"resolvers,omitempty"`

	// What a zone without a preset accuses the addresses on it of, such as `spam`. `policy` accuses nobody; with `proxy`,
	// `vpn`, `tor` or `hosting`, the nature is known, too. Default: `abuse`.
	Category []string `json:"category,omitempty"`

	// What single codes mean, as categories by code: `{"127.0.0.4": "bruteforce"}`. They replace those of a
	// preset. Of a zone without a preset, any other code is an error then, and not a listing. Default: the
	// preset's; else every code means `category`.
	Codes map[string]string `json:"codes,omitempty"`

	// How many points a listing gives that is beyond doubt, above 0 to 26. Default: the preset's, else 16.
	Weight float64 `json:"weight,omitempty"`

	// The group of sources that copy each other or see the same. Together they count little more than the
	// strongest. Default: the preset's, else `dnsbl`.
	Group string `json:"group,omitempty"`

	// Whether the list is asked about IPv6 addresses. One that has none would call them all clean. Default: the
	// preset's, else no.
	IPv6 *bool `json:"ipv6,omitempty"`

	// Whether the test entries are asked for: 127.0.0.2 must be listed and 127.0.0.1 must not, for IPv6 likewise
	// (RFC 5782). `false` is for a zone without them: nobody notices then when it lists the whole world, or nothing.
	// Default: true.
	Test *bool `json:"test,omitempty"`

	list      list
	resolvers *resolvers
	now       func() time.Time
}

// CaddyModule returns the Caddy module information.
func (DNSBL) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.dnsbl",
		New: func() caddy.Module { return new(DNSBL) },
	}
}

// Provision resolves the settings. Nobody is asked.
func (d *DNSBL) Provision(caddy.Context) error {
	var err error
	if d.list, err = d.chosen(); err != nil {
		return err
	}
	if err := d.checkResolvers(); err != nil {
		return err
	}
	d.now, d.resolvers = time.Now, new(resolvers)
	repl := caddy.NewReplacer()
	for _, text := range d.Resolvers {
		if text, err = repl.ReplaceOrErr(text, true, true); err != nil {
			return fmt.Errorf("resolver: %w", err)
		}
		at, err := parseResolver(text)
		if err != nil {
			return err
		}
		d.resolvers.named = append(d.resolvers.named, at)
	}
	return nil
}

// Profile implements reputation.Provider.
func (d *DNSBL) Profile() reputation.Profile {
	l, err := d.chosen()
	if err != nil {
		return reputation.Profile{} // Provision returns the error
	}
	p := reputation.Profile{
		Name: l.name, Rate: "20/s", ListedTTL: time.Hour, CleanTTL: 15 * time.Minute,
		Weight: l.weight, GoodWeight: cmp.Or(l.good, 1), Trust: l.trust, Group: l.group,
		Key: reputation.KeyNone, Covers: reputation.IPv4, Capabilities: l.capabilities(),
		SelfTest: len(l.tests) > 0, Terms: l.terms, Protocol: l.protocol,
	}
	if l.needsKey() {
		p.Key = reputation.KeyRequired
	}
	if l.ipv6 {
		p.Covers |= reputation.IPv6
	}
	return p
}

// Check implements reputation.Provider.
func (d *DNSBL) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	if q.Addr.Is6() && !d.list.ipv6 {
		return reputation.Report{}, reputation.ErrUnsupported
	}
	a, err := d.ask(ctx, q.Addr, q.Key)
	if err != nil {
		return reputation.Report{}, err
	}
	return d.list.report(a, q.Addr, d.now())
}

// Probe implements reputation.Prober by the test entries of the list.
func (d *DNSBL) Probe(ctx context.Context, key string) error {
	for _, t := range d.list.tests {
		a, err := d.ask(ctx, netip.MustParseAddr(t.address), key)
		switch listed := len(a.codes) > 0; {
		case err != nil:
			return fmt.Errorf("asking for the test entry %s: %w", t.address, err)
		case listed && !t.listed:
			return fmt.Errorf("%w: the list has %s, which no list has: it lists the whole world, "+
				"or the resolver invents answers", reputation.ErrBadAnswer, t.address)
		case !listed && t.listed && d.list.needsKey(): // with another key, the list may work
			return fmt.Errorf("%w: the list has no entry %s, so it does not know the key, or has ended: give it a valid key",
				reputation.ErrRefused, t.address)
		case !listed && t.listed:
			return fmt.Errorf("%w: the list has no entry %s, which every list has: %s",
				reputation.ErrBadAnswer, t.address, missingEntry(t))
		}
	}
	return nil
}

// missingEntry says what may be wrong when a test entry is missing, and the cure.
func missingEntry(t test) string {
	if strings.Contains(t.address, ":") {
		return "it has no IPv6 addresses, or has ended: write `ipv6 off`"
	}
	return "it has ended, refuses your resolver, or does without test entries: write `test off` if you know that it works"
}

func (d *DNSBL) ask(ctx context.Context, addr netip.Addr, key string) (answer, error) {
	if err := d.list.checkKey(key); err != nil {
		return answer{}, err
	}
	return d.resolvers.ask(ctx, d.list.asking(addr, key), d.list.check)
}

// Interface guards
var (
	_ caddy.Provisioner   = (*DNSBL)(nil)
	_ reputation.Provider = (*DNSBL)(nil)
	_ reputation.Prober   = (*DNSBL)(nil)
)
