package recorder

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// The maximum lengths of texts, in bytes.
const (
	maxHost = 253 // the longest DNS name
	maxText = 128
)

// plain returns s without unprintable characters and truncated to limit bytes. Most texts are
// returned unchanged.
func plain(s string, limit int) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			s = strings.Map(func(r rune) rune {
				if r == utf8.RuneError || !unicode.IsPrint(r) {
					return '?'
				}
				return r
			}, s)
			break
		}
	}
	if len(s) > limit {
		s = s[:limit]
		for !utf8.ValidString(s) { // at most three times, since the text was valid
			s = s[:len(s)-1]
		}
	}
	return s
}

// hostOf returns the host of a request without port and final dot, in lower case.
func hostOf(s string) string {
	i := strings.LastIndexByte(s, ':')
	if i >= 0 && strings.IndexByte(s, ']') < i && (s[0] == '[' || strings.IndexByte(s, ':') == i) {
		s = s[:i]
	}
	return strings.ToLower(plain(strings.TrimSuffix(s, "."), maxHost))
}
