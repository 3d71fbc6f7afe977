package reputation

import "net/netip"

// reservedPrefixes are the ranges that no client on the Internet has (IANA special-purpose address
// registries, RFC 6890 and its updates). The documentation ranges are left out on purpose: no
// client has them, but examples and tests use them.
var reservedPrefixes = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),      // "this network"
	netip.MustParsePrefix("10.0.0.0/8"),     // private
	netip.MustParsePrefix("100.64.0.0/10"),  // carrier-grade NAT
	netip.MustParsePrefix("127.0.0.0/8"),    // loopback
	netip.MustParsePrefix("169.254.0.0/16"), // link-local
	netip.MustParsePrefix("172.16.0.0/12"),  // private
	netip.MustParsePrefix("192.0.0.0/24"),   // IETF protocol assignments
	netip.MustParsePrefix("192.168.0.0/16"), // private
	netip.MustParsePrefix("198.18.0.0/15"),  // benchmarking
	netip.MustParsePrefix("224.0.0.0/3"),    // multicast, reserved, broadcast
	netip.MustParsePrefix("::/3"),           // unspecified, loopback, IPv4-mapped, NAT64
	netip.MustParsePrefix("4000::/2"),       // not allocated
	netip.MustParsePrefix("8000::/1"),       // ULA, link-local, multicast and what is not allocated
}

// ReservedPrefixes returns the ranges whose addresses IsReserved reports, in ascending order.
func ReservedPrefixes() []netip.Prefix {
	return append([]netip.Prefix(nil), reservedPrefixes...)
}

// IsReserved reports whether addr is private, loopback, link-local, CGNAT, ULA, multicast,
// reserved, or not valid. No source is ever asked about such addresses. It expects an unmapped
// address. The documentation ranges are not reserved here.
func IsReserved(addr netip.Addr) bool {
	if addr.Is4() {
		b := addr.As4()
		switch b[0] {
		case 0, 10, 127:
			return true
		case 100:
			return b[1]&0xc0 == 64
		case 169:
			return b[1] == 254
		case 172:
			return b[1]&0xf0 == 16
		case 192:
			return b[1] == 168 || b[1] == 0 && b[2] == 0
		case 198:
			return b[1]&0xfe == 18
		}
		return b[0] >= 224
	}
	return !addr.IsValid() || addr.As16()[0]&0xe0 != 0x20 // on the Internet, only 2000::/3 is in use
}

// IsClassE reports whether addr is in 240.0.0.0/4, the broadcast address left out. No client on the Internet has such an
// address; Cloudflare's Pseudo IPv4 makes one from a visitor's IPv6 address.
func IsClassE(addr netip.Addr) bool {
	return addr.Is4() && addr.As4()[0] >= 240 && addr != broadcast
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Network returns the network of an address, an IPv4 /24 or an IPv6 /48: whoever has one can change addresses within it.
// It expects an unmapped address without zone.
func Network(addr netip.Addr) netip.Prefix {
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// Subject returns the prefix by which an address is stored and looked
// up: the address itself for IPv4, its /64 for IPv6, since one
// subscriber has a /64. It expects an unmapped address without zone.
func Subject(addr netip.Addr) netip.Prefix {
	if addr.Is4() {
		return netip.PrefixFrom(addr, 32)
	}
	p, err := addr.Prefix(64)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
