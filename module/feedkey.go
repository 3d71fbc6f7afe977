package module

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/preset"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	refresh "github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret"
)

// keyMark stands for a list's key in its headers.
const keyMark = "{key}"

// checkKey reports whether a list has a key that is not sent, or sends one that it has not. A preset says itself
// where its key goes.
func (o *ListOptions) checkKey(known *preset.Preset) error {
	sent := ""
	for name, value := range o.Header {
		if err := secret.CheckHeader(name, value); err != nil {
			return err
		}
		if strings.Contains(value, keyMark) {
			sent = name
		}
	}
	needed := known != nil && known.NeedsKey()
	switch {
	case o.Key == nil && needed:
		return fmt.Errorf("%s needs your key: %s", known.Name, secret.HowToWrite("key"))
	case o.Key != nil && sent == "" && !needed:
		return errors.New("a key is given and not sent: name its header, such as `header Authorization \"Bearer {key}\"`")
	case o.Key == nil && sent != "":
		return fmt.Errorf("header %s has {key} in it, and no key is given: %s", sent, secret.HowToWrite("key"))
	}
	return nil
}

// authorize resolves what may be secret: URLs now, headers for every request.
func (a *App) authorize(ctx caddy.Context, l *configuredList) (err error) {
	if l.spec.URLs, err = resolveURLs(l.spec.URLs); err != nil {
		return err
	}
	if l.options == nil || len(l.options.Header)+len(l.spec.Header) == 0 {
		return nil
	}
	if l.spec.Header == nil {
		l.spec.Header = make(http.Header, len(l.options.Header))
	}
	for name, value := range l.options.Header { // in place of a preset's
		if _, err := headerValue(name, value, "key"); err != nil {
			return err
		}
		l.spec.Header.Set(name, value)
	}
	var key *refresh.Refresher
	if secret := l.options.Key; secret != nil {
		if l.settings, err = process.Hash(secret); err != nil {
			return err
		}
		if key, err = secret.OpenFor(ctx, a.runtime, l.spec.Name, "key", false); err != nil {
			return err
		}
	}
	l.spec.Authorize = func(ctx context.Context, header http.Header) (http.Header, error) {
		return authorized(ctx, header, key)
	}
	return nil
}

// resolveURLs resolves the placeholders in URLs, which may stand for keys.
func resolveURLs(urls []string) ([]string, error) {
	resolved := slices.Clone(urls)
	for i, url := range resolved {
		if !strings.Contains(url, "{") {
			continue
		}
		var err error
		if resolved[i], err = secret.Resolve("url", url); err != nil {
			return nil, err
		}
	}
	return resolved, nil
}

// authorized puts the secrets of the moment into headers. It waits for a key that has not come from its store
// yet, since a list that cannot be fetched is left alone for a while.
func authorized(ctx context.Context, header http.Header, key *refresh.Refresher) (http.Header, error) {
	current := ""
	if key != nil {
		var err error
		if current, err = key.Await(ctx); err != nil {
			return nil, err
		}
	}
	for name, values := range header {
		for i, value := range values {
			var err error
			if values[i], err = headerValue(name, value, current); err != nil {
				return nil, err
			}
		}
	}
	return header, nil
}

// headerValue resolves the placeholders of a header, and puts the key where it belongs: what comes out of one
// is not looked at for the other.
func headerValue(name, value, key string) (string, error) {
	parts := strings.Split(value, keyMark)
	for i, part := range parts {
		if secret.Placeholders(part) == "" {
			continue
		}
		resolved, err := secret.Resolve("header "+name, part)
		if err != nil {
			return "", err
		}
		space := part[:len(part)-len(strings.TrimLeft(part, " "))]
		parts[i] = space + resolved
	}
	return strings.Join(parts, key), nil
}
