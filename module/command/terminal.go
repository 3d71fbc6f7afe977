package command

import (
	"cmp"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"
)

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
