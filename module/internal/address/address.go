// Package address reads addresses and ranges as operators write them.
package address

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ParseAddr reads an address. An IPv4-mapped IPv6 address, and one of the well-known NAT64 prefix, becomes the IPv4
// address.
func ParseAddr(text string) (netip.Addr, error) { return NAT64(nil).ParseAddr(text) }

// ParseAddr is the function ParseAddr for a network that has NAT64 prefixes of its own.
func (n NAT64) ParseAddr(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%q is not an IP address: write one such as 203.0.113.5 or 2001:db8::5", text)
	case addr.Zone() != "":
		return netip.Addr{}, fmt.Errorf("%q has a zone, which means something on one machine only: leave out %q",
			text, "%"+addr.Zone())
	}
	return n.Unmap(addr), nil
}

// ParsePrefix reads a CIDR range. A single address becomes a range of one.
func ParsePrefix(text string) (netip.Prefix, error) { return NAT64(nil).ParsePrefix(text) }

// ParsePrefix is the function ParsePrefix for a network that has NAT64 prefixes of its own.
func (n NAT64) ParsePrefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		addr, err := n.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a CIDR range: write one such as 203.0.113.0/24 or 2001:db8::/64", text)
	}
	prefix = n.UnmapPrefix(prefix)
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
// other word. A word that looks like a range, or like a part of one, and is none, is an error.
func ParseRanges(word string) ([]netip.Prefix, bool, error) {
	if word == "private_ranges" {
		return slices.Clone(privateRanges), true, nil
	}
	if addr, err := netip.ParseAddr(word); err == nil {
		if addr.Zone() != "" {
			return nil, false, fmt.Errorf("address %q has a zone: leave %q out", word, "%"+addr.Zone())
		}
		addr = NAT64(nil).Unmap(addr)
		if _, ok := Netmask(addr); ok {
			return nil, false, fmt.Errorf("%q is a netmask: write the range as in 203.0.113.0/24", word)
		}
		return []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}, true, nil
	}
	if prefix, err := netip.ParsePrefix(word); err == nil {
		prefix = NAT64(nil).UnmapPrefix(prefix)
		if TooWide(prefix.Masked()) {
			return nil, false, fmt.Errorf("%q is too wide: /8 and, in IPv6, /16 are the widest; write the ranges that you mean",
				word)
		}
		if err := checkHostBits(prefix, word); err != nil {
			return nil, false, err
		}
		return []netip.Prefix{prefix}, true, nil
	}
	return nil, false, notARange(word)
}

// notARange returns what is wrong with a word that was meant as a range, or as a part of one; nil
// for other words.
func notARange(word string) error {
	if addr, bits, isRange := strings.Cut(word, "/"); isRange {
		if isAddr(addr) {
			return fmt.Errorf("%q is not a CIDR range: the number behind the slash is the length of the prefix, "+
				"up to 32 for IPv4 and 128 for IPv6", word)
		}
		if _, err := strconv.ParseUint(bits, 10, 8); addr == "" && err == nil {
			return fmt.Errorf("%q is the length of a prefix alone: write it behind the address, as in 203.0.113.0/24", word)
		}
	}
	if from, to, ok := strings.Cut(word, "-"); ok && (isAddr(from) && isAddr(to) || word == "-") {
		return fmt.Errorf("%q is no CIDR range: for the addresses from one to another, "+
			"write CIDR ranges such as 203.0.113.0/24", word)
	}
	if first, _, ok := strings.Cut(word, ","); ok && isAddr(first) {
		return fmt.Errorf("%q has a comma: separate addresses by spaces", word)
	}
	return nil
}

func isAddr(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil
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
