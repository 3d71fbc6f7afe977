package limit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"net/netip"
	"strconv"
)

// Subject identifies whose requests are counted: a client by its address, a network, an autonomous system, or the owner
// of a key. The zero Subject stands for all unknown clients, which share one bucket.
//
// Each request passes one on, in registers: compilers keep up to four words there.
type Subject struct {
	kind kind
	bits uint8  // length of the prefix
	high uint64 // the IPv4 address, the upper half of the IPv6 address, or the number of the autonomous system
	key  string
}

type kind uint8

const (
	unknown kind = iota
	ip4
	ip6
	keyed
	system
)

// The lengths of a client's own prefix. The lower half of an IPv6 address is never looked at.
const (
	clientBits4 = 32
	clientBits6 = 64
)

// Client returns the subject that an address belongs to: an IPv4 address by itself, an IPv6 address
// by its /64. It is the zero Subject if the address is not valid.
func Client(addr netip.Addr) Subject { return Network(addr, clientBits4, clientBits6) }

// Network returns the network of an address: its prefix of so many bits in IPv4, up to 32, or in IPv6, up to 64. It is
// the zero Subject if the address is not valid.
func Network(addr netip.Addr, bits4, bits6 uint8) Subject {
	switch addr = addr.Unmap(); {
	case addr.Is4():
		b := addr.As4()
		return Subject{kind: ip4, bits: bits4, high: uint64(binary.BigEndian.Uint32(b[:]) &^ (1<<(clientBits4-bits4) - 1))}
	case addr.Is6():
		b := addr.As16()
		return Subject{kind: ip6, bits: bits6, high: binary.BigEndian.Uint64(b[:8]) &^ (1<<(clientBits6-bits6) - 1)}
	}
	return Subject{}
}

// System returns the subject of all addresses of an autonomous system.
func System(asn uint32) Subject { return Subject{kind: system, high: uint64(asn)} }

// Keyed returns the subject of a key, such as an API key. The key may be a secret: only the first
// half of its SHA-256 leaves the process.
func Keyed(key string) Subject { return Subject{kind: keyed, key: key} }

// hash returns 64 bits that identify a bucket in a table. Clients choose their addresses and keys,
// but the seed prevents them from choosing which bucket theirs evicts.
func (s Subject) hash(seed maphash.Seed, r Rule) uint64 {
	if s.kind == keyed {
		s.high = maphash.String(seed, s.key)
	}
	return maphash.Comparable(seed, [3]uint64{r.id, uint64(s.kind)<<8 | uint64(s.bits), s.high})
}

// String returns the subject for logs and stores: the IPv4 address, the prefix, AS and a number,
// or # and 32 digits of a key's hash.
func (s Subject) String() string {
	switch s.kind {
	case ip4:
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(s.high))
		if s.bits == clientBits4 {
			return netip.AddrFrom4(b).String()
		}
		return netip.PrefixFrom(netip.AddrFrom4(b), int(s.bits)).String()
	case ip6:
		var b [16]byte
		binary.BigEndian.PutUint64(b[:8], s.high)
		return netip.PrefixFrom(netip.AddrFrom16(b), int(s.bits)).String()
	case system:
		return "AS" + strconv.FormatUint(s.high, 10)
	case keyed:
		sum := sha256.Sum256([]byte(s.key))
		return "#" + hex.EncodeToString(sum[:16])
	}
	return "-"
}

// storeKey returns the name of a bucket in the store, such as 1f3a9c04d2b7e811:203.0.113.7.
func (r Rule) storeKey(s Subject) string { return fmt.Sprintf("%016x:%s", r.id, s) }
