package module

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/privacy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret"
)

// Privacy is how addresses are written wherever this plugin writes them: in its own log entries, the
// addresses that you ban included, in the history and in reports of errors. Access logs are Caddy's: see
// docs/logs.md for filters. What you ask for by the admin API or the command line is shown as it is.
type Privacy struct {
	// `off` writes addresses as they are. `truncate` keeps their first bits and writes a prefix, such as
	// `203.0.113.0/24`. `hash` writes a pseudonym, such as `ip-ef78eed60cb5dee0`, the same for all requests of a
	// subject (IPv4 address or IPv6 /64 network) as long as the key is the same. Default: `off`.
	Mode string `json:"mode,omitempty"`

	// With `truncate`, how many bits of IPv4 addresses are kept. Default: 24.
	IPv4Bits int `json:"ipv4_bits,omitempty"`

	// With `truncate`, how many bits of IPv6 addresses are kept. Default: 48.
	IPv6Bits int `json:"ipv6_bits,omitempty"`

	// With `hash`, the key of HMAC-SHA256, of 16 characters or more. Instances that are to agree on pseudonyms
	// need the same. A new key makes new pseudonyms, and with the old one gone nobody can find out whose the old
	// ones were. While a store of keys has not answered yet, `ip-hidden` is written. Required with `hash`.
	Key *secret.Secret `json:"key,omitempty"`
}

// The modes of Privacy.
const (
	PrivacyOff      = "off"
	PrivacyTruncate = "truncate"
	PrivacyHash     = "hash"
)

// Check reports what is wrong with the settings, as far as they can be judged by themselves.
func (p *Privacy) Check() error {
	_, err := p.policy(nil)
	return err
}

// policy returns the policy of the settings.
func (p *Privacy) policy(key func() (string, bool)) (*privacy.Policy, error) {
	if p == nil {
		return nil, nil
	}
	if p.Mode != PrivacyTruncate && (p.IPv4Bits != 0 || p.IPv6Bits != 0) {
		return nil, errors.New("numbers of bits belong to privacy truncate: remove them")
	}
	if p.Mode != PrivacyHash && p.Key != nil {
		return nil, errors.New("a key belongs to privacy hash: remove it")
	}
	switch p.Mode {
	case "", PrivacyOff:
		return nil, nil
	case PrivacyTruncate:
		v4, v6 := p.IPv4Bits, p.IPv6Bits
		if v4 == 0 {
			v4 = privacy.DefaultV4
		}
		if v6 == 0 {
			v6 = privacy.DefaultV6
		}
		policy, err := privacy.Truncate(v4, v6)
		if err != nil {
			return nil, fmt.Errorf("privacy truncate: %w", err)
		}
		return policy, nil
	case PrivacyHash:
		if p.Key == nil {
			return nil, errors.New("privacy hash needs a key: " + secret.HowToWrite("key"))
		}
		if err := p.Key.CheckValue(privacy.CheckKey); err != nil {
			return nil, fmt.Errorf("privacy hash: %w", err)
		}
		return privacy.Hash(key), nil
	}
	return nil, fmt.Errorf("unknown privacy %q: use off, truncate or hash", p.Mode)
}

// provisionPrivacy makes the app write addresses as configured from here on.
func (a *App) provisionPrivacy(ctx caddy.Context) error {
	var key func() (string, bool)
	if a.Privacy != nil && a.Privacy.Mode == PrivacyHash && a.Privacy.Key != nil {
		opened, err := a.Privacy.Key.OpenFor(ctx, a.runtime, "privacy", "key", true)
		if err != nil {
			return fmt.Errorf("privacy: %w", err)
		}
		if value, ok := opened.Current(); ok {
			if err := privacy.CheckKey(value); err != nil {
				return fmt.Errorf("privacy: %w", err)
			}
		}
		key = opened.Current
	}
	policy, err := a.Privacy.policy(key)
	if err != nil {
		return err
	}
	a.runtime.SetPrivacy(policy)
	return nil
}
