package limit

import (
	"sync/atomic"
	"time"
)

// set holds the buckets whose hashes begin alike, in one cache line: a head and the places.
//
//	place  tag (20, 0 = empty) · when the bucket is full again, in ticks, modulo 2^44 (44)
//	head   changes so far (40) · one is under way (1) · which place it gives (3) · to which tag (20)
//
// A request changes its bucket by one compare-and-swap of one word. To give a place to another tag takes two words: without
// care, two requests of a new subject could take a place each, and the subject would have twice the tokens. So a change is
// first announced in the head, which succeeds only if no other change was announced since the places were read. Any goroutine
// that finds an announced change completes it. None waits.
//
// A goroutine that is delayed while it completes a change fails afterwards, since the place has changed. It could succeed only
// if the displaced bucket had come back to the same place and to the same 10 µs.
type set struct {
	head   atomic.Uint64
	places [7]atomic.Uint64
}

const (
	tagBits  = 20
	timeBits = 64 - tagBits
	timeMask = 1<<timeBits - 1

	placeShift = tagBits
	underWay   = 1 << (placeShift + 3)
	oneChange  = underWay << 1

	// skew bounds how much earlier than the requests before it a request may have read the clock.
	skew = time.Minute
)

// wordOf returns the word of a bucket that is full from the given tick on.
func wordOf(tag uint64, full time.Duration) uint64 { return tag<<timeBits | uint64(full)&timeMask }

func tagOf(word uint64) uint64 { return word >> timeBits }

// timeOf returns when the bucket is full again, which may be long ago, given how long a bucket of its rule takes to fill.
// A time further ahead is of another rule, or the times have wrapped around.
func timeOf(word uint64, now, per time.Duration) time.Duration {
	ticks := now / tick
	ahead := time.Duration(int64(word-uint64(ticks))<<tagBits>>tagBits) * tick
	if ahead > per+skew {
		return 0
	}
	return ticks*tick + ahead
}

// find returns the place of a tag and what is in it, or nil.
func (s *set) find(tag uint64) (*atomic.Uint64, uint64) {
	for i := range s.places {
		if word := s.places[i].Load(); tagOf(word) == tag {
			return &s.places[i], word
		}
	}
	return nil, 0
}

// add gives a place to a tag that has none, with a full bucket, unless others change the set at the same time. It reports
// whether a bucket was displaced that was not full.
func (s *set) add(tag uint64, now time.Duration) (displaced bool) {
	head := s.head.Load()
	if head&underWay != 0 {
		s.finish(head, now)
		return false
	}
	if place, _ := s.find(tag); place != nil {
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

// announce returns the head that follows one by a change.
func announce(head, place, tag uint64) uint64 {
	return head&^(oneChange-1) + oneChange | underWay | place<<placeShift | tag
}

// victim returns the place whose loss does the least harm: an empty one, else the one that is full for longest, else the one
// that is full soonest, and how long that takes.
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

// finish completes the change that is announced in the head, if it is not done yet.
func (s *set) finish(announced uint64, now time.Duration) {
	tag := announced & (1<<tagBits - 1)
	place := &s.places[announced>>placeShift&7]
	for {
		word := place.Load()
		if tagOf(word) == tag {
			break
		}
		// Only after looking at the place: it may have been given away again since.
		if s.head.Load() != announced {
			return
		}
		place.CompareAndSwap(word, wordOf(tag, now/tick))
	}
	s.head.CompareAndSwap(announced, announced&^underWay)
}
