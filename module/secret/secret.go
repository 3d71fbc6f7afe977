// Package secret opens what must not be seen, such as API keys: values that Caddy's placeholders stand for,
// or that a store holds. It is what all stores share; each store is a package below.
package secret

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	refresh "github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Secret is a value that must not be seen, such as an API key: written as a placeholder, or held by a store.
type Secret struct {
	// The value, as a placeholder: `{env.NAME}` or `{file./path}`. Files are read again every few seconds, so
	// that one that changes is used without a reload. The value never goes back into the configuration. One that
	// resolves to nothing when the configuration is loaded is an error. Required unless there is a store.
	Value string `json:"value,omitempty"`

	// Or the store that holds it: a module of the namespace `ip_reputation.secrets`. It is asked in the
	// background, and not needed when Caddy starts; while it is away, its last value is used. Required unless
	// there is a value.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=ip_reputation.secrets inline_key=store"`

	// How often it is fetched anew. Default: 10s for placeholders, 5m for stores.
	Refresh caddy.Duration `json:"refresh,omitempty"`

	// When the value ends, as a day such as `2027-03-31` (in UTC) or a time of RFC 3339: from 30 days before,
	// the log says so every day, and `key_expiry_timestamp_seconds` shows it. What a store says counts where it
	// is earlier. Default: not known.
	Expires string `json:"expires,omitempty"`
}

// OpenFor is Open for the named option of what has a name, for as long as the configuration of rt needs it.
func (s *Secret) OpenFor(ctx caddy.Context, rt *runtime.Runtime, name, option string, hide bool) (*refresh.Refresher, error) {
	opened, err := s.Open(ctx, &rt.Leases, Use{name, option, hide, rt.Logger})
	if err == nil {
		rt.Secrets = append(rt.Secrets, opened)
	}
	return opened, err
}

// Use is what a secret is for.
type Use struct {
	Name   string // whose it is
	Option string // the option's word
	Hide   bool   // a person may have made it up: it can be guessed by its fingerprint
	Logger *slog.Logger
}

// Open keeps the secret current until the leases are released. A placeholder is resolved now; a store is
// asked after Start.
func (s *Secret) Open(ctx caddy.Context, leases *process.Leases, use Use) (*refresh.Refresher, error) {
	hash, err := process.Hash(s) // the raw store is gone once it is loaded
	if err != nil {
		return nil, err
	}
	expires, err := parseExpires(s.Expires)
	if err != nil {
		return nil, err
	}
	o := refresh.Options{
		Refresh: time.Duration(s.Refresh), Expires: expires, Logger: runtime.ProcessLogger("secrets"),
		Hide: use.Hide,
	}
	if err := s.checkSource(use); err != nil {
		return nil, err
	}
	var store reputation.SecretStore
	local := s.StoreRaw == nil
	if local {
		o.Source = Placeholders(s.Value)
		o.Refresh = cmp.Or(o.Refresh, refresh.PlaceholderRefresh)
		store = placeholder{use.Option, s.Value}
		err = checkFetched(ctx, store, use.Option, s.Value)
	} else {
		store, o.Source, err = s.loadStore(ctx)
	}
	if err != nil {
		return nil, err
	}
	key := "secret " + use.Option + " of " + use.Name + " " + hash
	opened, err := process.Share(leases, key, func() (*refresh.Refresher, func() error, error) {
		r := refresh.Open(use.Name, store, o)
		return r, func() error { r.Close(); return nil }, nil
	})
	if err == nil && local {
		err = opened.Prime(ctx)
	}
	return opened, err
}

// checkSource reports a secret that is not given, or not as it must be. It warns of one that anybody can read who can
// read the configuration.
func (s *Secret) checkSource(use Use) error {
	switch {
	case s.Value != "" && s.StoreRaw != nil:
		return fmt.Errorf("%s has both a value and a store: remove one", use.Option)
	case s.StoreRaw != nil || Placeholders(s.Value) != "":
		return nil
	case s.Value == "":
		return fmt.Errorf("no %s is given: %s", use.Option, HowToWrite(use.Option))
	}
	if err := Check(use.Option, s.Value); err != nil {
		return err
	}
	use.Logger.Warn("a secret stands in the configuration itself, where `/config` and autosave.json show it",
		slog.String("secret", use.Name), slog.String("cure", HowToWrite(use.Option)))
	return nil
}

