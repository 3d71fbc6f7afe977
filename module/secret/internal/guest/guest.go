// Package guest has the common parts of the secret stores: reading options, finding the value in an
// answer, limiting connections, and reducing errors to what may be logged.
package guest

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

// Name describes the option for the name of a secret.
type Name struct {
	// Word is the store's term for such a name in errors, such as "path".
	Word string

	// Example is an example for errors.
	Example string

	// To is the field to set.
	To *string

	// Check returns what is wrong with a name that has no placeholders. Default: every name is right.
	Check func(name string) error
}

// Read reads the configuration of one secret: the word of the store, the name of the secret, and a
// block of options. The `want` of an option is an example of its values. Any value may be a
// misplaced secret, so errors repeat none.
func Read(d *caddyfile.Dispenser, name Name, options ...option.Option) error {
	d.Next()
	store := d.Val()
	if !d.NextArg() || d.Val() == "" {
		return d.Errf("%s needs the %s of the secret, such as %s", store, name.Word, name.Example)
	}
	*name.To = d.Val()
	if name.Check != nil {
		if err := Literal(name.To, name.Check)(); err != nil {
			return d.WrapErr(err)
		}
	}
	if d.NextArg() {
		return d.Errf("%s takes one %s, such as %s: put options into a block { }, one a line",
			store, name.Word, name.Example)
	}
	return option.Block{Name: store, Options: options, Reword: reword, Hide: true}.Read(d)
}

// reword returns the errors of these blocks, with an example of the option.
func reword(m option.LineError) string {
	switch m.Kind {
	case option.Unknown:
		return fmt.Sprintf("unknown option '%s' of %s: use one of %s", m.Word, m.Block,
			strings.Join(m.Known, ", "))
	case option.NoBlock:
		return fmt.Sprintf("unknown option '{' of %s: %s takes no block", m.Block, m.Word)
	case option.Duplicate:
		return fmt.Sprintf("%s is set twice for %s: remove one", m.Word, m.Block)
	case option.Count:
		return fmt.Sprintf("%s of %s has %d values: write it like `%s %s`", m.Word, m.Block, m.Has,
			m.Word, m.Want)
	case option.Empty:
		return fmt.Sprintf("%s of %s is empty: write it like `%s %s`", m.Word, m.Block, m.Word, m.Want)
	}
	return ""
}

// Resolve returns a setting with its placeholders resolved. An empty setting stays empty. An empty
// result of placeholders is an error, since a missing file or variable gives one.
func Resolve(what, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	if err := regularfile.CheckPlaceholders(text); err != nil {
		return "", fmt.Errorf("resolving the %s: %w", what, err)
	}
	value, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
	if err != nil {
		return "", fmt.Errorf("resolving the %s: %w: check that the variable is set, or the file can be "+
			"read, where Caddy runs",
			what, err)
	}
	if value = strings.TrimSpace(value); value == "" {
		return "", fmt.Errorf("resolving the %s: nothing came out: check what the variable or the file holds",
			what)
	}
	return value, nil
}

// Literal is the check of an option whose value may have placeholders, which are resolved when the
// configuration is loaded: a value without any can be checked while the Caddyfile is read.
func Literal(value *string, check func(string) error) func() error {
	return func() error {
		if *value == "" || strings.Contains(*value, "{") {
			return nil
		}
		return check(*value)
	}
}

// Info logs a message with attributes to the process's log. The log of the configuration is not
// used, since a store may be used longer than the configuration that created it.
func Info(message string, attributes ...any) {
	caddy.Log().Named("ip_reputation.secrets").Sugar().Infow(message, attributes...)
}

// Warn is Info with the level warn.
func Warn(message string, attributes ...any) {
	caddy.Log().Named("ip_reputation.secrets").Sugar().Warnw(message, attributes...)
}

// CheckURL returns an error if the base address of a store's API is wrong. The error does not
// repeat the address, which may contain a secret.
func CheckURL(address, example string) error {
	base, err := url.Parse(address)
	switch {
	case err != nil:
		return fmt.Errorf("it is no URL: use one like %s", example)
	case base.Scheme != "https" && base.Scheme != "http":
		return fmt.Errorf("its scheme is neither https nor http: use one like %s", example)
	case base.Hostname() == "":
		return fmt.Errorf("it names no host: use one like %s", example)
	case base.User != nil:
		return errors.New("it holds a user name: remove all before and with '@'")
	case base.RawQuery != "" || base.ForceQuery || base.Fragment != "":
		return errors.New("it holds a query or a fragment: end it before '?' or '#'")
	}
	return nil
}

// Unencrypted reports whether requests to an address leave this machine without encryption.
func Unencrypted(address string) bool {
	base, err := url.Parse(address)
	if err != nil || base.Scheme != "http" {
		return false
	}
	addr, err := netip.ParseAddr(base.Hostname())
	return base.Hostname() != "localhost" && (err != nil || !addr.IsLoopback())
}
