package command

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"

	"golang.org/x/term"
)

// clean replaces characters that do not print.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, text)
}

// escapeJSON escapes characters that do not print. In JSON of one line they occur in strings only.
func escapeJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// plainWord matches words that need no quotes in any shell.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

// shellWord quotes a word for a shell, if necessary.
func shellWord(word string) string {
	if word = clean(word); plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// terminalWidth returns the columns of the terminal, or those of COLUMNS if the output is no terminal.
func terminalWidth(out io.Writer, env func(string) string) int {
	const least, usual, most = 40, 80, 240
	width := 0
	if file, ok := out.(*os.File); ok {
		width, _, _ = term.GetSize(int(file.Fd()))
	}
	if width <= 0 {
		width, _ = strconv.Atoi(env("COLUMNS"))
	}
	if width <= 0 {
		width = usual
	}
	return min(max(width, least), most)
}

// localeIsUTF8 reports whether the terminal shows more than ASCII. Windows has no such locales, and does.
func localeIsUTF8(system string, env func(string) string) bool {
	locale := strings.ToLower(cmp.Or(env("LC_ALL"), env("LC_CTYPE"), env("LANG")))
	return system == "windows" || strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8")
}
