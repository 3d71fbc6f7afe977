package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

// list reads what is exempt or denied, and appends it. With a block, the sources are one list, else each is its own.
// Syntax:
//
//	exempt <range|private_ranges|file|url|preset>... {
//		name <name>
//		<see listOptions>
//	}
//
// `deny` takes the same.
func list(to *[]module.List, name string) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		var l module.List
		if err := option.List(&l.Sources,
			"addresses, CIDR ranges, private_ranges, files, URLs or presets")(d); err != nil {
			return err
		}
		if !option.OpensBlock(d) {
			*to = append(*to, module.Lists(l.Sources)...)
			return nil
		}
		options := append([]option.Option{
			option.Once("name", option.Text(&l.Name, "the name of the list")),
		}, listOptions(&l.ListOptions)...)
		if err := option.Read(d, name, options...); err != nil {
			return err
		}
		*to = append(*to, l)
		return nil
	}
}

// listOptions are what each list takes, be it a feed or your own. Syntax:
//
//	refresh     <duration>
//	timeout     <duration>
//	header      <name> <value>
//	key         <placeholder>|<store> [<arguments>...] { <see readSecret> }
//	format      text|ranges|dshield|csv|json|ndjson|ipset|iptables|nginx|apache|hosts|onionoo|asn
//	field       <column, set or member>...
//	min_count   <number>
//	max_size    <size>
//	max_entries <number>
//	max_shrink  <0 to 1>
//	confirm     <fetches>
//	max_age     <duration>
//	allow_empty
//
// Fields are separated by commas or spaces. `header` may be repeated.
func listOptions(o *module.ListOptions) []option.Option {
	return []option.Option{
		option.Once("refresh", option.Duration(&o.Refresh, "")),
		option.Once("timeout", option.Duration(&o.Timeout, "")),
		option.Repeated("header", option.Header(&o.Header)),
		option.Once("key", oneSecret(&o.Key)),
		option.Once("format", option.OneOf(&o.Format, module.Formats()...)),
		option.Once("field", option.Words(&o.Field, "columns, sets or members", anyWord)),
		option.Once("min_count", option.Number(&o.MinCount, "a number above 0, where 1 takes every entry")),
		option.Once("max_size", option.Size(&o.MaxSize)),
		option.Once("max_entries", option.Number(&o.MaxEntries, "a number above 0, such as 5000000")),
		option.Once("max_shrink", option.Share(&o.MaxShrink)),
		option.Once("confirm", option.Number(&o.Confirm, "a number of fetches: 2 or more, or 0 for never", 0)),
		option.Once("max_age", option.Duration(&o.MaxAge, "a duration above 0, such as 30d")),
		option.Once("allow_empty", option.Flag(&o.AllowEmpty)),
	}
}

func anyWord(word string) (string, error) { return word, nil }
