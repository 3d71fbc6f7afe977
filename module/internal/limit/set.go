package limit

import (
	"sync/atomic"
	"time"
)

// set holds the buckets whose hashes have the same upper bits, in one
// cache line: a head and the places.
//
//	place  tag (20, 0 = empty) · when the bucket is full again, in ticks, modulo 2^44 (44)
//	head   number of changes (40) · one is running (1) · its place (3) · its new tag (20)
//
// A request changes its bucket by one compare-and-swap of one word. Giving a place to another tag
// involves two words: otherwise two requests of a new subject could take one place each, and the
// subject would have twice the tokens. So a change is first announced in the head, which succeeds
// only if no other change was announced since the places were read. Any goroutine that finds an
// announced change completes it. None waits.
//
// If a goroutine is delayed while it completes a change, its
// compare-and-swap fails, since the place has changed. It would succeed only
// if the evicted bucket had returned to the same place with the same time.
type set struct {
	head   atomic.Uint64
	places [7]atomic.Uint64
}

const (
	tagBits  = 20
	timeBits = 64 - tagBits
	timeMask = 1<<timeBits - 1

	placeShift = tagBits
	running    = 1 << (placeShift + 3)
	oneChange  = running << 1

	// skew bounds how much older the time of a request may be than the times of earlier requests.
	skew = time.Minute
)

// wordOf returns the word of a bucket that is full from the given tick on.
func wordOf(tag uint64, full time.Duration) uint64 { return tag<<timeBits | uint64(full)&timeMask }

func tagOf(word uint64) uint64 { return word >> timeBits }

// timeOf returns when the bucket is full again, which may be in the past. per is the time in which
// a bucket of its rule fills. A time further ahead belongs to another rule, or has wrapped around.
func timeOf(word uint64, now, per time.Duration) time.Duration {
	ticks := now / tick
	ahead := time.Duration(int64(word-uint64(ticks))<<tagBits>>tagBits) * tick
	if ahead > per+skew {
		return 0
	}
	return ticks*tick + ahead
}

// find returns the index of the place of a tag, and its word. Without a place, the index is -1.
func (s *set) find(tag uint64) (int, uint64) {
	for i := range s.places {
		if word := s.places[i].Load(); tagOf(word) == tag {
			return i, word
		}
	}
	return -1, 0
}

// add adds a full bucket for a tag, unless the tag has one or another goroutine changes the set at
// the same time. It reports whether it evicted a bucket that was not full.
func (s *set) add(tag uint64, now time.Duration) (evicted bool) {
	head := s.head.Load()
	if head&running != 0 {
		s.finish(head, now)
		return false
	}
	if i, _ := s.find(tag); i >= 0 {
		return false
	}
	i, left := s.victim(now)
	announced := announce(head, i, tag)
	if !s.head.CompareAndSwap(head, announced) {
		return false
	}
	s.finish(announced, now)
	return left > 0
}

// announce returns the head that announces a change after the given one.
func announce(head, place, tag uint64) uint64 {
	return head&^(oneChange-1) + oneChange | running | place<<placeShift | tag
}

// victim returns the place to evict, and the time until its bucket is full. It prefers an empty
// place, then the bucket that has been full for longest, then the one that is full soonest.
func (s *set) victim(now time.Duration) (place uint64, left time.Duration) {
	for i := range s.places {
		word := s.places[i].Load()
		if word == 0 {
			return uint64(i), 0
		}
		if l := timeOf(word, now, maxPer) - now; i == 0 || l < left {
			place, left = uint64(i), l
		}
	}
	return place, left
}

// finish completes the change that is announced in the head, unless another goroutine has done so.
func (s *set) finish(announced uint64, now time.Duration) {
	tag := announced & (1<<tagBits - 1)
	place := &s.places[announced>>placeShift&7]
	for {
		word := place.Load()
		if tagOf(word) == tag {
			break
		}
		// The check must follow the load of the place, which a later
		// change may have given to another tag.
		if s.head.Load() != announced {
			return
		}
		place.CompareAndSwap(word, wordOf(tag, now/tick))
	}
	s.head.CompareAndSwap(announced, announced&^running)
}
