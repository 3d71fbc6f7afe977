package caddyfile

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/handler"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

// priority reads which requests matter, and appends it. Syntax:
//
//	priority @<matcher>|<condition> <values>...
//
// Conditions are `path <path>...`, `method <method>...` and `header <field> <value>`, as in rules. All on a line must
// hold; several lines are alternatives.
func priority(h httpcaddyfile.Helper, to *[]handler.PriorityRule) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		var p handler.PriorityRule
		for d.NextArg() {
			word := d.Val()
			if strings.HasPrefix(word, "@") {
				if err := namedMatcher(h.WithDispenser(d), "priority", &p.MatcherSetsRaw); err != nil {
					return err
				}
				continue
			}
			if err := p.AddCondition(word, conditionValues(d)); err != nil {
				return d.WrapErr(err)
			}
		}
		if err := p.Check(); err != nil {
			return d.WrapErr(err)
		}
		*to = append(*to, p)
		return nil
	}
}
