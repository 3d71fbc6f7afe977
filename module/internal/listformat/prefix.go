package listformat

import (
	"bytes"
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
)

// ParsePrefix reads an address or a CIDR as netip does, but does not allocate for IPv4. It masks
// host bits, and unmaps IPv4-mapped and NAT64 addresses. Zones are wrong.
func ParsePrefix(b []byte) (netip.Prefix, bool) {
	addr, rest, ok := parseIPv4(b)
	if !ok {
		if bytes.IndexByte(b, ':') < 0 {
			return netip.Prefix{}, false // not IPv6 either
		}
		return parsePrefixSlowly(string(b))
	}
	bits := 32
	if len(rest) > 0 {
		if bits, ok = parseBits(rest); !ok {
			return netip.Prefix{}, false
		}
	}
	return netip.PrefixFrom(netip.AddrFrom4(addr), bits).Masked(), true
}

// parseIPv4 reads a dotted quad up to the end of b or a slash.
func parseIPv4(b []byte) (addr [4]byte, rest []byte, ok bool) {
	at := 0
	for i := range addr {
		value, start := 0, at
		for at < len(b) && b[at]-'0' <= 9 && at-start < 3 {
			value = value*10 + int(b[at]-'0')
			at++
		}
		if at == start || value > 255 || at-start > 1 && b[start] == '0' {
			return addr, nil, false
		}
		addr[i] = byte(value)
		if i < 3 {
			if at == len(b) || b[at] != '.' {
				return addr, nil, false
			}
			at++
		}
	}
	if at < len(b) && b[at] != '/' {
		return addr, nil, false
	}
	return addr, b[at:], true
}

// parseBits reads the length of an IPv4 prefix, the slash included.
func parseBits(b []byte) (int, bool) {
	switch {
	case len(b) == 2 && b[1]-'0' <= 9:
		return int(b[1] - '0'), true
	case len(b) == 3 && b[1]-'1' <= 8 && b[2]-'0' <= 9:
		bits := int(b[1]-'0')*10 + int(b[2]-'0')
		return bits, bits <= 32
	}
	return 0, false
}

func parsePrefixSlowly(s string) (netip.Prefix, bool) {
	if addr, err := netip.ParseAddr(s); err == nil {
		addr = address.NAT64(nil).Unmap(addr)
		return netip.PrefixFrom(addr, addr.BitLen()), addr.Zone() == ""
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	return address.Listed(p), true
}
