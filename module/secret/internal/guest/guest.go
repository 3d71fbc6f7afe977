// Package guest is what the secret stores have in common: how their options are read, how a value is found in an answer,
// and what may be told of a call that failed.
package guest

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
)

// Name is what a store calls the name of a secret.
type Name struct {
	// Word is what errors call it, such as "path".
	Word string

	// Example is such a name.
	Example string

	// To is where it goes.
	To *string
}

// Read reads what is written about one secret: the store's word, the secret's name there, and a block of options. What an
// option takes is written as an example of it. Since any value may turn out to be a secret in the wrong place, errors
// repeat none.
func Read(d *caddyfile.Dispenser, name Name, options ...option.Option) error {
	d.Next()
	store := d.Val()
	if !d.NextArg() || d.Val() == "" {
		return d.Errf("%s needs the %s of the secret, such as %s", store, name.Word, name.Example)
	}
	*name.To = d.Val()
	if d.NextArg() {
		return d.Errf("%s takes one %s, such as %s: put options into a block { }, one a line", store, name.Word, name.Example)
	}
	return option.Block{Name: store, Options: options, Reword: reword, Hide: true}.Read(d)
}

// reword says by an example how an option is written.
func reword(m option.LineError) string {
	switch m.Kind {
	case option.Unknown:
		return fmt.Sprintf("unknown option '%s' of %s: use one of %s", m.Word, m.Block, strings.Join(m.Known, ", "))
	case option.NoBlock:
		return fmt.Sprintf("unknown option '{' of %s: %s takes no block", m.Block, m.Word)
	case option.Duplicate:
		return fmt.Sprintf("%s is set twice for %s: remove one", m.Word, m.Block)
	case option.Count:
		return fmt.Sprintf("%s of %s has %d values: write it like `%s %s`", m.Word, m.Block, m.Has, m.Word, m.Want)
	case option.Empty:
		return fmt.Sprintf("%s of %s is empty: write it like `%s %s`", m.Word, m.Block, m.Word, m.Want)
	}
	return ""
}

// Resolve returns a setting with its placeholders resolved; it stays empty if it was not set. What comes out of a
// placeholder must not be empty, since that is what a missing file or variable looks like.
func Resolve(what, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	value, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
	if err != nil {
		return "", fmt.Errorf("resolving the %s: %w: check that the variable is set, or the file can be read, where Caddy runs",
			what, err)
	}
	if value = strings.TrimSpace(value); value == "" {
		return "", fmt.Errorf("resolving the %s: nothing came out: check what the variable or the file holds", what)
	}
	return value, nil
}

// Info logs a message, with names and values. It goes to the process's log: a store may be in use for longer than the
// configuration that made it, whose own log is closed by then.
func Info(message string, attributes ...any) {
	caddy.Log().Named("ip_reputation.secrets").Sugar().Infow(message, attributes...)
}

// Warn is Info with another level.
func Warn(message string, attributes ...any) {
	caddy.Log().Named("ip_reputation.secrets").Sugar().Warnw(message, attributes...)
}

// CheckURL reports what is wrong with the base address of a store's API. Its errors do not repeat the address, which may
// hold a secret.
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

// Plain reports whether what is sent to this address can be read on its way: it is not encrypted, and leaves the machine.
func Plain(address string) bool {
	base, err := url.Parse(address)
	if err != nil || base.Scheme != "http" {
		return false
	}
	addr, err := netip.ParseAddr(base.Hostname())
	return base.Hostname() != "localhost" && (err != nil || !addr.IsLoopback())
}
