// Package address reads addresses and ranges as operators write them.
package address

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ParseAddr reads an address. An IPv4-mapped IPv6 address becomes the IPv4 address.
func ParseAddr(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%q is not an IP address: write one such as 203.0.113.5 or 2001:db8::5", text)
	case addr.Zone() != "":
		return netip.Addr{}, fmt.Errorf("%q has a zone, which means something on one machine only: leave out %q",
			text, "%"+addr.Zone())
	}
	return addr.Unmap(), nil
}

// ParsePrefix reads a CIDR range. A single address becomes a range of one.
func ParsePrefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		addr, err := ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a CIDR range: write one such as 203.0.113.0/24 or 2001:db8::/64", text)
	}
	if addr := prefix.Addr(); addr.Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
	}
	if err := checkHostBits(prefix, text); err != nil {
		return netip.Prefix{}, err
	}
	return prefix, nil
}

// privateRanges are the `private_ranges` of Caddy, with the shared address space and the link-local ranges.
var privateRanges = func() (list []netip.Prefix) {
	for _, text := range []string{
		"192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/8", "127.0.0.1/8", "100.64.0.0/10", "169.254.0.0/16",
		"fd00::/8", "fe80::/10", "::1/128",
	} {
		list = append(list, netip.MustParsePrefix(text).Masked())
	}
	return list
}()

// ParseRanges returns the ranges of a word that is an address, a CIDR range or `private_ranges`, and false for any
// other word. A word that looks like a range, and is none, is an error.
func ParseRanges(word string) ([]netip.Prefix, bool, error) {
	if word == "private_ranges" {
		return slices.Clone(privateRanges), true, nil
	}
	if addr, err := netip.ParseAddr(word); err == nil {
		if addr.Zone() != "" {
			return nil, false, fmt.Errorf("address %q has a zone: leave %q out", word, "%"+addr.Zone())
		}
		addr = addr.Unmap()
		return []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}, true, nil
	}
	if prefix, err := netip.ParsePrefix(word); err == nil {
		if err := checkHostBits(prefix, word); err != nil {
			return nil, false, err
		}
		return []netip.Prefix{prefix}, true, nil
	}
	if addr, _, isRange := strings.Cut(word, "/"); isRange {
		if _, addrErr := netip.ParseAddr(addr); addrErr == nil {
			return nil, false, fmt.Errorf("%q is not a CIDR range: the number behind the slash is the length of the prefix, "+
				"up to 32 for IPv4 and 128 for IPv6", word)
		}
	}
	return nil, false, nil
}

// checkHostBits refuses a range with host bits, such as 203.0.113.5/24: some mean the address, others the range.
func checkHostBits(prefix netip.Prefix, text string) error {
	if prefix == prefix.Masked() {
		return nil
	}
	return fmt.Errorf("%q is neither an address nor a range: write %s for the address, or %s for the range",
		text, prefix.Addr(), prefix.Masked())
}

// IsLoopback reports whether the host of a URL is this machine: `localhost`, or a loopback address.
func IsLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
