package caddyfile

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
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
//		max_shrink  <0 to 1>
//		allow_empty
//	}
//
// Categories, natures and fields are separated by commas or spaces. `header` may be repeated.
func feed(to *[]module.Feed) setter {
	return func(d *caddyfile.Dispenser) error {
		var f module.Feed
		if err := list(&f.Sources, "a preset, URLs, a file, or addresses and CIDR ranges")(d); err != nil {
			return err
		}
		err := options{
			{word: "name", set: text(&f.Name, "the name of the feed")},
			{word: "refresh", set: duration(&f.Refresh)},
			{word: "category", set: words(&f.Category, "categories", reputation.ParseCategory)},
			{word: "nature", set: words(&f.Nature, "natures", reputation.ParseKind)},
			{word: "trust", set: share(&f.Trust)},
			{word: "header", set: header(&f.Header), repeats: true},
			{word: "key", set: oneSecret(&f.Key)},
			{word: "format", set: oneOf(&f.Format, "text", "csv", "json", "ndjson")},
			{word: "field", set: words(&f.Field, "columns or members", anyWord)},
			{word: "min_count", set: number(&f.MinCount, "a number above 0, where 1 takes every entry")},
			{word: "timeout", set: duration(&f.Timeout)},
			{word: "max_size", set: size(&f.MaxSize)},
			{word: "max_shrink", set: share(&f.MaxShrink)},
			{word: "allow_empty", set: flag(&f.AllowEmpty)},
		}.parse(d, "feed", nil)
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

// header reads the name and the value of a request header. The value may be a secret, so errors do not repeat it.
func header(to *map[string]string) setter {
	return func(d *caddyfile.Dispenser) error {
		var name, value string
		if !d.AllArgs(&name, &value) || name == "" || value == "" {
			return d.Err(`header takes a name and a value, such as Authorization "Bearer {env.TOKEN}"`)
		}
		name = http.CanonicalHeaderKey(name)
		if _, ok := (*to)[name]; ok {
			return d.Errf("header %s is given twice: remove one", name)
		}
		if *to == nil {
			*to = make(map[string]string)
		}
		(*to)[name] = value
		return nil
	}
}
