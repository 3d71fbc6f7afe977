package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

// databases reads files of databases and appends them. Syntax:
//
//	mmdb <file>... {
//		name    <name>
//		max_age <duration>
//		path    <fact> <field> [<value>...]
//	}
//
// The options are for each of the files. `path` may be repeated. `name` is for one file.
func databases(to *[]module.Database) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		var files []string
		if err := option.List(&files, "files, such as /var/lib/GeoIP/GeoLite2-Country.mmdb")(d); err != nil {
			return err
		}
		var all module.Database
		err := option.Read(d, "mmdb",
			option.Once("name", option.Text(&all.Name, "the name of the database")),
			option.Once("max_age", option.Duration(&all.MaxAge, "a duration such as 40d, or 0 for a file of any age", 0)),
			option.Repeated("path", factPath(&all.Paths)),
		)
		if err != nil {
			return err
		}
		if all.Name != "" && len(files) > 1 {
			return d.Errf("mmdb: the name %q is for one file: write a line for each of the %d files", all.Name, len(files))
		}
		for _, file := range files {
			one := all
			one.File = file
			*to = append(*to, one)
		}
		return nil
	}
}

// factPath reads where a fact is, and appends it.
func factPath(to *[]module.FactPath) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		words := d.RemainingArgs()
		if len(words) < 2 {
			return d.Errf("path needs a fact and the field that holds it, such as `path country geo.country_code`")
		}
		p := module.FactPath{Fact: words[0], Field: words[1]}
		if len(words) > 2 {
			p.Values = words[2:]
		}
		if err := p.Check(); err != nil {
			return d.WrapErr(err)
		}
		*to = append(*to, p)
		return nil
	}
}
