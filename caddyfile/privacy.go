package caddyfile

import (
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/handler"
)

// privacy reads how addresses are written. Syntax:
//
//	privacy off
//	privacy truncate [<bits of IPv4> <bits of IPv6>]
//	privacy hash {
//		key <see readSecret>
//	}
func privacy(to **module.Privacy) setter {
	return func(d *caddyfile.Dispenser) error {
		if !d.NextArg() {
			return d.Err("privacy needs a word: off, truncate or hash")
		}
		p := &module.Privacy{Mode: d.Val()}
		*to = p
		var err error
		switch p.Mode {
		case module.PrivacyHash:
			err = hashKey(d, p)
		case module.PrivacyTruncate:
			if d.CountRemainingArgs() > 0 && !positive(d.RemainingArgs(), &p.IPv4Bits, &p.IPv6Bits) {
				err = d.Err("privacy truncate takes no numbers, or two: how many bits of IPv4 and of IPv6 addresses are kept, such as 24 48")
			}
		default:
			if d.NextArg() {
				err = d.Errf("privacy %s takes nothing more: remove %q", p.Mode, d.Val())
			}
		}
		if err != nil {
			return err
		}
		if err := p.Check(); err != nil {
			return d.WrapErr(err)
		}
		return nil
	}
}

// hashKey reads the key of pseudonyms.
func hashKey(d *caddyfile.Dispenser, p *module.Privacy) error {
	if d.NextArg() { // which may be the key: it is not repeated
		return d.Err("privacy hash takes a block with the key: write `key {env.NAME}` into it")
	}
	return options{{word: "key", set: oneSecret(&p.Key)}}.parse(d, "privacy hash", nil)
}

// positive reads as many numbers above 0 as there are places for them, and reports whether they were.
func positive(args []string, to ...*int) bool {
	if len(args) != len(to) {
		return false
	}
	for i, arg := range args {
		n, err := strconv.Atoi(arg)
		if err != nil || n <= 0 {
			return false
		}
		*to[i] = n
	}
	return true
}

// decisionLog reads which decisions of a site are logged. Syntax:
//
//	log blocked|all|none [sample <first> <one in>]
func decisionLog(to **handler.DecisionLog) setter {
	return func(d *caddyfile.Dispenser) error {
		if !d.NextArg() {
			return d.Err("log needs a word: blocked, all or none")
		}
		l := &handler.DecisionLog{Decisions: d.Val()}
		*to = l
		if d.NextArg() {
			const syntax = "what follows is `sample` and two numbers above 0: how many entries of a kind are logged in a second, " +
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
