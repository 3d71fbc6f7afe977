package memory

import (
	"math/bits"
	"sync/atomic"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// bucket holds the subjects of one hash value: a cache line of bookkeeping and the records of its places.
//
//	word 0       version (32, odd while a writer stores) · uses of each place (8 × 4, place 0 lowest, 0 = empty)
//	word 1+j     byte j of the tags: byte i of the word belongs to place i
//	word 8+i·n   record of place i, n words
//
// Tags lie in columns so that seven words compare all eight at once. It is a seqlock: a reader that finds the version
// even, and the same after reading, has read what one writer wrote. The version would have to wrap, 2^31 writes to the
// same bucket during one read, to deceive it. Words are atomic so that this holds in Go's memory model.
type bucket []atomic.Uint64

const (
	places    = 8
	headWords = 8
	tagBytes  = headWords - 1

	// writing, added to word 0 before and after storing, counts the version.
	writing = 1 << 32
)

// How uses are counted decides who is evicted: the least used place. A scan of new addresses then takes turns in the few
// places that nobody uses. So that former regulars go in the end, all counts of a bucket are halved when their sum
// reaches sumUses. That is a clock which only returning subjects advance, whatever the number of new ones. A lower sum
// forgets faster and resists less: 40 keeps 0.87 of the hits in TestScan, 48 keeps 0.92, 64 keeps 0.95; 20 uses of each
// subject after all have changed, as in TestShift, 0.95, 0.88 and 0.67 of the new ones are remembered.
const (
	newUses = 1
	maxUses = 15
	sumUses = 48
)

func version(head uint64) uint64     { return head >> 32 }
func uses(head uint64, i int) uint64 { return head >> (4 * i) & 15 }

// vacate returns the head with place i empty.
func vacate(head uint64, i int) uint64 { return head &^ (15 << (4 * i)) }

// touch returns the head after a use of place i, which must be used less than maxUses times.
func touch(head uint64, i int) uint64 {
	head += 1 << (4 * i)
	const even, ones = 0x0f0f0f0f, 0x01010101
	if pairs := uint32(head&even + head>>4&even); pairs*ones>>24 < sumUses {
		return head
	}
	// a used place keeps at least 1: 0 would empty it
	all := head & (writing - 1)
	half := all >> 1 & 0x77777777
	return head - all + half | nonzero(all)&^nonzero(half)
}

// nonzero returns 1 in each four bits that are not all zero.
func nonzero(counts uint64) uint64 {
	return (counts | counts>>1 | counts>>2 | counts>>3) & 0x11111111
}

// find returns the place that holds the tag, or -1.
func (b bucket) find(tag, head uint64) int {
	const ones, low = 0x0101010101010101, 0x7f7f7f7f7f7f7f7f
	differ := uint64(0) // byte i stays 0 where place i agrees
	for j, w := 0, b[1:headWords]; j < tagBytes; j++ {
		differ |= w[j].Load() ^ tag>>(8*j)&0xff*ones
	}
	for same := ^(differ&low + low | differ | low); same != 0; same &= same - 1 {
		// an emptied place keeps its tag
		if i := bits.TrailingZeros64(same) / 8; uses(head, i) != 0 {
			return i
		}
	}
	return -1
}

// tag returns the tag of place i.
func (b bucket) tag(i int) (tag uint64) {
	for j := range tagBytes {
		tag |= b[1+j].Load() >> (8 * i) & 0xff << (8 * j)
	}
	return tag
}

// setTag changes the tag of place i.
func (b bucket) setTag(i int, tag uint64) {
	for j := range tagBytes {
		set(&b[1+j], b[1+j].Load()&^(0xff<<(8*i))|tag>>(8*j)&0xff<<(8*i))
	}
}

// victim returns the least used place. Places used equally take turns, so that each stays as long as it can.
func victim(head uint64) int {
	turn := int(version(head) / 2 % places)
	least := turn
	for k := range places {
		if i := (turn + k) % places; uses(head, i) < uses(head, least) {
			least = i
		}
	}
	return least
}

func (t *Table) bucket(n int) bucket { return t.words[n*t.stride:][:t.stride] }

// store writes a record to place i or, if i is negative, to one that it makes free. The caller holds the bucket's lock.
func (t *Table) store(b bucket, i int, tag, used uint64, r *record.Record) {
	head := b[0].Add(writing) // from here on, readers leave word 0 alone
	if i < 0 {
		i = victim(head)
		if uses(head, i) == 0 {
			t.used.Add(1)
		} else {
			t.evictions.Add(1)
		}
		head = vacate(head, i) | used<<(4*i)
		b.setTag(i, tag)
	}
	t.write(b, i, r)
	b[0].Store(head + writing)
}

// read decodes the record of place i.
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
	}
	clear(into.Answers[n:])
}

// write encodes a record into place i, having dropped from it what does not fit.
func (t *Table) write(b bucket, i int, r *record.Record) {
	kept := r.Answers[:t.answers]
	for _, a := range r.Answers[t.answers:] {
		if a.Source == 0 {
			break
		}
		first := 0
		for n := range kept {
			if kept[n].Due < kept[first].Due {
				first = n
			}
		}
		kept[first] = a
	}
	w := b[headWords+i*t.size:][:t.size]
	set(&w[0], r.Head())
	for n := range kept {
		x, y := kept[n].Words()
		set(&w[1+2*n], x)
		set(&w[2+2*n], y)
	}
}

// set stores only what differs: a load costs a fraction of an atomic store, and most words stay as they are.
func set(w *atomic.Uint64, v uint64) {
	if w.Load() != v {
		w.Store(v)
	}
}
