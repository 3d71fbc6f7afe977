// Package lossy has tables of a fixed size for what is known of many keys, such as clients or
// networks. A new key takes the place of the one that matters least of the eight in its set.
package lossy

import (
	"math/bits"
	"math/rand/v2"
)

// ways is the number of keys of a set: one cache line.
const ways = 8

// seed is secret: nobody can choose keys that share a set.
type seed uint64

func newSeed() seed { return seed(rand.Uint64()) }

func (s seed) hash(key uint64) uint64 {
	high, low := bits.Mul64(key^uint64(s), 0x9e3779b97f4a7c15)
	high, low = bits.Mul64(high^low, uint64(s)|1)
	return high ^ low
}
