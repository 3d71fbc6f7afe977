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
// 1 to record.MaxAnswers. The number of subjects is rounded up to whole buckets of 8, of which there are at least 256;
// Cap tells the outcome. A place takes 16 + 16·answers bytes, 48 for two providers and 80 for four, and is paid for here,
// used or not.
//
// Ask for twice the subjects that are expected to come back, because some buckets fill before others. With half as many
// subjects as places, 0.9 % of them have no place; when they come in random order, 0.9 % of their requests find nothing,
// and when they come in the same order over and over, 5.4 % do: all those of buckets that have more subjects than places.
// With as many subjects as places it is 14 %, 14 % and 55 %.
func New(entries, answers int) *Table { return newTable(newHash(entries), answers) }

func newTable(h hash, answers int) *Table {
	answers = min(max(answers, 1), record.MaxAnswers)
	size := record.WordsFor(answers)
	stride := headWords + places*size
	words := make([]atomic.Uint64, int(h.buckets)*stride)
	return &Table{words: words, hash: h, answers: answers, size: size, stride: stride}
}

// Get copies the record of a subject to into, and counts as a use of it. If there is none, into becomes the zero Record
// and Get returns false. It takes no lock, never waits and does not allocate. Seldom, while a writer is held up in the
// middle of storing into the same bucket, it misses a record that is there; Update does not.
func (t *Table) Get(key record.Key, into *record.Record) bool {
	n, tag := t.hash.place(key)
	b := t.bucket(n)
	for range attempts {
		before := b[0].Load()
		i := b.find(tag, before)
		if i < 0 {
			break
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
	*into = record.Record{}
	return false
}

// Update lets change alter the record of a subject, zero if there is none, and stores the outcome; no other writer comes
// between. A new subject may evict another, and is not stored if change leaves it zero. Of more answers than the table
// has room for, those that are due first give way to those that change appended. The record is change's only until it
// returns; change should be quick, and must not write to the table. Update does not allocate.
func (t *Table) Update(key record.Key, change func(*record.Record)) {
	n, tag := t.hash.place(key)
	b, s := t.bucket(n), &t.locks[n%stripes]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record = record.Record{}
	i := b.find(tag, b[0].Load())
	if i >= 0 {
		t.read(b, i, &s.record)
	}
	change(&s.record)
	if i >= 0 || s.record != (record.Record{}) {
		t.store(b, i, tag, newUses, &s.record)
	}
}

// add puts in a subject that has been used so many times, and reports whether it did: not if the subject is there.
func (t *Table) add(key record.Key, used uint64, r *record.Record) bool {
	n, tag := t.hash.place(key)
	b, s := t.bucket(n), &t.locks[n%stripes]
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.find(tag, b[0].Load()) >= 0 {
		return false
	}
	t.store(b, -1, tag, used, r)
	return true
}

// Delete forgets a subject and reports whether it was there.
func (t *Table) Delete(key record.Key) bool {
	n, tag := t.hash.place(key)
	b, s := t.bucket(n), &t.locks[n%stripes]
	s.mu.Lock()
	defer s.mu.Unlock()
	i := b.find(tag, b[0].Load())
	if i < 0 {
		return false
	}
	head := b[0].Add(writing)
	b[0].Store(vacate(head, i) + writing)
	t.used.Add(-1)
	return true
}

// Len returns how many subjects are remembered.
func (t *Table) Len() int { return int(t.used.Load()) }

// Cap returns how many subjects can be remembered. Eviction begins earlier, in the buckets that fill first: see New.
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
			if c := uses(head, i); c != 0 && !f(t.hash.key(n, tags[i]), c, &records[i]) {
				return
			}
		}
	}
}
