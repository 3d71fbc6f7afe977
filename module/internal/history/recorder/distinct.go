package recorder

import (
	"hash/maphash"
	"net/netip"
)

const (
	// maxHosts is how many hosts of one address get a row of their own in one minute. A client
	// chooses the Host header, and must not be able to create unlimited rows.
	maxHosts = 16

	// maxSubjects is how many subjects of one network get rows of their own in one minute. Whoever
	// has an IPv6 /48 has 65,536 of them. One row speaks for the others.
	maxSubjects = 48

	// maxSets is how many sets are remembered, at least.
	maxSets = 8192
)

// distinct remembers the first values of each prefix and minute.
type distinct struct {
	most int // 0: any number
	seed maphash.Seed
	sets generations[uint64, set] // by a hash of prefix and minute
}

type set struct {
	n      uint8
	hashes [maxSubjects]uint32
}

func newDistinct(most int) distinct {
	return distinct{most, maphash.MakeSeed(), newGenerations[uint64, set](maxSets)}
}

// host reports whether a host is one of the first of an address.
func (d *distinct) host(minute int64, address netip.Prefix, host string) bool {
	return d.allow(minute, address, maphash.String(d.seed, host))
}

// subject reports whether a subject is one of the first of its network.
func (d *distinct) subject(minute int64, network, subject netip.Prefix) bool {
	k := prefixKeyOf(subject)
	return d.allow(minute, network, maphash.Bytes(d.seed, k[:]))
}

func (d *distinct) allow(minute int64, of netip.Prefix, value uint64) bool {
	if d.most == 0 {
		return true
	}
	prefix := prefixKeyOf(of)
	k, hash := maphash.Bytes(d.seed, prefix[:])+uint64(minute), uint32(value)
	set, _ := d.sets.get(k)
	for _, other := range set.hashes[:set.n] {
		if other == hash {
			return true
		}
	}
	if int(set.n) >= d.most {
		return false
	}
	set.hashes[set.n] = hash
	set.n++
	d.sets.put(k, set)
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

// generations is a cache of the values put last: at least one generation of them and at most two.
type generations[K comparable, V any] struct {
	capacity   int // entries of a generation
	young, old map[K]V
}

func newGenerations[K comparable, V any](most int) generations[K, V] {
	return generations[K, V]{capacity: most, young: make(map[K]V), old: make(map[K]V)}
}

func (g *generations[K, V]) get(k K) (V, bool) {
	v, ok := g.young[k]
	if !ok {
		if v, ok = g.old[k]; ok {
			g.put(k, v)
		}
	}
	return v, ok
}

func (g *generations[K, V]) put(k K, v V) {
	if len(g.young) >= g.capacity {
		g.young, g.old = g.old, g.young
		clear(g.young)
	}
	g.young[k] = v
}
