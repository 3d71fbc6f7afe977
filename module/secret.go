package module

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Secret is a value that must not be seen, such as an API key: written as a placeholder, or kept in a store.
type Secret struct {
	// The value, as a placeholder: `{env.NAME}` or `{file./path}`. Files are read again every few seconds, so that one that
	// changes is used without a reload. The value never goes back into the configuration. One that resolves to nothing when
	// the configuration is loaded is an error. Required unless there is a store.
	Value string `json:"value,omitempty"`

	// Or the store that holds it: a module of the namespace `ip_reputation.secrets`. It is asked in the background, and not
	// needed when Caddy starts; while it is away, the last value that it gave is used. Required unless there is a value.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=ip_reputation.secrets inline_key=store"`

	// How often it is fetched anew. Default: 10s for placeholders, 5m for stores.
	Refresh caddy.Duration `json:"refresh,omitempty"`

	// When the value ends, as a day such as `2027-03-31` (in UTC) or a time of RFC 3339: from 30 days before, the log says so
	// every day, and `key_expiry_timestamp_seconds` shows it. What a store says counts where it is earlier. Default: not known.
	Expires string `json:"expires,omitempty"`
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

// expiry remembers over reloads what was said of which key.
var expiry secret.Expiry

// startSecrets keeps the secrets current, and looks at when they end.
func (a *App) startSecrets() {
	if len(a.secrets) == 0 {
		return
	}
	for _, s := range a.secrets {
		s.start()
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.stopSecrets = cancel
	lingering.Go(func() { a.keepDoing(ctx, "looking at when keys end", a.watchExpiry) })
}

// watchExpiry says each day of which keys the end is near.
func (a *App) watchExpiry(ctx context.Context) {
	list := func() (all []secret.Status) {
		for _, s := range a.secrets {
			all = append(all, s.Status())
		}
		return all
	}
	expiry.Watch(ctx, list, func(s secret.Status, left time.Duration) {
		events.Expires(s.Name, s.Fingerprint, s.Expires, left)
		attributes := []any{
			slog.String("provider", s.Name), slog.String("key", s.Fingerprint), slog.Time("expires", s.Expires),
			slog.String("cure", "put a new one where it is read from; a provider may have two beside each other"),
		}
		if left < 0 {
			a.logger.Error("a key has ended", attributes...)
			return
		}
		a.logger.Warn("a key ends soon", append(attributes, slog.Int("days", int(left/(24*time.Hour))))...)
	})
}

const (
	refreshPlaceholder = 10 * time.Second
)

// howToWrite says how a secret is written.
func howToWrite(option string) string {
	return fmt.Sprintf("write `%[1]s {env.NAME}` or `%[1]s {file./path/to/%[1]s}`", option)
}

// placeholder is a secret that Caddy resolves.
type placeholder struct{ option, text string }

// Fetch implements reputation.SecretStore.
func (p placeholder) Fetch(context.Context) (reputation.Secret, error) {
	value, err := resolveSecret(p.option, p.text)
	return reputation.Secret{Value: value}, err
}

// resolveSecret resolves the placeholders of a secret. Of the text, errors repeat no more than its placeholders: the rest may
// be a part of the secret.
func resolveSecret(what, text string) (string, error) {
	value, err := secret.Resolve(text, caddy.NewReplacer())
	if err != nil {
		return "", fmt.Errorf("%s %s is empty: check that the file can be read, or the variable is set, where Caddy runs", what, placeholdersOf(text))
	}
	return value, nil
}

// placeholdersOf returns the placeholders in a text: all that may be shown of one that is secret.
func placeholdersOf(text string) string { return secret.Placeholders(text) }

// pooledSecret is a secret in use by one or more configurations.
type pooledSecret struct {
	*secret.Keeper
	starting sync.Once
}

func (p *pooledSecret) start() { p.starting.Do(p.Start) }

// Destruct implements caddy.Destructor.
func (p *pooledSecret) Destruct() error {
	p.Close()
	return nil
}

// provisionSecret finds or makes what keeps a secret of the app current, which is the named option of what has a name.
func (a *App) provisionSecret(ctx caddy.Context, name, option string, s *Secret) (*pooledSecret, error) {
	return a.keepSecret(ctx, s, secretUse{name, option, option != "key", a.logger})
}

func (a *App) keepSecret(ctx caddy.Context, s *Secret, use secretUse) (*pooledSecret, error) {
	kept, err := s.provision(ctx, &a.pools, use)
	if err == nil {
		a.secrets = append(a.secrets, kept)
	}
	return kept, err
}

// where is how the store calls the secret, as far as it can be seen from outside: most name it so.
func (s *Secret) where() string {
	var named struct{ Name, Path string }
	if json.Unmarshal(s.StoreRaw, &named) != nil {
		return ""
	}
	return cmp.Or(named.Name, named.Path)
}

// secretUse is what a secret is for.
type secretUse struct {
	name   string // whose it is
	option string // the option's word
	hide   bool   // a person may have made it up: it can be guessed by its fingerprint
	logger *slog.Logger
}

// provision finds or makes what keeps a secret current. A placeholder is resolved now; a store is asked after Start.
func (s *Secret) provision(ctx caddy.Context, pools *releases, use secretUse) (*pooledSecret, error) {
	hash, err := hashOf(s) // the raw store is gone once it is loaded
	if err != nil {
		return nil, err
	}
	expires, err := parseExpires(s.Expires)
	if err != nil {
		return nil, err
	}
	o := secret.Options{
		Refresh: time.Duration(s.Refresh), Expires: expires, Logger: processLogger("secrets"),
		Hide: use.hide,
	}
	var store reputation.SecretStore
	switch {
	case s.Value != "" && s.StoreRaw != nil:
		return nil, fmt.Errorf("%s has both a value and a store: remove one", use.option)
	case s.StoreRaw != nil:
		where := s.where()
		loaded, err := ctx.LoadModule(s, "StoreRaw")
		if err != nil {
			return nil, err
		}
		var ok bool
		if store, ok = loaded.(reputation.SecretStore); !ok {
			return nil, fmt.Errorf("module %T is not a store of secrets: it lacks the Fetch method", loaded)
		}
		o.Source = strings.TrimSpace(loaded.(caddy.Module).CaddyModule().ID.Name() + " " + where)
	case placeholdersOf(s.Value) != "":
		o.Source = placeholdersOf(s.Value)
	case secret.LooksLikePlaceholder(s.Value):
		return nil, fmt.Errorf("the %s looks like a placeholder, and is none: %s", use.option, howToWrite(use.option))
	case s.Value != "":
		use.logger.Warn("a secret stands in the configuration itself, where `/config` and autosave.json show it",
			slog.String("secret", use.name), slog.String("cure", howToWrite(use.option)))
	default:
		return nil, fmt.Errorf("no %s is given: %s", use.option, howToWrite(use.option))
	}
	local := store == nil
	if local {
		store = placeholder{use.option, s.Value}
		if o.Refresh == 0 {
			o.Refresh = refreshPlaceholder
		}
		if _, err := store.Fetch(ctx); err != nil {
			return nil, err
		}
	}
	kept, err := acquireFor(pools, "secret "+use.option+" of "+use.name+" "+hash, func() (*pooledSecret, error) {
		return &pooledSecret{Keeper: secret.Open(use.name, store, o)}, nil
	})
	if err == nil && local {
		err = kept.Prime(ctx)
	}
	return kept, err
}
