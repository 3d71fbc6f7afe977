package caddyfile

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

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
				if err := priorityMatcher(h.WithDispenser(d), &p); err != nil {
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

// priorityMatcher reads the name of a matcher, with h at it.
func priorityMatcher(h httpcaddyfile.Helper, p *handler.PriorityRule) error {
	if p.MatcherSetsRaw != nil {
		return h.Err("priority: a line takes one matcher: put the conditions of both into one, or write a line for each")
	}
	h.Prev()
	set, _, err := h.MatcherToken()
	if err != nil {
		return h.WrapErr(err)
	}
	p.MatcherSetsRaw = caddyhttp.RawMatcherSets{set}
	return nil
}
