package violation

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// table holds subjects in a fixed number of buckets, without pointers. Of a subject only one bucket
// is looked at:
//
//	word 0       version, odd while a writer stores
//	words 1, 2   tags (8 bits each) of its 16 entries; 0 means empty
//	word 8+26·i  entry i: key · good answers · slots (4 words each)
//
// A bucket is a seqlock: a reader that finds the same even version before and after reading has read
// what one writer wrote. A reader that finds nothing has seen one cache line.
//
// The subjects of one network, an IPv4 /24 or an IPv6 /48, are in 32 buckets that follow each other,
// and take half of each at most. That bounds what one network can make the table forget.
type table struct {
	words   []atomic.Uint64
	buckets uint64
	mix     [2]uint64 // odd
	mask    uint64    // clients can choose their addresses, but not their bucket

	_ [64]byte // writers do not share a cache line with readers

	locks     [stripes]sync.Mutex // writers of every 64th bucket hold one; readers never do
	used      atomic.Int64
	evictions atomic.Uint64
}

const (
	ways       = 16 // entries of a bucket
	headWords  = 8
	slotWords  = 4
	entryWords = 2 + MaxNames*slotWords
	stride     = headWords + ways*entryWords // words of a bucket

	spread    = 32       // buckets of one network
	ofNetwork = ways / 2 // entries of one network in a bucket, at most

	stripes = 64

	// attempts is how often a reader tries again while a writer stores: see package memory.
	attempts = 64
)

// newTable returns a table for about so many subjects. A quarter more fit in, since some buckets fill
// before others; of so many, three in a hundred are evicted even so. An entry takes 212 bytes, of
// which the system provides those that were used.
func newTable(subjects int, mix [2]uint64, mask uint64) *table {
	buckets := max(uint64(max(subjects, 0))*5/4/ways, 2*spread)
	return &table{
		words:   make([]atomic.Uint64, buckets*stride),
		buckets: buckets, mix: [2]uint64{mix[0] | 1, mix[1] | 1}, mask: mask,
	}
}

// locate returns the bucket of a key, and its tag.
func (t *table) locate(key record.Key) (n int, tag uint64) {
	high, _ := bits.Mul64(t.hash(uint64(key.Network())), t.buckets)
	// the addresses of an IPv4 /24 are spread evenly, and so are the /56 of an IPv6 /48
	n = int(high) + int((uint64(key)^uint64(key)>>8^t.mask)%spread)
	if n >= int(t.buckets) {
		n -= int(t.buckets)
	}
	return n, 1 + t.hash(uint64(key))>>32%255
}

func (t *table) hash(x uint64) uint64 {
	x = (x ^ t.mask) * t.mix[0]
	x = (x ^ x>>32) * t.mix[1]
	return x ^ x>>29
}

func (t *table) bucket(n int) bucket          { return t.words[n*stride:][:stride] }
func (t *table) lock(n int) *sync.Mutex       { return &t.locks[n%stripes] }
func (t *table) capacity() int                { return int(t.buckets) * ways }
func (b bucket) entry(i int) []atomic.Uint64  { return b[headWords+i*entryWords:][:entryWords] }
func (b bucket) key(i int) record.Key         { return record.Key(b[headWords+i*entryWords].Load()) }
func (b bucket) tag(i int) uint64             { return b[1+i/8].Load() >> (i % 8 * 8) & 0xff }
func goodOf(word uint64, today uint32) uint32 { return halved(uint32(word>>32), uint32(word), today) }
func goodWord(good uint32, day uint32) uint64 { return uint64(good)<<32 | uint64(day) }
func dayOf(now time.Time) uint32              { return record.Seconds(now) / (24 * 60 * 60) }
func halved(good, since, today uint32) uint32 {
	if today <= since {
		return good
	}
	return good >> min(today-since, 31)
}

type bucket []atomic.Uint64

// find returns the entry of a key, or -1.
func (b bucket) find(key record.Key, tag uint64) int {
	const ones, low = 0x0101010101010101, 0x7f7f7f7f7f7f7f7f
	for w := range ways / 8 {
		differ := b[1+w].Load() ^ tag*ones
		for same := ^(differ&low + low | differ | low); same != 0; same &= same - 1 {
			if i := 8*w + bits.TrailingZeros64(same)/8; b.key(i) == key {
				return i
			}
		}
	}
	return -1
}

// get copies a subject, and returns false if it is not in the table. Its good answers are in their
// word. It takes no lock. In rare cases it misses a subject, while a writer stores into its bucket.
func (t *table) get(key record.Key, into *Subject, good *uint64) bool {
	n, tag := t.locate(key)
	b := t.bucket(n)
	for range attempts {
		version := b[0].Load()
		i := b.find(key, tag)
		if i < 0 {
			return false
		}
		if version&1 != 0 {
			continue
		}
		*good = b.read(i, into)
		if b[0].Load() == version {
			return true
		}
	}
	return false
}

// countGood counts a good answer in an entry. A writer may put another subject in its place in the
// same moment: then that one has one more, which does not matter.
func (b bucket) countGood(i int, today uint32) {
	word := &b.entry(i)[1]
	for range attempts {
		old := word.Load()
		good := goodOf(old, today)
		if good == math.MaxUint32 || word.CompareAndSwap(old, goodWord(good+1, today)) {
			return
		}
	}
}

