package memory

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// hash spreads keys over buckets by secret constants: clients can choose their addresses, but not
// their bucket. Each key has two buckets; the second is computed from the first and the tag. The
// hash is a permutation of 64 bits. The number of the first bucket and the tag, which is the lower
// 56 bits, therefore identify exactly one key.
type hash struct {
	buckets uint64
	first   uint64 // odd
	second  uint64 // odd
	mask    uint64
}

const (
	// minBuckets makes all keys of a bucket differ in their tags: the permutation sends at most
	// 2^64 / buckets keys to one bucket, in sequence.
	minBuckets = 256
	tagMask    = 1<<56 - 1

	// stepFactor spreads tags: 2^64 divided by the golden ratio.
	stepFactor = 0x9e3779b97f4a7c15
)

func newHash(room int) hash {
	var seed [24]byte
	_, _ = rand.Read(seed[:]) // it never fails
	return seededHash(room, seed)
}

// seededHash returns a hash for a table with the given number of slots.
func seededHash(room int, seed [24]byte) hash {
	return hash{
		buckets: uint64(max((room+slots-1)/slots, minBuckets)),
		first:   binary.LittleEndian.Uint64(seed[0:]) | 1,
		second:  binary.LittleEndian.Uint64(seed[8:]) | 1,
		mask:    binary.LittleEndian.Uint64(seed[16:]),
	}
}

// alternate returns the second bucket of a key whose first bucket is n. The two always differ.
func (h *hash) alternate(n int, tag uint64) int {
	if n += h.step(tag); n >= int(h.buckets) {
		n -= int(h.buckets)
	}
	return n
}

// primary returns the first bucket of a key whose second bucket is n.
func (h *hash) primary(n int, tag uint64) int {
	if n -= h.step(tag); n < 0 {
		n += int(h.buckets)
	}
	return n
}

// step is computed from those bits of the tag that depend least on the first bucket, so that
// subjects with the same first bucket have different second ones.
func (h *hash) step(tag uint64) int {
	high, _ := bits.Mul64(tag*stepFactor, h.buckets-1)
	return 1 + int(high)
}

// locate returns the first bucket of a key and its tag.
func (h *hash) locate(key record.Key) (n int, tag uint64) {
	x := (uint64(key) ^ h.mask) * h.first
	x = (x ^ x>>32) * h.second
	high, _ := bits.Mul64(x, h.buckets)
	return int(high), x & tagMask
}

// key returns the key for which locate returned n and tag.
func (h *hash) key(n int, tag uint64) record.Key {
	begin, _ := bits.Div64(uint64(n), 0, h.buckets)
	x := (begin + (tag-begin)&tagMask) * inverse(h.second)
	x = (x ^ x>>32) * inverse(h.first)
	return record.Key(x ^ h.mask)
}

// inverse returns the inverse of an odd number modulo 2^64, by Newton's iteration: the number
// itself is right in its lowest 3 bits, and each step doubles the number of right bits.
func inverse(odd uint64) uint64 {
	x := odd
	for range 5 {
		x *= 2 - odd*x
	}
	return x
}
