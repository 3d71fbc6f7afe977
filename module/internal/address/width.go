package address

import (
	"encoding/binary"
	mathbits "math/bits"
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

var reservedPrefixes = reputation.ReservedPrefixes()

// TooWide reports whether a prefix covers more of the Internet than an entry of a list may: more
// than a /8 or, in IPv6, a /16. These are the largest allocations to one holder; a wider one is a
// mistake, and would block or exempt half the world. Reserved ranges are no part of the Internet.
func TooWide(p netip.Prefix) bool {
	if p.Addr().Is4() && p.Bits() >= 8 || !p.Addr().Is4() && p.Bits() >= 16 {
		return false
	}
	for _, r := range reservedPrefixes {
		if r.Bits() <= p.Bits() && r.Contains(p.Addr()) {
			return false
		}
	}
	return true
}

// Netmask returns the length of the prefix that an IPv4 netmask of 8 bits or more stands for, and
// false for other addresses.
func Netmask(addr netip.Addr) (bits int, ok bool) {
	if !addr.Is4() {
		return 0, false
	}
	b := addr.As4()
	hosts := ^binary.BigEndian.Uint32(b[:])
	return mathbits.LeadingZeros32(hosts), b[0] == 255 && hosts&(hosts+1) == 0
}
