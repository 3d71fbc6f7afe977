// Package memory remembers the records of a bounded number of subjects in this process: reads take no lock, the garbage
// collector finds no pointers, and a scan from new addresses does not wash out the subjects that come back.
package memory

import (
	"sync"
	"sync/atomic"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

const (
	// attempts bounds how often a reader tries again while a writer stores into its bucket. A running writer is done
	// within about 100 ns, a few attempts. One that lost its processor in between may be away for milliseconds, and a
	// request must not wait for that: it is told that there is no record, and looks elsewhere.
	attempts = 64

	// stripes is the number of locks that writers share.
	stripes = 64
)

// Table remembers records by key. It is safe for concurrent use. Create it with New.
type Table struct {
	words   []atomic.Uint64
	hash    hash
	answers int
	size    int // words in a record
	stride  int // words in a bucket

	_ [64]byte // writers stay out of the readers' cache line

	locks     [stripes]stripe
	used      atomic.Int64
	evictions atomic.Uint64
}

// stripe serves every 64th bucket. Writers of those buckets hold mu, readers never do.
type stripe struct {
	mu     sync.Mutex
	record record.Record // the one being changed: as a local variable it would escape to the heap
}

// New returns a table for the given number of subjects, each with room for the answers of the given number of providers,
// 1 to record.MaxAnswers. So many subjects are all remembered: fewer than one in 100,000 finds no place. It has more
// places than that, at least 2048; Cap tells how many. A place takes 16 + 16·answers bytes, 32 for one provider, 80 for
// four, 144 for eight and 528 for 32, and is paid for here, used or not.
//
// Some buckets fill before others, although each subject has two to choose from. With 1.5 places a subject, 1 in a million
// finds both full; with 1.4 it would be 1 in 100,000. When there are as many subjects as asked for, one in seven is found at
// the second look only; when there are half as many, one in thirty.
func New(entries, answers int) *Table { return newTable(newHash(room(entries)), answers) }

// room returns how many places a number of subjects needs.
func room(entries int) int { return (max(entries, 0)*3 + 1) / 2 }

func newTable(h hash, answers int) *Table {
	answers = min(max(answers, 1), record.MaxAnswers)
	size := record.WordsFor(answers)
	stride := headWords + places*size
	words := make([]atomic.Uint64, int(h.buckets)*stride)
	return &Table{words: words, hash: h, answers: answers, size: size, stride: stride}
}

// Get copies the record of a subject to into, and counts as a use of it. If there is none, into becomes empty and Get
// returns false. It takes no lock, never waits and does not allocate. Seldom, while a writer is held up in the middle of
// storing into the same bucket, it misses a record that is there; Update does not.
func (t *Table) Get(key record.Key, into *record.Record) bool {
	n, tag := t.hash.place(key)
	if t.get(t.bucket(n), tag, 0, into) || t.get(t.bucket(t.hash.other(n, tag)), tag, 1, into) {
		return true
	}
	into.Reset()
	return false
}

// get is Get for one bucket of the subject's two. When it returns false, into may hold anything.
func (t *Table) get(b bucket, tag, visiting uint64, into *record.Record) bool {
	for range attempts {
		before := b[0].Load()
		i := b.find(tag, visiting, before)
		if i < 0 {
			return false
		}
		if before&writing != 0 {
			continue
		}
		t.read(b, i, into)
		after := b[0].Load()
		if version(after) != version(before) {
			continue
		}
		if uses(after, i) < maxUses {
			// whoever loses this race to another reader loses one use of many
			b[0].CompareAndSwap(after, touch(after, i))
		}
		return true
	}
	return false
}

// Update lets change alter the record of a subject, empty if there is none, and stores the outcome; no other writer comes
// between. A new subject may evict another, and is not stored if change leaves it empty. Of more answers than the table
// has room for, those that are due first give way to those that change appended. The record is change's only until it
// returns; change should be quick, and must not write to the table. Update does not allocate.
func (t *Table) Update(key record.Key, change func(*record.Record)) {
	n, tag := t.both(key)
	s := t.lock(n)
	defer t.unlock(n)
	s.record = record.Record{}
	at := t.locate(n, tag)
	if at.place >= 0 {
		t.read(t.bucket(at.bucket), at.place, &s.record)
	}
	change(&s.record)
	switch {
	case at.place >= 0:
		t.store(at, &s.record)
	case !s.record.Empty():
		t.insert(t.free(n), tag, newUses, &s.record)
	}
}

// add puts in a subject that has been used so many times, and reports whether it did: not if the subject is there.
func (t *Table) add(key record.Key, used uint64, r *record.Record) bool {
	n, tag := t.both(key)
	t.lock(n)
	defer t.unlock(n)
	if t.locate(n, tag).place >= 0 {
		return false
	}
	t.insert(t.free(n), tag, used, r)
	return true
}

// Delete forgets a subject and reports whether it was there.
func (t *Table) Delete(key record.Key) bool {
	n, tag := t.both(key)
	t.lock(n)
	defer t.unlock(n)
	at := t.locate(n, tag)
	if at.place < 0 {
		return false
	}
	b := t.bucket(at.bucket)
	head := b[0].Add(writing)
	b[0].Store(vacate(head, at.place) + writing)
	t.used.Add(-1)
	return true
}

// both returns the buckets of a key and its tag.
func (t *Table) both(key record.Key) (n [2]int, tag uint64) {
	first, tag := t.hash.place(key)
	return [2]int{first, t.hash.other(first, tag)}, tag
}

// lock takes the locks of two buckets, always in the same order, and returns the stripe of the first of them.
func (t *Table) lock(n [2]int) *stripe {
	i, j := n[0]%stripes, n[1]%stripes
	t.locks[min(i, j)].mu.Lock()
	if i != j {
		t.locks[max(i, j)].mu.Lock()
	}
	return &t.locks[i]
}

func (t *Table) unlock(n [2]int) {
	i, j := n[0]%stripes, n[1]%stripes
	t.locks[i].mu.Unlock()
	if i != j {
		t.locks[j].mu.Unlock()
	}
}

// Len returns how many subjects are remembered.
func (t *Table) Len() int { return int(t.used.Load()) }

// Cap returns how many places there are. Eviction begins earlier, in the buckets that fill first: see New.
func (t *Table) Cap() int { return len(t.words) / t.stride * places }

// Evictions returns how many subjects have made room for others since the table was made.
func (t *Table) Evictions() uint64 { return t.evictions.Load() }

// Range calls f for each subject until f returns false. Each record is whole, but the table may change in between. The
// record is f's only until f returns; f may call the table's methods.
func (t *Table) Range(f func(record.Key, *record.Record) bool) {
	t.each(func(key record.Key, _ uint64, r *record.Record) bool { return f(key, r) })
}

// each is Range with the number of uses.
func (t *Table) each(f func(key record.Key, used uint64, r *record.Record) bool) {
	var records [places]record.Record
	var tags [places]uint64
	for n := range len(t.words) / t.stride {
		b, s := t.bucket(n), &t.locks[n%stripes]
		s.mu.Lock()
		head := b[0].Load()
		for i := range places {
			if uses(head, i) != 0 {
				tags[i] = b.tag(i)
				t.read(b, i, &records[i])
			}
		}
		s.mu.Unlock()
		for i := range places {
			c, first := uses(head, i), n
			if guest(head, i) != 0 {
				first = t.hash.home(n, tags[i])
			}
			if c != 0 && !f(t.hash.key(first, tags[i]), c, &records[i]) {
				return
			}
		}
	}
}
