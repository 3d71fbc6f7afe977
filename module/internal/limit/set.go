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
// What a request does to its bucket is one compare-and-swap of one word. What it takes to give a place to another tag is
// two words, and without care two requests of the same new subject could give it a place each, and the subject twice the
// tokens. So a change is first announced in the head: that succeeds only if no other change was announced since the places
// were looked at. What is announced can be carried out by anybody, and whoever meets it unfinished does. Nobody waits.
//
// A goroutine held up in carrying a change out fails when it goes on, because the place has changed. It could succeed only
// if the bucket that was displaced had come back to the same place and to the same 10 µs.
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

	// skew is how much earlier than others a request may have read the clock that is counted after them.
	skew = time.Minute
)

// wordOf returns the word of a bucket that is full from the given tick on.
func wordOf(tag uint64, full time.Duration) uint64 { return tag<<timeBits | uint64(full)&timeMask }

func tagOf(word uint64) uint64 { return word >> timeBits }

// timeOf returns when the bucket is full again, which may be long ago, given how long a bucket of its rule takes to fill.
// What is further ahead than that was not put there by its rule, or the times have gone round since.
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
// whether this made the set forget a bucket that was not full.
func (s *set) add(tag uint64, now time.Duration) (forgot bool) {
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

// victim returns the place that is emptied with the least harm: an empty one, else the one that is full the longest, else
// the one that will be soonest, and how long that takes.
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

// finish carries out the change that is announced in the head, if it still is.
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
