package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/handler"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

// decisionLog reads which decisions of a site are logged. Syntax:
//
//	log blocked|all|none [sample <first> <one in>]
func decisionLog(to **handler.DecisionLog) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		if !d.NextArg() {
			return d.Err("log needs a word: blocked, all or none")
		}
		l := &handler.DecisionLog{Decisions: d.Val()}
		*to = l
		if d.NextArg() {
			const syntax = "what follows is `sample` and two numbers above 0: how many entries of a " +
				"kind are logged in a second, " +
				"and one in how many of those that follow, such as sample 10 1000"
			args := append([]string{d.Val()}, d.RemainingArgs()...)
			if args[0] != "sample" || !positive(args[1:], &l.First, &l.OneIn) {
				return d.Errf("log %s: %s", l.Decisions, syntax)
			}
		}
		if err := l.Check(); err != nil {
			return d.WrapErr(err)
		}
		return nil
	}
}