// loadStore returns the store, and the words that name the secret in it.
func (s *Secret) loadStore(ctx caddy.Context) (store reputation.SecretStore, source string, err error) {
	where := s.where() // the raw store is gone once it is loaded
	loaded, err := ctx.LoadModule(s, "StoreRaw")
	if err != nil {
		return nil, "", err
	}
	store, ok := loaded.(reputation.SecretStore)
	if !ok {
		return nil, "", fmt.Errorf("module %T is not a store of secrets: it lacks the Fetch method", loaded)
	}
	return store, strings.TrimSpace(loaded.(caddy.Module).CaddyModule().ID.Name() + " " + where), nil
}

// checkFetched reports a placeholder without a value, or with the path of a file as its value.
func checkFetched(ctx caddy.Context, store reputation.SecretStore, option, text string) error {
	fetched, err := store.Fetch(ctx)
	if err != nil {
		return err
	}
	if filepath.IsAbs(fetched.Value) && refresh.IsFile(fetched.Value) {
		return fmt.Errorf("the %s %s is the path of a file: write `%s {file./path/to/%[1]s}` with that path",
			option, Placeholders(text), option)
	}
	return nil
}

// where is how the store calls the secret, as far as it can be seen from outside: most name it so.
func (s *Secret) where() string {
	var named struct{ Name, Path string }
	if json.Unmarshal(s.StoreRaw, &named) != nil {
		return ""
	}
	return cmp.Or(named.Name, named.Path)
}

// placeholder is a secret that Caddy resolves.
type placeholder struct{ option, text string }

// Fetch implements reputation.SecretStore.
func (p placeholder) Fetch(context.Context) (reputation.Secret, error) {
	value, err := Resolve(p.option, p.text)
	return reputation.Secret{Value: value}, err
}

// Resolve resolves the placeholders of a secret. Of the text, errors repeat no more than its placeholders:
// the rest may be a part of the secret.
func Resolve(what, text string) (string, error) {
	values := caddy.NewReplacer()
	value, err := refresh.Resolve(text, values)
	if errors.Is(err, regularfile.ErrNotRegular) {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	if err != nil {
		return "", fmt.Errorf("%s %s is empty: check that the file can be read, or the variable is set, where Caddy runs",
			what, refresh.Empty(text, values))
	}
	return value, nil
}

// Check reports a value that was meant to say where the secret is, and is not written so. The value itself may be secret
// after all, so the error does not repeat it.
func Check(option, value string) error {
	switch looks := refresh.LooksLike(value); {
	case looks == "":
		return nil
	case refresh.LooksLikePlaceholder(value):
		return fmt.Errorf("the %s looks like a placeholder, and is none: %s", option, HowToWrite(option))
	default:
		return fmt.Errorf("the %s looks like %s, and would itself be the %[1]s: %[3]s", option, looks, HowToWrite(option))
	}
}

// CheckValue checks a value that stands in the configuration itself. What a placeholder or a store gives is not known
// before the configuration is loaded.
func (s *Secret) CheckValue(check func(value string) error) error {
	if s == nil || s.Value == "" || Placeholders(s.Value) != "" {
		return nil
	}
	return check(s.Value)
}

// CheckHeader reports a word of a header that was meant to say where a secret is, and is not written so. Unlike a secret,
// a header may well have a word that begins as a path does: only the path of a file that is there is refused.
func CheckHeader(name, value string) error {
	for word := range strings.FieldsSeq(value) {
		if strings.Contains(word, "{") {
			continue
		}
		if refresh.LooksLikePlaceholder(word) || filepath.IsAbs(word) && refresh.IsFile(word) {
			return fmt.Errorf("header %s has a word that looks like %s: write {env.NAME} or {file./path/to/key} in its place",
				name, refresh.LooksLike(word))
		}
	}
	return nil
}

// Placeholders returns the placeholders in a text: all that may be shown of one that is secret.
func Placeholders(text string) string { return refresh.Placeholders(text) }

// HowToWrite says how a secret is written.
func HowToWrite(option string) string {
	return fmt.Sprintf("write `%[1]s {env.NAME}` or `%[1]s {file./path/to/%[1]s}`", option)
}

// CheckExpires reports whether a time of expiry cannot be read.
func CheckExpires(text string) error {
	_, err := parseExpires(text)
	return err
}

// parseExpires reads a day, which ends with it, or a time.
func parseExpires(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.AddDate(0, 0, 1), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("expires %q is neither a day, such as 2027-03-31, nor a time of RFC 3339", text)
	}
	return at, nil
}
