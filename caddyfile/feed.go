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
//		name        <name>
//		refresh     <duration>
//		category    <category>...
//		nature      <nature>...
//		trust       <0 to 1>
//		header      <name> <value>
//		key         <placeholder>|<store> [<arguments>...] { <see readSecret> }
//		format      text|csv|json|ndjson
//		field       <column or member>...
//		min_count   <number>
//		timeout     <duration>
//		max_size    <size>
//		max_entries <number>
//		max_shrink  <0 to 1>
//		allow_empty
//	}
//
// Categories, natures and fields are separated by commas or spaces. `header` may be repeated. For
// `feed crowdsec`, see decisions.
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
		err := option.Read(d, "feed",
			option.Once("name", option.Text(&f.Name, "the name of the feed")),
			option.Once("refresh", option.Duration(&f.Refresh, "")),
			option.Once("category", option.Words(&f.Category, "categories", reputation.ParseCategory)),
			option.Once("nature", option.Words(&f.Nature, "natures", reputation.ParseKind)),
			option.Once("trust", option.Share(&f.Trust)),
			option.Repeated("header", option.Header(&f.Header)),
			option.Once("key", oneSecret(&f.Key)),
			option.Once("format", option.OneOf(&f.Format, "text", "csv", "json", "ndjson")),
			option.Once("field", option.Words(&f.Field, "columns or members", anyWord)),
			option.Once("min_count", option.Number(&f.MinCount, "a number above 0, where 1 takes every entry")),
			option.Once("timeout", option.Duration(&f.Timeout, "")),
			option.Once("max_size", option.Size(&f.MaxSize)),
			option.Once("max_entries", option.Number(&f.MaxEntries, "a number above 0, such as 5000000")),
			option.Once("max_shrink", option.Share(&f.MaxShrink)),
			option.Once("allow_empty", option.Flag(&f.AllowEmpty)),
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
}

func anyWord(word string) (string, error) { return word, nil }
