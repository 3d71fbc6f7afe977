package foreign

import (
	"errors"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "",
		"connection refused":               "connection refused",
		"  a \t b\r\n\r\nc  ":              "a b c",
		"\x1b[2J\r\nERROR all is well\x00": "[2J ERROR all is well",
		"a\u202eb\u2028c\xff\xfed\ufffde":  "a b c d e",
		"für 東京":                           "für 東京",
	} {
		if got := Line(text, 100); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	if got := Line("aé", 2); got != "a" {
		t.Errorf("a character was cut: %q", got)
	}
}

func TestErrorKeepsItsChain(t *testing.T) {
	err := Error(errors.Join(io.EOF, errors.New(strings.Repeat("x\n", 10_000))))
	if !errors.Is(err, io.EOF) || !strings.HasPrefix(err.Error(), "EOF x x ") || !strings.HasSuffix(err.Error(), "…") ||
		len(err.Error()) > MaxError+len("…") {
		t.Errorf("it became %q", err)
	}
	if Error(nil) != nil {
		t.Error("no error became one")
	}
}

func FuzzLine(f *testing.F) {
	f.Add("a\x1b[31m b\u202e\xff", 5)
	f.Fuzz(func(t *testing.T, text string, most int) {
		most = max(0, min(most, 1000))
		line := Line(text, most)
		if len(line) > most || !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q became %q", text, line)
		}
		if again := Line(line, most); again != line {
			t.Errorf("%q became %q, and then %q", text, line, again)
		}
	})
}
