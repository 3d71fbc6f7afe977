package history

import (
	"hash/maphash"
	"net/netip"
)

// maxHosts is how many hosts of one address get a row of their own in one minute. A client chooses
// the Host header, and must not be able to create unlimited rows.
const maxHosts = 16

// hosts remembers the hosts that each address requested.
type hosts struct {
	seed  maphash.Seed
	known generations[hostsKey, hostSet]
}

type hostsKey struct {
	minute  int64
	address prefixKey
}

type hostSet struct {
	n      uint8
	hashes [maxHosts]uint32
}

// allow reports whether a host gets a row of its own.
func (h *hosts) allow(minute int64, address netip.Prefix, host string) bool {
	k := hostsKey{minute, prefixKeyOf(address)}
	hash := uint32(maphash.String(h.seed, host))
	set, _ := h.known.get(k)
	for _, other := range set.hashes[:set.n] {
		if other == hash {
			return true
		}
	}
	if set.n == maxHosts {
		return false
	}
	set.hashes[set.n] = hash
	set.n++
	h.known.put(k, set)
	return true
}

// prefixKey is a prefix without pointers, so that the garbage collector need not scan large maps of
// it.
type prefixKey [17]byte

func prefixKeyOf(p netip.Prefix) (c prefixKey) {
	addr := p.Addr().As16()
	copy(c[:], addr[:])
	c[16] = byte(p.Bits())
	if p.Addr().Is4() {
		c[16] += 96
	}
	return c
}
