package memory

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// hash spreads keys over buckets by secret constants: those who send requests choose their addresses, and must not
// choose their bucket. Each key has two buckets, of which the second follows from the first and the tag. It permutes
// 64 bits, so that the number of the first bucket and the tag, the lower 56 bits, stand for exactly one key.
type hash struct {
	buckets uint64
	first   uint64 // odd
	second  uint64 // odd
	mask    uint64
}

const (
	// minBuckets is what it takes for the keys of one bucket to differ in their tags: the permutation sends at most
	// 2^64 / buckets of them there, in sequence.
	minBuckets = 256
	tagMask    = 1<<56 - 1

	// stepFactor spreads tags: 2^64 divided by the golden ratio.
	stepFactor = 0x9e3779b97f4a7c15
)

func newHash(room int) hash {
	var seed [24]byte
	_, _ = rand.Read(seed[:]) // documented never to fail
	return seededHash(room, seed)
}

// seededHash returns a hash for a table with the given number of places.
func seededHash(room int, seed [24]byte) hash {
	return hash{
		buckets: uint64(max((room+places-1)/places, minBuckets)),
		first:   binary.LittleEndian.Uint64(seed[0:]) | 1,
		second:  binary.LittleEndian.Uint64(seed[8:]) | 1,
		mask:    binary.LittleEndian.Uint64(seed[16:]),
	}
}

// other returns the second bucket of a key whose first bucket is n: any but that one.
func (h *hash) other(n int, tag uint64) int {
	if n += h.step(tag); n >= int(h.buckets) {
		n -= int(h.buckets)
	}
	return n
}

// home returns the first bucket of a key whose second bucket is n.
func (h *hash) home(n int, tag uint64) int {
	if n -= h.step(tag); n < 0 {
		n += int(h.buckets)
	}
	return n
}

// step follows from those bits of the tag that say least of the first bucket: subjects that share one bucket do not
// share the other.
func (h *hash) step(tag uint64) int {
	high, _ := bits.Mul64(tag*stepFactor, h.buckets-1)
	return 1 + int(high)
}

// place returns the first bucket of a key and its tag.
func (h *hash) place(key record.Key) (n int, tag uint64) {
	x := (uint64(key) ^ h.mask) * h.first
	x = (x ^ x>>32) * h.second
	high, _ := bits.Mul64(x, h.buckets)
	return int(high), x & tagMask
}

// key returns the key for which place returned n and tag.
func (h *hash) key(n int, tag uint64) record.Key {
	begin, _ := bits.Div64(uint64(n), 0, h.buckets)
	x := (begin + (tag-begin)&tagMask) * inverse(h.second)
	x = (x ^ x>>32) * inverse(h.first)
	return record.Key(x ^ h.mask)
}

// inverse returns the number that gives 1 when multiplied by odd, modulo 2^64. It is Newton's iteration: odd itself is
// right in its lowest 3 bits, and each step doubles their number.
func inverse(odd uint64) uint64 {
	x := odd
	for range 5 {
		x *= 2 - odd*x
	}
	return x
}
