package webhook

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret"
)

const webhookOptions = "secret, header, timeout, retries, queue"

// UnmarshalCaddyfile reads a webhook. Syntax:
//
//	ip_reputation_webhook <url> {
//		secret  <placeholder>|<store> [<arguments>...] { <options of the store> }
//		header  <name> <value>
//		timeout <duration>
//		retries <number>
//		queue   <number>
//	}
//
// `secret` and `header` may be repeated. Since any value may turn out to be a secret in the wrong place, errors repeat none.
func (w *Webhook) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the handler's name
	if !d.NextArg() || d.Val() == "" {
		return d.Err("ip_reputation_webhook needs the URL to post to, such as https://hooks.example.com/caddy")
	}
	w.URL = d.Val()
	if !strings.Contains(w.URL, "{") {
		if _, err := webhookURL(w.URL); err != nil {
			return d.WrapErr(err)
		}
	}
	if d.NextArg() {
		return d.Err("ip_reputation_webhook takes one URL: write options into a block { }, one a line")
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		if word == "{" {
			return d.Err("options of ip_reputation_webhook take no block, but for stores of secrets")
		}
		if seen[word] && word != "secret" && word != "header" {
			return d.Errf("duplicate option %q of ip_reputation_webhook: remove one", word)
		}
		seen[word] = true
		if err := w.option(d, word); err != nil {
			return err
		}
		if err := w.checkOptions(); err != nil {
			return d.WrapErr(err)
		}
	}
	if err := w.Check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// option reads one line of the block.
func (w *Webhook) option(d *caddyfile.Dispenser, word string) error {
	switch word {
	case "secret":
		return w.secretOption(d)
	case "header":
		return w.headerOption(d)
	case "timeout":
		value, err := only(d, "a duration above 0, such as 5s")
		if err != nil {
			return err
		}
		timeout, err := caddy.ParseDuration(value)
		if err != nil || timeout <= 0 {
			return d.Errf("timeout %q is not a duration above 0, such as 5s", value)
		}
		w.Timeout = caddy.Duration(timeout)
	case "retries":
		n, err := count(d, 0)
		w.Retries = &n
		return err
	case "queue":
		n, err := count(d, 1)
		w.Queue = n
		return err
	default:
		return d.Errf("unknown option %q of ip_reputation_webhook: use one of %s", word, webhookOptions)
	}
	return nil
}

// secretOption reads a placeholder, or a store and what it needs to find the secret.
func (w *Webhook) secretOption(d *caddyfile.Dispenser) error {
	const stores = "ip_reputation.secrets"
	if !d.NextArg() || d.Val() == "" {
		return d.Err("secret is empty: " + secret.HowToWrite("secret"))
	}
	s := secret.Secret{Value: d.Val()}
	if _, err := caddy.GetModule(stores + "." + d.Val()); err == nil {
		store := d.Val()
		read, err := caddyfile.UnmarshalModule(d, stores+"."+store)
		if err != nil {
			return err
		}
		s = secret.Secret{StoreRaw: caddyconfig.JSONModuleObject(read, "store", store, nil)}
	} else if d.NextArg() {
		return d.Err("secret takes one value, or a store of secrets and what it needs: " + secret.HowToWrite("secret"))
	}
	w.Secrets = append(w.Secrets, s)
	return nil
}

// headerOption reads a header.
func (w *Webhook) headerOption(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 || args[0] == "" || args[1] == "" {
		return d.Errf("header takes a name and a value, it has %d words: put a value with spaces in quotes", len(args))
	}
	if _, ok := w.Header[args[0]]; ok {
		return d.Errf("header %s is set twice: remove one", args[0])
	}
	if w.Header == nil {
		w.Header = make(map[string]string)
	}
	w.Header[args[0]] = args[1]
	return nil
}

// only returns the only argument of an option.
func only(d *caddyfile.Dispenser, what string) (string, error) {
	word := d.Val()
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return "", d.Errf("%s takes one value, %s: it has %d", word, what, len(args))
	}
	return args[0], nil
}

// count returns the only argument of an option, a whole number.
func count(d *caddyfile.Dispenser, least int) (int, error) {
	word := d.Val()
	value, err := only(d, "a number")
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least {
		return 0, d.Errf("%s %q is not a number from %d on", word, value, least)
	}
	return n, nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Webhook)(nil)
