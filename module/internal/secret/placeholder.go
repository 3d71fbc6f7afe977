package secret

import (
	"errors"
	"regexp"
	"strings"
)

// placeholders are `{env.NAME}` and `{file./path}`; other braces are a part of the secret.
var placeholders = regexp.MustCompile(`\{(?:env|file)\.[^{}]+\}`)

// mistaken is what is written for a placeholder by mistake, such as `{env:NAME}` or `$NAME`.
var mistaken = regexp.MustCompile(`^(?:\{[^{}]*\}|\$\{?\w+\}?)$`)

// Placeholders returns the placeholders in a text, without what is between them: all that may be shown of one that is
// secret. It is empty for a text without any.
func Placeholders(text string) string {
	return strings.Join(placeholders.FindAllString(text, -1), " ")
}

// WithoutPlaceholders returns a text without its placeholders: what is left stands there for everybody to read.
func WithoutPlaceholders(text string) string { return placeholders.ReplaceAllString(text, "") }

// LooksLikePlaceholder reports whether a text is meant as a placeholder, and is none.
func LooksLikePlaceholder(text string) bool {
	return mistaken.MatchString(text) && Placeholders(text) == ""
}

// ErrEmpty is the error of a text whose placeholders stand for nothing.
var ErrEmpty = errors.New("the secret is empty")

// Replacer knows what placeholders stand for. Caddy's is one.
type Replacer interface {
	ReplaceOrErr(text string, errOnEmpty, errOnUnknown bool) (string, error)
}

// Resolve returns a text with its placeholders replaced. What comes out of them must not be empty, since that is what a
// missing file or variable looks like. A text without placeholders is taken as it is: braces in it are part of it.
func Resolve(text string, with Replacer) (string, error) {
	if Placeholders(text) == "" {
		return strings.TrimSpace(text), nil
	}
	value, err := with.ReplaceOrErr(text, true, true)
	if value = strings.TrimSpace(value); err != nil || value == "" {
		return "", ErrEmpty // which repeats nothing of the text
	}
	return value, nil
}
