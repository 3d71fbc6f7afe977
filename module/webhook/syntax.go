package webhook

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

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
// `secret` and `header` may be repeated. Errors repeat no text, since any may turn out to be a secret in
// the wrong place.
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
	err := option.Block{Name: "ip_reputation_webhook", Reword: rewordWebhook, Options: []option.Option{
		option.Repeated("secret", w.secretOption, w.checkSecrets),
		option.Repeated("header", option.Header(&w.Header), w.checkOptions),
		option.Once("timeout", option.Duration(&w.Timeout, "a duration above 0, such as 5s"), w.checkOptions),
		option.Once("retries", option.Number(&w.Retries, "a number from 0 on", 0), w.checkOptions),
		option.Once("queue", option.Number(&w.Queue, "a number from 1 on"), w.checkOptions),
	}}.Read(d)
	if err != nil {
		return err
	}
	if err := w.Check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// rewordWebhook words mistakes for a webhook, whose block stands inside of `on` of the events.
func rewordWebhook(m option.LineError) string {
	switch {
	case m.Kind == option.NoBlock:
		return "options of ip_reputation_webhook take no block, but for stores of secrets"
	case m.Kind == option.Duplicate:
		return fmt.Sprintf("duplicate option %q of ip_reputation_webhook: remove one", m.Word)
	case m.Kind == option.Count && m.Word == "header":
		return fmt.Sprintf("header takes a name and a value, it has %d words: put a value with spaces in quotes", m.Has)
	}
	return ""
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
	} else if err := secret.Check("secret", s.Value); err != nil {
		return d.WrapErr(err)
	}
	w.Secrets = append(w.Secrets, s)
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Webhook)(nil)
