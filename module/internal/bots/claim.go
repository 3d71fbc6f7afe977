package bots

import (
	"cmp"
	"slices"
	"strings"
)

// maxUserAgent is how much of a user agent is read. Those of crawlers have less than 300 bytes.
const maxUserAgent = 1024

const (
	// stride is how far apart the places are at which a user agent is looked at, three bytes at each.
	stride = 4

	// minToken is the length of the shortest token: wherever it stands, three bytes of it are looked at.
	minToken = stride + 2
)

// claims finds tokens in user agents. Most hold none: for the three bytes at each place, a bit says whether any token
// has them near its start. Without such a place there is no token.
type claims struct {
	maybe [1 << 15 / 64]uint64   // a bit for each value of gram
	refs  map[uint32][]tokenPart // by gram
}

// tokenPart is a part of a token.
type tokenPart struct {
	*token
	offset int // of the part in the token
}

// token is a word of user agents that claims a bot.
type token struct {
	text    string // in lower case
	bot     int    // the position of its bot
	goesOn  bool   // a letter or a digit may follow
	bounded bool   // it ends with a letter or a digit
}

// gram is a hash of three bytes that does not depend on their case.
func gram(a, b, c byte) uint32 { return uint32(a&31)<<10 | uint32(b&31)<<5 | uint32(c&31) }

// newClaims returns what finds the tokens of the given bots.
func newClaims(list []*Bot) *claims {
	c := &claims{refs: make(map[uint32][]tokenPart)}
	tokens := tokensOf(list)
	for i := range tokens {
		t := &tokens[i]
		for offset := range stride {
			g := gram(t.text[offset], t.text[offset+1], t.text[offset+2])
			c.maybe[g/64] |= 1 << (g % 64)
			c.refs[g] = append(c.refs[g], tokenPart{t, offset})
		}
	}
	return c
}

// tokensOf returns the tokens of bots, the longest first.
func tokensOf(list []*Bot) []token {
	var tokens []token
	for i, b := range list {
		for _, word := range b.Tokens {
			text, goesOn := strings.CutSuffix(strings.ToLower(word), "*")
			tokens = append(tokens, token{text, i, goesOn, isWord(text[len(text)-1])})
		}
	}
	slices.SortStableFunc(tokens, func(a, b token) int { return cmp.Compare(len(b.text), len(a.text)) })
	return tokens
}

// find returns the position of the bot that a user agent claims to be, or -1. Of several tokens the longest counts, and
// of equally long ones the first.
func (c *claims) find(userAgent string) int {
	ua := userAgent[:min(len(userAgent), maxUserAgent)]
	found, length := -1, 0
	for i := 0; i+2 < len(ua); i += stride {
		g := gram(ua[i], ua[i+1], ua[i+2])
		if c.maybe[g/64]>>(g%64)&1 == 0 {
			continue
		}
		for _, t := range c.refs[g] {
			if len(t.text) > length && t.at(ua, i-t.offset) {
				found, length = t.bot, len(t.text)
			}
		}
	}
	return found
}

// at reports whether the token stands at a position of a user agent, by itself.
func (t *token) at(ua string, start int) bool {
	end := start + len(t.text)
	if start < 0 || end > len(ua) || start > 0 && isWord(ua[start-1]) {
		return false
	}
	if t.bounded && !t.goesOn && end < len(ua) && isWord(ua[end]) {
		return false
	}
	for i := range len(t.text) {
		if lower(ua[start+i]) != t.text[i] {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// isWord reports whether c is a letter or a digit.
func isWord(c byte) bool {
	c = lower(c)
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
}
