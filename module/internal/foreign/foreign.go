// Package foreign makes text that others have sent fit for logs and errors: one line of characters that print, of
// bounded length.
//
// Whoever answers in place of a server may write what he likes: line breaks that look like another entry of a log,
// escapes that a terminal obeys, megabytes. Certificates, replies of Redis and PostgreSQL, and status lines of HTTP come
// that way into errors of libraries.
package foreign

import (
	"errors"
	"unicode"
	"unicode/utf8"
)

// MaxError is how much of an error's text is logged, in bytes.
const MaxError = 300

// Line returns the beginning of a text, at most so many bytes, as one line. What does not print becomes a space, of
// which there is one between words.
func Line(text string, most int) string {
	line, _ := begin(text, most)
	return line
}

// begin returns the beginning of a text as a Line, and whether there is more.
func begin(text string, most int) (string, bool) {
	line := make([]byte, 0, min(len(text), most))
	gap := false
	for _, r := range text {
		if r == utf8.RuneError || !unicode.IsPrint(r) || r == ' ' {
			gap = len(line) > 0
			continue
		}
		before := len(line)
		if gap {
			line = append(line, ' ')
		}
		if line = utf8.AppendRune(line, r); len(line) > most {
			return string(line[:before]), true
		}
		gap = false
	}
	return string(line), false
}

// Text returns the text of an error as a Line, with an ellipsis where it was longer than MaxError.
func Text(text string) string {
	line, more := begin(text, MaxError)
	if more {
		line += "…"
	}
	return line
}

// Error returns an error with the text of err as Text has it; nil for nil. errors.Is and errors.As find what err wraps.
// There is no Unwrap, since collectors of errors print every error of a chain.
func Error(err error) error {
	if err == nil {
		return nil
	}
	return &lineError{err}
}

type lineError struct{ err error }

func (e *lineError) Error() string        { return Text(e.err.Error()) }
func (e *lineError) Is(target error) bool { return errors.Is(e.err, target) }
func (e *lineError) As(target any) bool   { return errors.As(e.err, target) }
