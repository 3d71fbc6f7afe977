// Package privacy decides how addresses are written to logs and databases: in full, truncated, or
// as pseudonyms.
package privacy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The default prefix lengths of Truncate.
const (
	DefaultV4 = 24
	DefaultV6 = 48
)

// MinKey is the minimum length of a key in bytes. All IPv4 addresses can be tried in minutes: only
// the key protects a pseudonym.
const MinKey = 16

// Hidden replaces an address that can be neither truncated nor made a pseudonym. Either there is no
// key yet, or the address is part of a name such as `7.113.0.203.in-addr.arpa`, whose order is
// unknown.
const Hidden = "ip-hidden"

// Policy is how addresses are written. The nil Policy writes them in full. Loopback and unspecified
// addresses are always written in full, since they identify nobody. A Policy is immutable and safe
// for concurrent use.
type Policy struct {
	v4, v6 int
	key    func() (string, bool) // nil: addresses are truncated
}

// Truncate returns a Policy that writes an address as a prefix of the given length, such as
// `203.0.113.0/24`.
func Truncate(v4, v6 int) (*Policy, error) {
	if v4 < 1 || v4 > 31 {
		return nil, fmt.Errorf("%d bits of an IPv4 address is out of range: keep 1 to 31, such as %d", v4, DefaultV4)
	}
	if v6 < 1 || v6 > 127 {
		return nil, fmt.Errorf("%d bits of an IPv6 address is out of range: keep 1 to 127, such as %d", v6, DefaultV6)
	}
	return &Policy{v4: v4, v6: v6}, nil
}

// Hash returns a Policy that writes each subject, an IPv4 address or an IPv6 /64, as a pseudonym:
// `ip-` and 16 hexadecimal digits. Equal keys make equal pseudonyms. The key is read each time.
// Without a key, or with one that CheckKey refuses, addresses become Hidden.
func Hash(key func() (value string, ok bool)) *Policy { return &Policy{key: key} }

// CheckKey returns an error if a key is short enough to be guessed.
func CheckKey(key string) error {
	if len(key) < MinKey {
		return errors.New("the key has fewer than 16 characters, so that addresses can be found by trying: " +
			"make one with `openssl rand -hex 32`")
	}
	return nil
}

// Addr returns the written form of an address; "" for the zero address.
func (p *Policy) Addr(addr netip.Addr) string {
	switch {
	case !addr.IsValid():
		return ""
	case p == nil:
		return addr.String()
	}
	addr = addr.Unmap().WithZone("")
	switch {
	case addr.IsLoopback() || addr.IsUnspecified():
		return addr.String()
	case p.key != nil:
		return p.pseudonym("ip-", reputation.Subject(addr))
	}
	return p.cut(netip.PrefixFrom(addr, addr.BitLen()))
}

// Prefix returns the written form of a prefix. Truncation leaves shorter prefixes unchanged. The
// pseudonym of a network, `net-` and 16 digits, differs from those of its addresses.
func (p *Policy) Prefix(prefix netip.Prefix) string {
	switch {
	case !prefix.IsValid():
		return ""
	case p == nil:
		return prefix.String()
	}
	prefix = unmapped(prefix)
	subject := reputation.Subject(prefix.Addr())
	switch addr := prefix.Addr(); {
	case addr.IsLoopback() || addr.IsUnspecified():
		return prefix.String()
	case p.key == nil:
		return p.cut(prefix)
	case prefix.Bits() >= subject.Bits():
		return p.pseudonym("ip-", subject)
	}
	return p.pseudonym("net-", prefix.Masked())
}

// unmapped returns an IPv4-mapped prefix as an IPv4 prefix.
func unmapped(prefix netip.Prefix) netip.Prefix {
	addr := prefix.Addr().WithZone("")
	if addr.Is4In6() && prefix.Bits() >= 96 {
		return netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
	}
	return netip.PrefixFrom(addr, prefix.Bits())
}

func (p *Policy) cut(prefix netip.Prefix) string {
	bits := p.v6
	if prefix.Addr().Is4() {
		bits = p.v4
	}
	return netip.PrefixFrom(prefix.Addr(), min(bits, prefix.Bits())).Masked().String()
}

func (p *Policy) pseudonym(kind string, prefix netip.Prefix) string {
	key, ok := p.key()
	if !ok || CheckKey(key) != nil {
		return Hidden
	}
	addr := prefix.Addr().As16()
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(addr[:])
	if kind == "net-" {
		mac.Write([]byte{byte(prefix.Bits())})
	}
	var sum [sha256.Size]byte
	return kind + hex.EncodeToString(mac.Sum(sum[:0])[:8])
}
