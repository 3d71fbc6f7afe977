package bots

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

// shares counts the look-ups of each network, IPv4 /24 or IPv6 /48, so that one of them cannot take all. It has a
// fixed size and takes no lock. Networks that have the same place count together.
type shares struct {
	seed   maphash.Seed
	since  time.Time
	counts [1 << 12]atomic.Uint64 // the minute (32) · look-ups in it (32)
}

// networkLookups is how many look-ups a network may cause in a minute.
const networkLookups = 64

func newShares() *shares { return &shares{seed: maphash.MakeSeed(), since: time.Now()} }

// take reports whether a network may cause one more look-up, and counts it.
func (s *shares) take(network netip.Prefix) bool {
	count := &s.counts[maphash.Comparable(s.seed, network)%uint64(len(s.counts))]
	minute := uint64(time.Since(s.since)/time.Minute) << 32
	for {
		before := count.Load()
		after := before + 1
		if before>>32<<32 != minute {
			after = minute + 1
		}
		if uint32(after) > networkLookups {
			return false
		}
		if count.CompareAndSwap(before, after) {
			return true
		}
	}
}
