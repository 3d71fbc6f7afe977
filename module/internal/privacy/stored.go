package privacy

import (
	"encoding/hex"
	"net/netip"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// pseudonyms is the range that represents pseudonyms in a database column of addresses. No traffic
// comes from it (RFC 6666, discard-only). The last 64 bits of an address are the digits of the
// pseudonym.
var pseudonyms = netip.MustParsePrefix("100::/64")

// Stored returns the prefix that represents an address in a database: the address itself, the
// truncated address, or an address in 100::/64 that ends with the digits of its pseudonym. It
// returns false while there is no key.
func (p *Policy) Stored(addr netip.Addr) (prefix netip.Prefix, ok bool) {
	addr = addr.Unmap().WithZone("")
	switch {
	case !addr.IsValid():
		return netip.Prefix{}, false
	case p == nil || addr.IsLoopback() || addr.IsUnspecified():
		return netip.PrefixFrom(addr, addr.BitLen()), true
	case p.key == nil:
		bits := p.v6
		if addr.Is4() {
			bits = p.v4
		}
		return netip.PrefixFrom(addr, bits).Masked(), true
	}
	digits, ok := strings.CutPrefix(p.pseudonym("ip-", reputation.Subject(addr)), "ip-")
	raw := pseudonyms.Addr().As16()
	if n, err := hex.Decode(raw[8:], []byte(digits)); !ok || err != nil || n != 8 {
		return netip.Prefix{}, false // Hidden
	}
	return netip.PrefixFrom(netip.AddrFrom16(raw), 128), true
}

// Shown formats a stored prefix for people: a pseudonym as such, for example ip-0123456789abcdef.
func Shown(stored netip.Prefix) string {
	if stored.Bits() == 128 && pseudonyms.Contains(stored.Addr()) {
		raw := stored.Addr().As16()
		return "ip-" + hex.EncodeToString(raw[8:])
	}
	if stored.IsSingleIP() {
		return stored.Addr().String()
	}
	return stored.String()
}

// Hides reports whether addresses become pseudonyms, which do not reveal the network.
func (p *Policy) Hides() bool { return p != nil && p.key != nil }

// Shares reports whether a database has addresses such as addr only as networks, which several
// visitors share.
func (p *Policy) Shares(addr netip.Addr) bool {
	stored, ok := p.Stored(addr)
	return ok && p.Truncates() && stored.Bits() < reputation.Subject(addr).Bits()
}

// Truncates reports whether addresses are truncated.
func (p *Policy) Truncates() bool { return p != nil && p.key == nil }
