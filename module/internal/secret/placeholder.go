package secret

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
)

// PlaceholderRefresh is how often a placeholder is resolved anew where nothing else is configured.
const PlaceholderRefresh = 10 * time.Second

// placeholders matches `{env.NAME}` and `{file./path}`. Other braces are part of the secret.
var placeholders = regexp.MustCompile(`\{(?:env|file)\.[^{}]+\}`)

// almostPlaceholder matches texts that were meant as a placeholder, such as `{env:NAME}`, `{env.NAME`,
// `$NAME` or `env.NAME`.
var almostPlaceholder = regexp.MustCompile(`^(?:\{[^{}]*\}|\$\{?\w+\}?|%\w+%|\{?(?:env|file)[.:]\S+)$`)

// almostPath matches texts that begin as a path does.
var almostPath = regexp.MustCompile(`^(?:\.{0,2}/|~\w*/|\.{1,2}\\|[A-Za-z]:[/\\])`)

// Placeholders returns the placeholders of a text, and "" if there are none. They may be shown; the
// text between them may be secret, unless it is the colon of a key of two parts.
func Placeholders(text string) string {
	var shown strings.Builder
	end := 0
	for i, at := range placeholders.FindAllStringIndex(text, -1) {
		switch {
		case i == 0:
		case text[end:at[0]] == ":":
			shown.WriteByte(':')
		default:
			shown.WriteByte(' ')
		}
		shown.WriteString(text[at[0]:at[1]])
		end = at[1]
	}
	return shown.String()
}

// Empty returns the first placeholder of a text that has no value.
func Empty(text string, with Replacer) string {
	for _, p := range placeholders.FindAllString(text, -1) {
		if _, err := Resolve(p, with); err != nil {
			return p
		}
	}
	return Placeholders(text)
}

// WithoutPlaceholders returns the text between the placeholders.
func WithoutPlaceholders(text string) string { return placeholders.ReplaceAllString(text, "") }

// LooksLikePlaceholder reports whether a text seems to be a misspelt placeholder.
func LooksLikePlaceholder(text string) bool {
	return almostPlaceholder.MatchString(text) && Placeholders(text) == ""
}

// LooksLike returns what a text without placeholders seems to stand for, if it is no secret itself: a placeholder, a
// path, or the name of a variable. A secret that really looks like one of them can be written as a placeholder.
func LooksLike(text string) string {
	switch {
	case Placeholders(text) != "":
		return ""
	case LooksLikePlaceholder(text):
		return "a placeholder"
	case almostPath.MatchString(text) || IsFile(text):
		return "a path"
	}
	if _, set := os.LookupEnv(text); set {
		return "the name of a variable"
	}
	return ""
}

// maxPath is longer than paths that people write.
const maxPath = 1024

// IsFile reports whether a text is the path of a file.
func IsFile(text string) bool {
	if text == "" || len(text) > maxPath || strings.ContainsAny(text, "\x00\n") {
		return false
	}
	info, err := os.Stat(text)
	return err == nil && info.Mode().IsRegular()
}

// ErrEmpty reports that a placeholder has no value.
var ErrEmpty = errors.New("the secret is empty")

// Replacer replaces placeholders by their values, as caddy.Replacer does.
type Replacer interface {
	ReplaceOrErr(text string, errOnEmpty, errOnUnknown bool) (string, error)
}

// Resolve replaces the placeholders of a text, and trims spaces. It returns ErrEmpty for an empty
// result, which a missing file or variable gives, and another error if a file is not a regular one.
// In a text without placeholders, braces are part of the secret and stay.
func Resolve(text string, with Replacer) (string, error) {
	if Placeholders(text) == "" {
		return strings.TrimSpace(text), nil
	}
	if err := regularfile.CheckPlaceholders(text); err != nil {
		return "", err
	}
	value, err := with.ReplaceOrErr(text, true, true)
	if value = strings.TrimSpace(value); err != nil || value == "" {
		return "", ErrEmpty // the error of the replacer may repeat the text
	}
	return value, nil
}
