package privacy

import (
	"encoding/hex"
	"net/netip"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// pseudonyms are the addresses that stand for pseudonyms where nothing but addresses can be kept: of a range from which
// nothing ever comes (RFC 6666, discard-only), the last 64 bits are the digits of the pseudonym.
var pseudonyms = netip.MustParsePrefix("100::/64")

// Kept returns the prefix that stands for an address in a database of addresses: the address itself, what is left of it, or
// one of 100::/64 whose last digits are those of its pseudonym. It reports false while there is no key for that.
func (p *Policy) Kept(addr netip.Addr) (prefix netip.Prefix, ok bool) {
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

// Shown returns how a kept prefix is written for people: a pseudonym as such.
func Shown(kept netip.Prefix) string {
	if kept.Bits() == 128 && pseudonyms.Contains(kept.Addr()) {
		raw := kept.Addr().As16()
		return "ip-" + hex.EncodeToString(raw[8:])
	}
	if kept.IsSingleIP() {
		return kept.Addr().String()
	}
	return kept.String()
}

// Hides reports whether addresses become pseudonyms, of which networks cannot be told.
func (p *Policy) Hides() bool { return p != nil && p.key != nil }
