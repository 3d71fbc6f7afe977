package caddyfile

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret"
)

const secrets = "ip_reputation.secrets"

// oneOfSecrets appends a secret.
func oneOfSecrets(to *[]secret.Secret) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		s := new(secret.Secret)
		if err := readSecret(d, s); err != nil {
			return err
		}
		*to = append(*to, *s)
		return nil
	}
}

// oneSecret sets a secret.
func oneSecret(to **secret.Secret) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		*to = new(secret.Secret)
		return readSecret(d, *to)
	}
}

// checkedSecret is readSecret with a check of the secret, whose error names the line of its word.
func checkedSecret(d *caddyfile.Dispenser, s *secret.Secret, check func() error, more ...option.Option) error {
	word := *d
	if err := readSecret(d, s, more...); err != nil {
		return err
	}
	if err := check(); err != nil {
		return word.WrapErr(err)
	}
	return nil
}

// readSecret reads a secret, such as a key: a placeholder, or a store with its
// arguments and options. Syntax:
//
//	key <placeholder>|<store> [<arguments>...] {
//		refresh <duration>
//		expires <day or time>
//		<options of the store>
//	}
//
// Its block may have more options.
func readSecret(d *caddyfile.Dispenser, s *secret.Secret, more ...option.Option) error {
	const what = "a placeholder such as {env.NAME} or {file./path}"
	word := d.Val()
	if !d.NextArg() || d.Val() == "" {
		return d.Errf("%s is empty: give it %s", word, what)
	}
	store := d.Val()
	ours := append([]option.Option{
		option.Once("refresh", option.Duration(&s.Refresh, "")),
		option.Once("expires", option.Text(&s.Expires, "a day such as 2027-03-31"),
			func() error { return secret.CheckExpires(s.Expires) }),
	}, more...)
	if _, err := caddy.GetModule(secrets + "." + store); err != nil {
		s.Value = store
		if err := secret.Check(word, store); err != nil {
			return d.WrapErr(err)
		}
		if d.NextArg() { // it may be a part of the secret, so the error does not repeat it
			return d.Errf("%s takes one value, %s, or one of these stores and what it needs: %s",
				word, what, names(secrets))
		}
		return option.Read(d, word, ours...)
	}
	tokens, err := guest(d, word+" "+store, ours...)
	if err != nil {
		return err
	}
	s.StoreRaw, err = unmarshalGuest(secrets, "store", store, tokens)
	return err
}
