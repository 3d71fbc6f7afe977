package limit

import (
	"sync/atomic"
	"time"
)

// A batch is the tokens of a bucket that this instance has taken and that the store has not been asked to
// count. One exchange counts all of them. A word has
//
//	the tag of the bucket (20) · tokens that the store is counting now (8) · tokens in the batch (8)
//	· when the first of these was taken, in milliseconds, modulo 2^28 (28)
//
// A batch of an evicted bucket is lost, as the bucket is. 28 bits of milliseconds last for three days. A
// batch that rests for longer counts as newer than it is.
type batch uint64

const (
	countBits = 8
	maxBatch  = 1<<countBits - 1
	sinceBits = 64 - tagBits - 2*countBits
	sinceMask = 1<<sinceBits - 1
)

func batchOf(tag uint64, counting, tokens int, since uint64) batch {
	return batch(tag<<timeBits | uint64(counting)<<(sinceBits+countBits) | uint64(tokens)<<sinceBits | since)
}

func (b batch) counting() int { return int(b >> (sinceBits + countBits) & maxBatch) }
func (b batch) tokens() int   { return int(b >> sinceBits & maxBatch) }
func (b batch) since() uint64 { return uint64(b & sinceMask) }

// batchLine has the batches of a set, in one cache line.
type batchLine [8]atomic.Uint64

// batchSize returns how many tokens an instance may have let pass that the store has not counted, when so many
// tokens remain in the bucket. With a quarter of them, four instances together exceed nothing. Near the limit
// the store counts each request.
//
// The first token of a full bucket is counted with the second one, so that a client that changes its address
// for each request stores nothing.
func (r Rule) batchSize(remaining int) int {
	size := (remaining + 1) / 4
	if remaining+1 == r.rate.Events && r.rate.Events > 1 {
		size = max(size, 2)
	}
	return min(max(size, 1), maxBatch)
}

// loadBatch returns the batch of a bucket, which is empty if the place was another's before.
func (l *Local) loadBatch(p place) (*atomic.Uint64, uint64, batch) {
	word := &l.batches[p.set][p.index]
	old := word.Load()
	if tagOf(old) != p.tag {
		return word, old, batchOf(p.tag, 0, 0, 0)
	}
	return word, old, batch(old)
}

// addToBatch adds a token that was taken at a time. Once so many tokens are not counted, the store must
// count the batch: addToBatch returns its tokens and the age of the first one. Before, it returns 0.
func (l *Local) addToBatch(p place, at time.Time, size int) (tokens int, age time.Duration) {
	now := uint64(l.since(at)/time.Millisecond) & sinceMask
	for {
		word, old, b := l.loadBatch(p)
		since := b.since()
		if b.tokens() == 0 {
			since = now
		}
		n := b.tokens() + 1
		if n+b.counting() < size {
			if word.CompareAndSwap(old, uint64(batchOf(p.tag, b.counting(), n, since))) {
				return 0, 0
			}
			continue
		}
		if word.CompareAndSwap(old, uint64(batchOf(p.tag, min(b.counting()+n, maxBatch), 0, 0))) {
			return n, ageOf(since, now)
		}
	}
}

// ageOf returns how long ago a batch began. A request may have read the clock before the one that began
// it, by up to skew: its batch is new, and not three days old.
func ageOf(since, now uint64) time.Duration {
	age := time.Duration((now-since)&sinceMask) * time.Millisecond
	if age > sinceMask*time.Millisecond-skew {
		return 0
	}
	return age
}

// counted removes tokens of which the store has answered.
func (l *Local) counted(p place, tokens int) {
	for {
		word, old, b := l.loadBatch(p)
		if tagOf(old) != p.tag ||
			word.CompareAndSwap(old, uint64(batchOf(p.tag, max(b.counting()-tokens, 0), b.tokens(), b.since()))) {
			return
		}
	}
}

// notSent returns how many tokens of a bucket the store was not asked to count yet. Those that it is
// counting now may be in an answer of it already, since calls overtake each other.
func (l *Local) notSent(p place) int {
	_, _, b := l.loadBatch(p)
	return b.tokens()
}
