package limit

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// DefaultPlaces take 8 MiB.
	DefaultPlaces = 7 << 17

	minSets = 16
)

// Local is the buckets of this process, those of any number of rules in a table of fixed size. It is safe for concurrent
// use: no request waits for another, and none allocates. Create it with NewLocal.
//
// What holds for a bucket while the table remembers it, with E and T for the Events of its rate and the interval between
// two of them (Per / Events), whatever the number of goroutines:
//
//   - A full bucket lets exactly E requests pass at one moment.
//   - In a time span S, fewer than E + (S + 20 µs) / T requests pass, 20 µs being what the times of two requests may be off.
//   - After RetryAfter a request passes, and a nanosecond earlier none does.
//
// What does not hold: 20 bits of a hash tell the subjects of one set apart. In a table whose places are all in use, one of
// 150,000 new buckets is shared with another subject. And when all 7 places of a set hold buckets that are not full, a new
// bucket displaces the one that would be full soonest, whose subject then has all its tokens at once. So a flood of subjects
// that come once displaces subjects that lack one token. It displaces none that the same rule is refusing, which lacks nearly
// all, if the rate has 3 events or more. Choose twice as many places as there may be buckets that are not full; Forgotten
// returns how often these were too few.
//
// Times are counted by the monotonic clock, and wrap around after 5.6 years. If a bucket is not used for so long, and no other
// takes its place, its subject may be refused once, for the rate's period and a minute.
type Local struct {
	sets      []set
	seed      maphash.Seed
	began     time.Time
	forgotten atomic.Uint64
}

// NewLocal returns a table in which every bucket is full. The number of places is rounded up to sets of 7, of which there
// are at least 16; a set takes 64 bytes, paid for here. 0 stands for DefaultPlaces.
func NewLocal(places int) *Local {
	if places <= 0 {
		places = DefaultPlaces
	}
	per := len(set{}.places)
	return &Local{sets: make([]set, max((places+per-1)/per, minSets)), seed: maphash.MakeSeed(), began: time.Now()}
}

// Take takes a token for a request that came at the given time, if there is one.
func (l *Local) Take(r Rule, s Subject, at time.Time) Decision {
	if r.step == 0 {
		return Decision{Allowed: true}
	}
	now := l.since(at)
	n, size := r.stepAt(now), r.size()
	set, tag := l.place(r, s)
	for {
		place, word := l.bucket(set, tag, now)
		full := max(r.stepAt(timeOf(word, now, r.rate.Per)), n)
		after := full + r.step
		if after-n > size {
			return Decision{Reset: r.begin(full) - now, RetryAfter: r.begin(after-size) - now}
		}
		if reset := r.begin(after); place.CompareAndSwap(word, wordOf(tag, ticks(reset))) {
			return Decision{Allowed: true, Remaining: int((size - (after - n)) / r.step), Reset: reset - now}
		}
	}
}

// Learn takes over the answer of a store that counts for several processes, about a request for which Take found a token:
// whether it is allowed, and how far ahead of the time of asking the bucket is full again.
//
// The stricter of both buckets holds: the local one has requests that the store has not counted yet, the store has those of
// other processes. A request that the store refuses was counted here, and is subtracted again.
func (l *Local) Learn(r Rule, s Subject, asked time.Time, allowed bool, ahead time.Duration) {
	if r.step == 0 {
		return
	}
	now := l.since(asked)
	// The time of asking is earlier than that of the answer, so that the result is not too strict.
	shared := r.stepAt(now + min(max(ahead, 0), r.rate.Per))
	set, tag := l.place(r, s)
	for {
		place, word := l.bucket(set, tag, now)
		known := r.stepAt(timeOf(word, now, r.rate.Per))
		full := known
		if !allowed {
			full -= min(r.step, full)
		}
		full = max(full, shared)
		if full == known || place.CompareAndSwap(word, wordOf(tag, ticks(r.begin(full)))) {
			return
		}
	}
}

// Places returns how many buckets fit that are not full.
func (l *Local) Places() int { return len(l.sets) * len(set{}.places) }

// Forgotten returns how many buckets were displaced before they were full.
func (l *Local) Forgotten() uint64 { return l.forgotten.Load() }

// bucket returns the place of a bucket and its word. A bucket without a place gets one.
func (l *Local) bucket(s *set, tag uint64, now time.Duration) (*atomic.Uint64, uint64) {
	for {
		if place, word := s.find(tag); place != nil {
			return place, word
		}
		if s.add(tag, now) {
			l.forgotten.Add(1)
		}
	}
}

// place returns the set of a bucket and its tag there.
func (l *Local) place(r Rule, s Subject) (*set, uint64) {
	h := s.hash(l.seed, r)
	n, _ := bits.Mul64(h, uint64(len(l.sets)))
	return &l.sets[n], max(h&(1<<tagBits-1), 1)
}

// since returns a time as the duration since the table was created.
func (l *Local) since(at time.Time) time.Duration { return max(at.Sub(l.began), 0) }
