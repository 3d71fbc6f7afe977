package rest

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Country returns code if it is an ISO 3166-1 alpha-2 code in capitals, and "" otherwise. A service that
// writes lower case needs strings.ToUpper first.
func Country(code string) string {
	if len(code) != 2 || code[0] < 'A' || code[0] > 'Z' || code[1] < 'A' || code[1] > 'Z' {
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
