package memory

import (
	"math/bits"
	"sync/atomic"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// bucket holds the subjects of one hash value: one cache line of
// metadata, then the records of its slots.
//
//	word 0       version (24, odd while a writer stores) · second flags (8 × 1) ·
//	             uses of each slot (8 × 4, 0 = empty); slot 0 lowest
//	word 1+j     byte j of the tags: byte i of the word belongs to slot i
//	word 8+i·n   record of slot i, n words
//
// The second flag marks a subject in its second bucket. Tags are stored in columns, so that seven
// words compare all eight slots at once. The bucket is a seqlock: a reader that finds the same even
// version before and after reading has read what one writer wrote. It would fail only if the
// version wrapped, by 2^23 writes to the bucket during one read. Words are atomic, as Go's memory
// model requires for this.
type bucket []atomic.Uint64

const (
	slots     = 8
	headWords = 8
	tagBytes  = headWords - 1

	// writing is added to word 0 before and after storing: it counts the version.
	writing = 1 << 40

	secondShift = 32
	usesMask    = 1<<secondShift - 1

	// minFirst is how many subjects the first bucket must hold before new ones go to their second.
	// A lower number evicts fewer subjects when the table is full; with a higher one, more are
	// found in their first bucket: see New.
	minFirst = 5
)

// The least used slot is evicted. A scan of new addresses therefore displaces only subjects that do
// not return. All counts of a bucket are halved when their sum reaches sumUses, so that subjects
// that no longer return are evicted at last. Only returning subjects raise the sum: the number of
// new ones does not matter. A lower sum adapts faster and resists a scan less: with 40, TestScan
// has 0.91 of its hits, with 48 0.97 and with 64 0.99. In TestShift, where all subjects change,
// 1.00, 0.99 and 0.82 of the new ones are stored after 20 uses of each.
const (
	newUses = 1
	maxUses = 15
	sumUses = 48
)

func version(head uint64) uint64         { return head / writing }
func uses(head uint64, i int) uint64     { return head >> (4 * i) & 15 }
func inSecond(head uint64, i int) uint64 { return head >> (secondShift + i) & 1 }

// occupied returns how many slots are in use.
func occupied(head uint64) int { return bits.OnesCount64(nonzero(head & usesMask)) }

// vacate returns the head with slot i empty.
func vacate(head uint64, i int) uint64 { return head &^ (15<<(4*i) | 1<<(secondShift+i)) }

// touch returns the head after a use of slot i, which must be used less than maxUses times.
func touch(head uint64, i int) uint64 {
	head += 1 << (4 * i)
	const even, ones = 0x0f0f0f0f, 0x01010101
	if pairs := uint32(head&even + head>>4&even); pairs*ones>>24 < sumUses {
		return head
	}
	// the count of a used slot stays above 0, which would mean an empty slot
	all := head & usesMask
	half := all >> 1 & 0x77777777
	return head - all + half | nonzero(all)&^nonzero(half)
}

// nonzero returns 1 in each four bits that are not all zero.
func nonzero(counts uint64) uint64 {
	return (counts | counts>>1 | counts>>2 | counts>>3) & 0x11111111
}

// find returns the slot of a tag, in the tag's first (0) or second (1) bucket, or -1.
func (b bucket) find(tag, second, head uint64) int {
	const ones, low = 0x0101010101010101, 0x7f7f7f7f7f7f7f7f
	differ := uint64(0) // byte i stays 0 where slot i agrees
	for j, w := 0, b[1:headWords]; j < tagBytes; j++ {
		differ |= w[j].Load() ^ tag>>(8*j)&0xff*ones
	}
	for same := ^(differ&low + low | differ | low); same != 0; same &= same - 1 {
		// an empty slot still has its last tag
		if i := bits.TrailingZeros64(same) / 8; uses(head, i) != 0 && inSecond(head, i) == second {
			return i
		}
	}
	return -1
}

// tag returns the tag of slot i.
func (b bucket) tag(i int) (tag uint64) {
	for j := range tagBytes {
		tag |= b[1+j].Load() >> (8 * i) & 0xff << (8 * j)
	}
	return tag
}

// setTag changes the tag of slot i.
func (b bucket) setTag(i int, tag uint64) {
	for j := range tagBytes {
		set(&b[1+j], b[1+j].Load()&^(0xff<<(8*i))|tag>>(8*j)&0xff<<(8*i))
	}
}

// victim returns the least used slot. Among equally used ones it goes
// round, so that each stays as long as possible.
func victim(head uint64) int {
	first := turn(head)
	least := first
	for k := range slots {
		if i := (first + k) % slots; uses(head, i) < uses(head, least) {
			least = i
		}
	}
	return least
}

// turn returns the slot whose turn it is.
func turn(head uint64) int { return int(version(head) / 2 % slots) }

func (t *Table) bucket(n int) bucket { return t.words[n*t.stride:][:t.stride] }

// position is a slot of a bucket. The slot is -1 if the subject is not stored.
type position struct {
	bucket int
	slot   int
	second uint64 // 1 in its second bucket
}

// locate returns the position of a subject. The caller holds the locks of both buckets.
func (t *Table) locate(n [2]int, tag uint64) position {
	for second, bucket := range n {
		b := t.bucket(bucket)
		if i := b.find(tag, uint64(second), b[0].Load()); i >= 0 {
			return position{bucket, i, uint64(second)}
		}
	}
	return position{slot: -1}
}

// free returns the position for a new subject: a free slot or, when both buckets are full, the
// least used one of those without an answer. If all have answers, only a record with an answer gets
// the least used one. The caller holds the locks of both.
func (t *Table) free(n [2]int, r *record.Record) (at position, ok bool) {
	first, second := t.bucket(n[0])[0].Load(), t.bucket(n[1])[0].Load()
	x, y := occupied(first), occupied(second)
	i, j := victim(first), victim(second)
	if x == slots && y == slots {
		if at = t.unanswered(n); at.slot >= 0 || !r.Answered() {
			return at, at.slot >= 0
		}
	}
	if x >= minFirst && (y < x || y == slots && uses(second, j) < uses(first, i)) {
		return position{n[1], j, 1}, true
	}
	return position{n[0], i, 0}, true
}

// unanswered returns the position of the least used subject without an answer in two full buckets.
func (t *Table) unanswered(n [2]int) (at position) {
	at.slot = -1
	least := uint64(maxUses + 1)
	for second, bucket := range n {
		b := t.bucket(bucket)
		head := b[0].Load()
		for k := range slots {
			i := (turn(head) + k) % slots
			if u := uses(head, i); u < least && !t.answered(b, i) {
				least, at = u, position{bucket, i, uint64(second)}
			}
		}
	}
	return at
}

// answered reports whether the record of slot i has an answer.
func (t *Table) answered(b bucket, i int) bool {
	w := b[headWords+i*t.size:][:t.size]
	for n := range t.answers {
		first := w[1+2*n].Load()
		if first == 0 {
			break
		}
		if record.AnswerFrom(first, w[2+2*n].Load()).Answered() {
			return true
		}
	}
	return false
}

// store writes the record of a subject that is at a position. The caller holds the bucket's lock.
func (t *Table) store(at position, r *record.Record) {
	b := t.bucket(at.bucket)
	head := b[0].Add(writing) // from here on, readers leave word 0 alone
	t.write(b, at.slot, r)
	b[0].Store(head + writing)
}

// insert writes the record of a new subject to a position, and evicts the subject there. The caller
// holds the bucket's lock.
func (t *Table) insert(at position, tag, used uint64, r *record.Record) {
	b, i := t.bucket(at.bucket), at.slot
	head := b[0].Add(writing)
	if uses(head, i) == 0 {
		t.used.Add(1)
	} else {
		t.evictions.Add(1)
	}
	head = vacate(head, i) | used<<(4*i) | at.second<<(secondShift+i)
	b.setTag(i, tag)
	t.write(b, i, r)
	b[0].Store(head + writing)
}

// read decodes the record of slot i.
func (t *Table) read(b bucket, i int, into *record.Record) {
	w := b[headWords+i*t.size:][:t.size]
	into.SetHead(w[0].Load())
	n := 0
	for ; n < t.answers; n++ {
		first := w[1+2*n].Load()
		if first == 0 {
			break
		}
		into.Answers[n] = record.AnswerFrom(first, w[2+2*n].Load())
		into.SetGiven(first)
	}
	into.Truncate(n)
}

// write encodes a record into slot i. It first drops the answers that do not fit.
func (t *Table) write(b bucket, i int, r *record.Record) {
	fitting := r.Answers[:t.answers]
	for _, a := range r.Answers[t.answers:] {
		if a.Source == 0 {
			break
		}
		first := 0
		for n := range fitting {
			if fitting[n].Due < fitting[first].Due {
				first = n
			}
		}
		fitting[first] = a
	}
	w := b[headWords+i*t.size:][:t.size]
	set(&w[0], r.Head())
	for n := range fitting {
		x, y := r.Words(&fitting[n])
		set(&w[1+2*n], x)
		set(&w[2+2*n], y)
	}
}

// set stores v only if it differs: most words stay the same, and a
// load costs a fraction of an atomic store.
func set(w *atomic.Uint64, v uint64) {
	if w.Load() != v {
		w.Store(v)
	}
}