// read decodes an entry, and returns the word of its good answers.
func (b bucket) read(i int, into *Subject) (good uint64) {
	e := b.entry(i)
	for j := range into.Slots {
		w := e[2+j*slotWords:][:slotWords]
		first := w[0].Load()
		if first == 0 {
			clear(into.Slots[j:])
			break
		}
		into.Slots[j] = slotOf(first, w[1].Load())
		into.Slots[j].paths = [2]uint64{w[2].Load(), w[3].Load()}
	}
	return e[1].Load()
}

// write encodes the slots of an entry. The caller has begun to store.
func (b bucket) write(i int, s *Subject) {
	e := b.entry(i)
	for j := range s.Slots {
		w := e[2+j*slotWords:][:slotWords]
		x, y := s.Slots[j].words()
		w[0].Store(x)
		w[1].Store(y)
		w[2].Store(s.Slots[j].paths[0])
		w[3].Store(s.Slots[j].paths[1])
	}
}

func (b bucket) setTag(i int, tag uint64) {
	w, shift := &b[1+i/8], i%8*8
	w.Store(w.Load()&^(0xff<<shift) | tag<<shift)
}

// words returns a slot in 128 bits, without its paths.
func (s *Slot) words() (x, y uint64) {
	return uint64(s.ID)<<32 | uint64(s.Last), uint64(s.Points)<<44 | uint64(s.Count)<<24 | uint64(s.HalfLife)
}

func slotOf(x, y uint64) Slot {
	return Slot{
		ID: ID(x >> 32), Last: uint32(x),
		Points: uint32(y >> 44), Count: uint32(y >> 24 & maxThousandths), HalfLife: uint32(y & maxHalfLife),
	}
}

// put stores what is remembered of a subject, whose entry is i, or -1 if it has none. A new subject
// may take the place of one that is worth less than it: see place. The caller holds the lock of
// bucket n.
func (t *table) put(
	n, i int, key record.Key, tag uint64, s *Subject, good uint64, worth float64, now time.Time,
) (stored, crowded bool) {
	b := t.bucket(n)
	fresh := i < 0
	if fresh {
		if i, crowded = t.place(b, key, worth, now); i < 0 {
			return false, crowded
		}
	}
	b[0].Add(1)
	if fresh {
		e := b.entry(i)
		e[0].Store(uint64(key))
		e[1].Store(good)
		b.setTag(i, tag)
	}
	b.write(i, s)
	b[0].Add(1)
	return true, crowded
}

// place returns the entry for a new subject: an empty one or, if there is none, that of the subject
// which is worth the least. If its network has its share of the bucket, it is one of the network. It
// returns -1 if all are worth more than the new one.
func (t *table) place(b bucket, key record.Key, worth float64, now time.Time) (i int, crowded bool) {
	empty, mine := -1, 0
	for i := range ways {
		if b.tag(i) == 0 {
			empty = i
		} else if b.key(i).Network() == key.Network() {
			mine++
		}
	}
	crowded = mine >= ofNetwork
	if empty >= 0 && !crowded {
		t.used.Add(1)
		return empty, false
	}
	weakest, least := -1, worth
	var s Subject
	for i := range ways {
		if b.tag(i) == 0 || crowded && b.key(i).Network() != key.Network() {
			continue
		}
		b.read(i, &s)
		if w := s.worth(now); w < least {
			weakest, least = i, w
		}
	}
	if weakest >= 0 {
		t.evictions.Add(1)
	}
	return weakest, crowded
}

// remove empties an entry. The caller holds the lock of its bucket.
func (t *table) remove(n, i int) {
	b := t.bucket(n)
	b[0].Add(1)
	b.setTag(i, 0)
	b[0].Add(1)
	t.used.Add(-1)
}

// each calls f for each subject, with the word of its good answers. No lock is held meanwhile.
func (t *table) each(f func(key record.Key, s *Subject, good uint64)) {
	var subjects [ways]Subject
	var keys [ways]record.Key
	var good [ways]uint64
	for n := range int(t.buckets) {
		b := t.bucket(n)
		if b[1].Load()|b[2].Load() == 0 {
			continue
		}
		used := 0
		t.lock(n).Lock()
		for i := range ways {
			if b.tag(i) != 0 {
				good[used], keys[used] = b.read(i, &subjects[used]), b.key(i)
				used++
			}
		}
		t.lock(n).Unlock()
		for i := range used {
			f(keys[i], &subjects[i], good[i])
		}
	}
}

// sweep removes subjects whose violations are worth nothing any more.
func (t *table) sweep(now time.Time) {
	var s Subject
	for n := range int(t.buckets) {
		b := t.bucket(n)
		if b[1].Load()|b[2].Load() == 0 {
			continue
		}
		t.lock(n).Lock()
		for i := range ways {
			if b.tag(i) == 0 {
				continue
			}
			if b.read(i, &s); s.forgotten(now) {
				t.remove(n, i)
			}
		}
		t.lock(n).Unlock()
	}
}
