package memory

import (
	"math/bits"
	"sync/atomic"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// bucket holds the subjects of one hash value: a cache line of bookkeeping and the records of its places.
//
//	word 0       version (24, odd while a writer stores) · guests (8 × 1) · uses of each place (8 × 4, 0 = empty);
//	             place 0 lowest
//	word 1+j     byte j of the tags: byte i of the word belongs to place i
//	word 8+i·n   record of place i, n words
//
// A guest is a subject in its second bucket. Tags lie in columns so that seven words compare all eight at once. It is
// a seqlock: a reader that finds the version even, and the same after reading, has read what one writer wrote. The
// version would have to wrap, 2^23 writes to the same bucket during one read, to deceive it. Words are atomic so that
// this holds in Go's memory model.
type bucket []atomic.Uint64

const (
	places    = 8
	headWords = 8
	tagBytes  = headWords - 1

	// writing, added to word 0 before and after storing, counts the version.
	writing = 1 << 40

	guestShift = 32
	usesMask   = 1<<guestShift - 1

	// homely is how many subjects its first bucket must have for a new one to look at its second. A lower number loses
	// fewer subjects when the table is full, a higher one finds more of them at the first look: see New.
	homely = 5
)

// How uses are counted decides who is evicted: the least used place. A scan of new addresses then takes turns in the few
// places that nobody uses. So that former regulars go in the end, all counts of a bucket are halved when their sum
// reaches sumUses. That is a clock which only returning subjects advance, whatever the number of new ones. A lower sum
// forgets faster and resists less: 40 keeps 0.91 of the hits in TestScan, 48 keeps 0.97, 64 keeps 0.99; 20 uses of each
// subject after all have changed, as in TestShift, 1.00, 0.99 and 0.82 of the new ones are remembered.
const (
	newUses = 1
	maxUses = 15
	sumUses = 48
)

func version(head uint64) uint64      { return head / writing }
func uses(head uint64, i int) uint64  { return head >> (4 * i) & 15 }
func guest(head uint64, i int) uint64 { return head >> (guestShift + i) & 1 }

// occupied returns how many places are in use.
func occupied(head uint64) int { return bits.OnesCount64(nonzero(head & usesMask)) }

// vacate returns the head with place i empty.
func vacate(head uint64, i int) uint64 { return head &^ (15<<(4*i) | 1<<(guestShift+i)) }

// touch returns the head after a use of place i, which must be used less than maxUses times.
func touch(head uint64, i int) uint64 {
	head += 1 << (4 * i)
	const even, ones = 0x0f0f0f0f, 0x01010101
	if pairs := uint32(head&even + head>>4&even); pairs*ones>>24 < sumUses {
		return head
	}
	// a used place keeps at least 1: 0 would empty it
	all := head & usesMask
	half := all >> 1 & 0x77777777
	return head - all + half | nonzero(all)&^nonzero(half)
}

// nonzero returns 1 in each four bits that are not all zero.
func nonzero(counts uint64) uint64 {
	return (counts | counts>>1 | counts>>2 | counts>>3) & 0x11111111
}

// find returns the place that holds the tag of a guest (1) or of one that is at home (0), or -1.
func (b bucket) find(tag, visiting, head uint64) int {
	const ones, low = 0x0101010101010101, 0x7f7f7f7f7f7f7f7f
	differ := uint64(0) // byte i stays 0 where place i agrees
	for j, w := 0, b[1:headWords]; j < tagBytes; j++ {
		differ |= w[j].Load() ^ tag>>(8*j)&0xff*ones
	}
	for same := ^(differ&low + low | differ | low); same != 0; same &= same - 1 {
		// an emptied place keeps its tag
		if i := bits.TrailingZeros64(same) / 8; uses(head, i) != 0 && guest(head, i) == visiting {
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

// spot is where a subject is: a place of a bucket, or none (-1) when it is not there.
type spot struct {
	bucket   int
	place    int
	visiting uint64 // 1 in its second bucket
}

// locate returns the spot of a subject. The caller holds the locks of both buckets.
func (t *Table) locate(n [2]int, tag uint64) spot {
	for visiting, bucket := range n {
		b := t.bucket(bucket)
		if i := b.find(tag, uint64(visiting), b[0].Load()); i >= 0 {
			return spot{bucket, i, uint64(visiting)}
		}
	}
	return spot{place: -1}
}

// free returns the spot for a new subject: a free place or, when both buckets are full, the least used one. The caller
// holds the locks of both.
func (t *Table) free(n [2]int) spot {
	first, second := t.bucket(n[0])[0].Load(), t.bucket(n[1])[0].Load()
	x, y := occupied(first), occupied(second)
	i, j := victim(first), victim(second)
	if x >= homely && (y < x || y == places && uses(second, j) < uses(first, i)) {
		return spot{n[1], j, 1}
	}
	return spot{n[0], i, 0}
}

// store writes the record of a subject that is at a spot. The caller holds the bucket's lock.
func (t *Table) store(at spot, r *record.Record) {
	b := t.bucket(at.bucket)
	head := b[0].Add(writing) // from here on, readers leave word 0 alone
	t.write(b, at.place, r)
	b[0].Store(head + writing)
}

// insert writes the record of a new subject to a spot, and evicts who is there. The caller holds the bucket's lock.
func (t *Table) insert(at spot, tag, used uint64, r *record.Record) {
	b, i := t.bucket(at.bucket), at.place
	head := b[0].Add(writing)
	if uses(head, i) == 0 {
		t.used.Add(1)
	} else {
		t.evictions.Add(1)
	}
	head = vacate(head, i) | used<<(4*i) | at.visiting<<(guestShift+i)
	b.setTag(i, tag)
	t.write(b, i, r)
	b[0].Store(head + writing)
}

// read decodes the record of place i. In into, as in every record, empty places follow the used ones.
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
		x, y := r.Words(&kept[n])
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
