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

const leastWidth, usualWidth, mostWidth = 40, 80, 240

// pageWidth returns the columns of the terminal; 0, which is unlimited, if the output is no terminal: lines for a
// file or for another program are not broken.
func pageWidth(out io.Writer) int {
	file, ok := out.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil || width <= 0 {
		return 0
	}
	return min(max(width, leastWidth), mostWidth)
}

// plotWidth returns the columns of the terminal, or those of COLUMNS if the output is no terminal.
func plotWidth(out io.Writer, env func(string) string) int {
	if width := pageWidth(out); width > 0 {
		return width
	}
	width, _ := strconv.Atoi(env("COLUMNS"))
	if width <= 0 {
		width = usualWidth
	}
	return min(max(width, leastWidth), mostWidth)
}

// localeIsUTF8 reports whether the terminal shows more than ASCII. Windows has no such locales, and does.
func localeIsUTF8(system string, env func(string) string) bool {
	locale := strings.ToLower(cmp.Or(env("LC_ALL"), env("LC_CTYPE"), env("LANG")))
	return system == "windows" || strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8")
}
