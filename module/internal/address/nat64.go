package address

import (
	"fmt"
	"net/netip"
	"slices"
)

// NAT64 are the prefixes under which an operator's network writes the addresses of IPv4 clients (RFC 6052), besides the
// well-known one.
type NAT64 []netip.Prefix

var wellKnownNAT64 = netip.MustParsePrefix("64:ff9b::/96")

// nat64Lengths are the lengths of prefixes that RFC 6052 has.
var nat64Lengths = []int{32, 40, 48, 56, 64, 96}

// ParseNAT64 reads the prefixes of a network.
func ParseNAT64(words []string) (NAT64, error) {
	var n NAT64
	for _, word := range words {
		p, err := netip.ParsePrefix(word)
		switch {
		case err != nil || p.Addr().Is4() || !slices.Contains(nat64Lengths, p.Bits()):
			return nil, fmt.Errorf("nat64 %q is not the prefix of a NAT64: write an IPv6 prefix of the length "+
				"32, 40, 48, 56, 64 or 96, such as 2001:db8:64::/96", word)
		case p != p.Masked():
			return nil, fmt.Errorf("nat64 %q has bits behind its prefix: write %s", word, p.Masked())
		case p.Addr().As16()[8] != 0:
			return nil, fmt.Errorf("nat64 %q cannot be: the bits 64 to 71 of a prefix are zero (RFC 6052)", word)
		case p == wellKnownNAT64:
			return nil, fmt.Errorf("nat64 %s is always known: remove it", word)
		}
		if i := slices.IndexFunc(n, p.Overlaps); i >= 0 {
			return nil, fmt.Errorf("nat64 %s overlaps %s: write the one that is in use", word, n[i])
		}
		n = append(n, p)
	}
	return n, nil
}

// Unmap returns the IPv4 address that an IPv4-mapped or NAT64 address stands for, and other addresses as they are.
func (n NAT64) Unmap(addr netip.Addr) netip.Addr {
	if addr = addr.Unmap(); !addr.Is6() || addr.Zone() != "" {
		return addr
	}
	p, ok := n.find(addr)
	if !ok {
		return addr
	}
	return embedded(addr, p.Bits())
}

// UnmapPrefix is Unmap for all addresses of a range.
func (n NAT64) UnmapPrefix(p netip.Prefix) netip.Prefix {
	const mapped = 96
	if p.Addr().Is4In6() && p.Bits() >= mapped {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	around, ok := n.find(p.Addr())
	if !ok || p.Bits() < around.Bits() {
		return p
	}
	bits := p.Bits() - around.Bits()
	if around.Bits() <= 64 {
		bits -= max(0, min(p.Bits()-64, 8)) // the bits 64 to 71 are none of the IPv4 address
	}
	bits = min(bits, 32)
	return netip.PrefixFrom(embedded(p.Addr(), around.Bits()), bits)
}

// Listed returns a range of a list as clients are looked up in it: masked, and unmapped. Lists of bogons have the whole
// of NAT64, which is not the whole of IPv4.
func Listed(p netip.Prefix) netip.Prefix {
	p = p.Masked()
	if unmapped := NAT64(nil).UnmapPrefix(p); p.Addr().Is4In6() || !TooWide(unmapped) {
		return unmapped
	}
	return p
}

// find returns the prefix under which addr is a NAT64 address.
func (n NAT64) find(addr netip.Addr) (netip.Prefix, bool) {
	if wellKnownNAT64.Contains(addr) {
		return wellKnownNAT64, true
	}
	for _, p := range n {
		if p.Contains(addr) && addr.As16()[8] == 0 {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// embedded returns the IPv4 address behind a prefix: the four bytes that follow, but for the ninth.
func embedded(addr netip.Addr, bits int) netip.Addr {
	from, at := addr.As16(), bits/8
	var to [4]byte
	for i := range to {
		if at == 8 {
			at++
		}
		to[i] = from[at]
		at++
	}
	return netip.AddrFrom4(to)
}
