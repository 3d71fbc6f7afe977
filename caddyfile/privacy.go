package caddyfile

import (
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

// privacy reads how addresses are written to logs and databases. Syntax:
//
//	privacy off
//	privacy truncate [<bits of IPv4> <bits of IPv6>]
//	privacy hash {
//		key <see readSecret>
//	}
func privacy(to **module.Privacy) option.Setter {
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

// hashKey reads the key for hashing addresses.
func hashKey(d *caddyfile.Dispenser, p *module.Privacy) error {
	if d.NextArg() { // it may be the key, so the error does not repeat it
		return d.Err("privacy hash takes a block with the key: write `key {env.NAME}` into it")
	}
	return option.Read(d, "privacy hash", option.Once("key", oneSecret(&p.Key)))
}

// positive reads one number above 0 for each field, and reports whether all were valid.
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
