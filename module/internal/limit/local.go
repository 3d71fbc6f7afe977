package limit

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// DefaultPlaces takes 16 MiB, half of it only where there is a Store.
	DefaultPlaces = 7 << 17

	minSets = 16
)

// Local holds the buckets of this process, for any number of rules,
// in a table of fixed size. It is safe for concurrent use: no request
// waits for another, and none allocates. Create it with NewLocal.
//
// Let E be the Events of a bucket's rate, and T the interval between two of them (Per / Events).
// While the bucket is in the table, these hold for any number of goroutines:
//
//   - A full bucket lets exactly E requests pass at one moment.
//   - In a time span S, fewer than E + (S + 20 µs) / T requests pass; 20 µs is the error of two requests' times.
//   - After RetryAfter a request passes, and a nanosecond earlier none does.
//
// There are two exceptions. First, 20 bits of a hash distinguish the subjects of one set: in a full
// table, one of 150,000 new buckets is shared with another subject. Second, if all 7 places of a
// set hold buckets that are not full, a new bucket evicts the one that would be full soonest, whose
// subject then has all its tokens at once. A flood of subjects with one request each thus evicts
// subjects that lack one token. If the rate has 3 events or more, it evicts none that is being
// refused, since these lack nearly all tokens. Choose twice as many places as there may be buckets
// that are not full; Evictions returns how often there were too few.
//
// Times are counted by the monotonic clock, and wrap around after 5.6 years. If a bucket is not
// used for that long and is not evicted either, its subject may be refused once, for the rate's
// period and a minute.
type Local struct {
	sets      []set
	batches   []batchLine // of the buckets at the same places
	seed      maphash.Seed
	began     time.Time
	evictions atomic.Uint64
}

// NewLocal returns a table in which every bucket is full. The number
// of places is rounded up to sets of 7, of which there are at least
// 16. It allocates 128 bytes for each set. 0 stands for DefaultPlaces.
func NewLocal(places int) *Local {
	if places <= 0 {
		places = DefaultPlaces
	}
	per := len(set{}.places)
	n := max((places+per-1)/per, minSets)
	return &Local{sets: make([]set, n), batches: make([]batchLine, n), seed: maphash.MakeSeed(), began: time.Now()}
}

// Take takes a token for a request that came at the given time, if there is one.
func (l *Local) Take(r Rule, s Subject, at time.Time) Decision {
	d, _ := l.take(r, s, at)
	return d
}

// take is Take. It also returns the place of the bucket.
func (l *Local) take(r Rule, s Subject, at time.Time) (Decision, place) {
	if r.step == 0 {
		return Decision{Allowed: true}, place{}
	}
	now := l.since(at)
	n, size := r.stepAt(now), r.size()
	p := l.place(r, s)
	for {
		bucket, word := l.bucket(&p, now)
		full := max(r.stepAt(timeOf(word, now, r.rate.Per)), n)
		after := full + r.step
		if after-n > size {
			return Decision{Reset: r.begin(full) - now, RetryAfter: r.begin(after-size) - now}, p
		}
		if reset := r.begin(after); bucket.CompareAndSwap(word, wordOf(p.tag, ticks(reset))) {
			return Decision{Allowed: true, Remaining: int((size - (after - n)) / r.step), Reset: reset - now}, p
		}
	}
}

// Apply updates a bucket by the answer of a store that several processes share. The answer is about
// a request for which Take found a token, sent at asked: whether it is allowed, and how long after
// asked the bucket is full again.
//
// The stricter of both buckets counts: the local one has requests that the store has not counted
// yet, the store has those of other processes. Those of a batch that it was not asked to count yet are
// added. A request that the store refuses was counted by Take, and is subtracted again.
func (l *Local) Apply(r Rule, s Subject, asked time.Time, allowed bool, ahead time.Duration) {
	if r.step == 0 {
		return
	}
	now := l.since(asked)
	// The store counts from the time of its answer, which is later: the result is not too strict.
	shared := r.stepAt(now + min(max(ahead, 0), r.rate.Per))
	p := l.place(r, s)
	for {
		bucket, word := l.bucket(&p, now)
		known := r.stepAt(timeOf(word, now, r.rate.Per))
		full := known
		if !allowed {
			full -= min(r.step, full)
		}
		full = max(full, min(shared+uint64(l.notSent(p))*r.step, r.stepAt(now)+r.size()))
		if full == known || bucket.CompareAndSwap(word, wordOf(p.tag, ticks(r.begin(full)))) {
			return
		}
	}
}

// place is where a bucket is in the table.
type place struct {
	set   int
	tag   uint64
	index int // in the set, once the bucket was found
}

// bucket returns a bucket and its word, and completes its place. It adds the bucket if it has no place.
func (l *Local) bucket(p *place, now time.Duration) (*atomic.Uint64, uint64) {
	s := &l.sets[p.set]
	for {
		if i, word := s.find(p.tag); i >= 0 {
			p.index = i
			return &s.places[i], word
		}
		if s.add(p.tag, now) {
			l.evictions.Add(1)
		}
	}
}

// place returns the set of a bucket and its tag there.
func (l *Local) place(r Rule, s Subject) place {
	h := s.hash(l.seed, r)
	n, _ := bits.Mul64(h, uint64(len(l.sets)))
	return place{set: int(n), tag: max(h&(1<<tagBits-1), 1)}
}

// since returns a time as the duration since the table was created.
func (l *Local) since(at time.Time) time.Duration { return max(at.Sub(l.began), 0) }
