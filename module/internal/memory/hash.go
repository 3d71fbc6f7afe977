package memory

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// hash spreads keys over buckets by secret constants: those who send requests choose their addresses, and must not choose
// their bucket. It permutes 64 bits, so that the number of the bucket and the tag, the lower 56 bits, stand for exactly
// one key.
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
)

func newHash(entries int) hash {
	var seed [24]byte
	_, _ = rand.Read(seed[:]) // documented never to fail
	return seededHash(entries, seed)
}

func seededHash(entries int, seed [24]byte) hash {
	return hash{
		buckets: uint64(max((entries+places-1)/places, minBuckets)),
		first:   binary.LittleEndian.Uint64(seed[0:]) | 1,
		second:  binary.LittleEndian.Uint64(seed[8:]) | 1,
		mask:    binary.LittleEndian.Uint64(seed[16:]),
	}
}

// place returns the bucket of a key and its tag there.
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
