package bots

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

// found is what reverse DNS says of a claim.
type found uint8

const (
	pending   found = iota // nothing yet
	confirmed              // a name of the bot, which leads back to the address
	missed                 // no such name
	failed                 // no answer, or none that proves anything
)

// How long each is remembered. A failure is not a miss: it only keeps the resolver from being asked at every request.
const (
	confirmedFor = 24 * time.Hour
	renewedFor   = confirmedFor / 2 // before its end, a confirmed claim is looked up again while it holds
	missedFor    = time.Hour
	failedFor    = 30 * time.Second
)

func (f found) lifetime() time.Duration {
	switch f {
	case confirmed:
		return confirmedFor
	case missed:
		return missedFor
	}
	return failedFor
}

// remembered is a table of a fixed size, without pointers or locks. A claim has two words:
//
//	word 0   hash of the bot and the address
//	word 1   another hash of them (24) · found (8) · the second in which it ends (32)
//
// The second hash also tells when a reader has got words of two claims.
type remembered struct {
	seeds [2]maphash.Seed
	words []atomic.Uint64
	since time.Time // seconds are counted from it: they do not depend on how the clock is set
}

const (
	rememberedSets = 1 << 13
	rememberedWays = 8
)

// claimKey is a bot, as its position in the table, and the address that claims to be it.
type claimKey struct {
	bot     uint16
	addr    netip.Addr
	renewal bool // of a claim that is confirmed still: what has become of looking it up again
}

func newRemembered() *remembered {
	return &remembered{
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		words: make([]atomic.Uint64, 2*rememberedSets*rememberedWays), since: time.Now(),
	}
}

// seconds returns the time since the table was made, from 1.
func (r *remembered) seconds() uint32 { return uint32(time.Since(r.since)/time.Second) + 1 }

// locate returns the words in which a claim can be, its first word, and the upper bits of its second one.
func (r *remembered) locate(key claimKey) (set []atomic.Uint64, first, check uint64) {
	var raw [19]byte
	address := key.addr.As16()
	copy(raw[:], address[:])
	binary.BigEndian.PutUint16(raw[16:], key.bot)
	if key.renewal {
		raw[18] = 1
	}
	first, second := maphash.Bytes(r.seeds[0], raw[:]), maphash.Bytes(r.seeds[1], raw[:])
	i := second % rememberedSets * rememberedWays * 2
	return r.words[i : i+2*rememberedWays], first, second >> 40 << 40
}

// get returns what is remembered of a claim, and for how long still.
func (r *remembered) get(key claimKey) (f found, left time.Duration) {
	set, first, check := r.locate(key)
	for i := 0; i < len(set); i += 2 {
		if set[i].Load() != first {
			continue
		}
		w, now := set[i+1].Load(), r.seconds()
		if w>>40<<40 == check && uint32(w) > now {
			return found(w >> 32), time.Duration(uint32(w)-now) * time.Second
		}
	}
	return pending, 0
}

// isRenewable reports whether a confirmed claim that holds for some time still is looked up again. After a failure, a
// while passes first.
func (r *remembered) isRenewable(key claimKey, left time.Duration) bool {
	if left > renewedFor {
		return false
	}
	key.renewal = true
	f, _ := r.get(key)
	return f == pending
}

// learn remembers what a look-up has found. A failure takes nothing from a claim that is confirmed still.
func (r *remembered) learn(key claimKey, f found) {
	if before, _ := r.get(key); f == failed && before == confirmed {
		key.renewal = true
	}
	r.put(key, f)
}

// put remembers a claim. Where there is no room it replaces what ends first, and names that were confirmed only when
// there is nothing else.
func (r *remembered) put(key claimKey, f found) {
	set, first, check := r.locate(key)
	now, at, best := r.seconds(), 0, uint64(1<<63)
	for i := 0; i < len(set); i += 2 {
		w := set[i+1].Load()
		if set[i].Load() == first && w>>40<<40 == check {
			at = i
			break
		}
		rank := uint64(0)
		if ends := uint32(w); ends > now {
			rank = uint64(ends)
			if found(w>>32) == confirmed {
				rank |= 1 << 40
			}
		}
		if rank < best {
			at, best = i, rank
		}
	}
	set[at].Store(first)
	set[at+1].Store(check | uint64(f)<<32 | uint64(now+uint32(f.lifetime()/time.Second)))
}
