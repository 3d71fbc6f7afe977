package rest

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/foreign"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Country returns code if it is an ISO 3166-1 alpha-2 code in capitals, and "" otherwise, as for XX and ZZ, which
// services write for a country that they do not know. A service that writes lower case needs strings.ToUpper first.
func Country(code string) string {
	if code == "XX" || code == "ZZ" || len(code) != 2 || code[0] < 'A' || code[0] > 'Z' || code[1] < 'A' || code[1] > 'Z' {
		return ""
	}
	return code
}

// ASN reads the number of an autonomous system in the usual forms: "AS64500", "64500", "AS64500
// Example Ltd". It returns 0 if there is none.
func ASN(text string) uint32 {
	number, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	if len(number) > 2 && strings.EqualFold(number[:2], "AS") {
		number = number[2:]
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// maxName is the length of the longest name, in characters.
const maxName = 100

// System returns the number of an autonomous system and its name, for the facts of a report: one line of at most 100
// characters that print. Without a number it returns no name.
func System(number uint32, name string) (uint32, string) {
	if number == 0 {
		return 0, ""
	}
	line := []rune(foreign.Line(name, maxName*utf8.UTFMax))
	return number, strings.TrimSpace(string(line[:min(len(line), maxName)]))
}

// Time reads a time in the usual forms: that of RFC 3339, the same without a time zone, "2026-11-30 12:00:00" and
// "2026-11-30", the last three in UTC. It returns the zero time for what is none, or is not of the years 1970 to 9999.
func Time(text string) time.Time {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateTime, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return believable(t)
		}
	}
	return time.Time{}
}

// Unix is Time for seconds since 1970, of which 0 and less are no time.
func Unix(seconds int64) time.Time {
	if seconds <= 0 {
		return time.Time{}
	}
	return believable(time.Unix(seconds, 0))
}

// believable returns t in UTC, or the zero time for a year that RFC 3339 cannot write or that was before the Internet.
func believable(t time.Time) time.Time {
	if t = t.UTC(); t.Year() < 1970 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

// SameAddr reports whether text is the address that was asked about, in any spelling. An answer
// about another address must not be used.
func SameAddr(text string, asked netip.Addr) bool {
	addr, err := netip.ParseAddr(text)
	return err == nil && addr.Unmap() == asked
}

// Network returns the prefix that text is, if it contains the address that was asked about. Otherwise
// it returns the zero prefix.
func Network(text string, asked netip.Addr) netip.Prefix {
	network, err := netip.ParsePrefix(text)
	if err != nil || !network.Contains(asked) {
		return netip.Prefix{}
	}
	return network.Masked()
}

// Flag returns n with one kind set to yes or no, and n itself if the service does not say which.
func Flag(n reputation.Nature, k reputation.Kind, is *bool) reputation.Nature {
	if is == nil {
		return n
	}
	return n.With(k, *is)
}
