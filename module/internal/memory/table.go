// Package memory is an in-process cache of records for a bounded number of subjects. Reads take no
// lock, there are no pointers for the garbage collector, and a scan from new addresses does not
// evict the subjects that return.
package memory

import (
	"sync"
	"sync/atomic"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

const (
	// attempts bounds how often a reader tries again while a writer stores
	// into its bucket. A running writer needs about 100 ns, which is a few
	// attempts. A preempted writer may take milliseconds. A request must not
	// wait that long: it then finds no record, and goes on to the next source.
	attempts = 64

	// stripes is the number of locks that writers share.
	stripes = 64
)

// Table stores records by key. It is safe for concurrent use. Create it with New.
type Table struct {
	words   []atomic.Uint64
	hash    hash
	answers int
	size    int // words in a record
	stride  int // words in a bucket

	_ [64]byte // so that writers do not share a cache line with readers

	locks     [stripes]stripe
	used      atomic.Int64
	evictions atomic.Uint64
}

// stripe serves every 64th bucket. Writers of those buckets hold mu, readers never do.
type stripe struct {
	mu     sync.Mutex
	record record.Record // the one being changed: as a local variable it would escape to the heap
}

// New returns a table for the given number of subjects, with the answers of up to
// the given number of providers each, 1 to record.MaxAnswers. With that number of
// subjects, fewer than one in 100,000 is evicted. The table therefore has more
// slots, at least 2048: see Cap. A slot takes 16 + 16·answers bytes: 32 for one
// provider, 80 for four, 144 for eight and 528 for 32. New allocates all of them.
//
// Some buckets fill before others, although each subject has two. With 1.5 slots a subject, both
// are full for 1 subject in a million; with 1.4 it would be 1 in 100,000. At the given number of
// subjects, one in seven is in its second bucket; at half of it, one in thirty.
func New(entries, answers int) *Table { return newTable(newHash(room(entries)), answers) }

// room returns the number of slots for a number of subjects.
func room(entries int) int { return (max(entries, 0)*3 + 1) / 2 }

func newTable(h hash, answers int) *Table {
	answers = min(max(answers, 1), record.MaxAnswers)
	size := record.WordsFor(answers)
	stride := headWords + slots*size
	words := make([]atomic.Uint64, int(h.buckets)*stride)
	return &Table{words: words, hash: h, answers: answers, size: size, stride: stride}
}

// Get copies the record of a subject to into, and counts one use of it. If there is none, into
// becomes empty and Get returns false. It takes no lock, never waits and does not allocate. In rare
// cases it misses a stored record, when a writer is preempted while it stores into the same bucket.
// Update never misses one.
func (t *Table) Get(key record.Key, into *record.Record) bool {
	n, tag := t.hash.locate(key)
	if t.get(t.bucket(n), tag, 0, into) || t.get(t.bucket(t.hash.alternate(n, tag)), tag, 1, into) {
		return true
	}
	into.Reset()
	return false
}

// get is Get for one of the subject's two buckets. If it returns
// false, the content of into is undefined.
func (t *Table) get(b bucket, tag, second uint64, into *record.Record) bool {
	for range attempts {
		before := b[0].Load()
		i := b.find(tag, second, before)
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
			// if another reader changes the head first, this use is
			// not counted; one of many does not matter
			b[0].CompareAndSwap(after, touch(after, i))
		}
		return true
	}
	return false
}

// Update calls change with the record of a subject, which is empty if there is none, and stores the
// result. This is atomic: no other writer comes between. A new subject may evict another one, but
// one without an answer never evicts one with an answer: it is then not stored. Nor is it if change
// leaves its record empty. If change appends more answers than the table has
// room for, they replace those that are due first. change must not use the record after it returns,
// must be quick, and must not write to the table. Update does not allocate.
func (t *Table) Update(key record.Key, change func(*record.Record)) {
	n, tag := t.both(key)
	s := t.lock(n)
	defer t.unlock(n)
	s.record = record.Record{}
	at := t.locate(n, tag)
	if at.slot >= 0 {
		t.read(t.bucket(at.bucket), at.slot, &s.record)
	}
	change(&s.record)
	switch {
	case at.slot >= 0:
		t.store(at, &s.record)
	case !s.record.Empty():
		if at, ok := t.free(n, &s.record); ok {
			t.insert(at, tag, newUses, &s.record)
		}
	}
}

// add stores a subject with a number of uses, unless the subject is in the table. It reports
// whether it was stored.
func (t *Table) add(key record.Key, used uint64, r *record.Record) bool {
	n, tag := t.both(key)
	t.lock(n)
	defer t.unlock(n)
	if t.locate(n, tag).slot >= 0 {
		return false
	}
	at, ok := t.free(n, r)
	if ok {
		t.insert(at, tag, used, r)
	}
	return ok
}

// Delete removes a subject and reports whether it was stored.
func (t *Table) Delete(key record.Key) bool {
	n, tag := t.both(key)
	t.lock(n)
	defer t.unlock(n)
	at := t.locate(n, tag)
	if at.slot < 0 {
		return false
	}
	b := t.bucket(at.bucket)
	head := b[0].Add(writing)
	b[0].Store(vacate(head, at.slot) + writing)
	t.used.Add(-1)
	return true
}

// both returns the buckets of a key and its tag.
func (t *Table) both(key record.Key) (n [2]int, tag uint64) {
	first, tag := t.hash.locate(key)
	return [2]int{first, t.hash.alternate(first, tag)}, tag
}

// lock takes the locks of two buckets, always in the same order, and
// returns the stripe of the first of them.
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

// Len returns the number of stored subjects.
func (t *Table) Len() int { return int(t.used.Load()) }

// Cap returns the number of slots. Evictions start earlier, in the
// buckets that fill first: see New.
func (t *Table) Cap() int { return len(t.words) / t.stride * slots }

// Evictions returns how many subjects were evicted since New.
func (t *Table) Evictions() uint64 { return t.evictions.Load() }

// Range calls f for each subject until f returns false. Each record
// is consistent, but the table may change between calls. f must not
// use the record after it returns. It may call the table's methods.
func (t *Table) Range(f func(record.Key, *record.Record) bool) {
	t.each(func(key record.Key, _ uint64, r *record.Record) bool { return f(key, r) })
}

// each is Range with the number of uses.
func (t *Table) each(f func(key record.Key, used uint64, r *record.Record) bool) {
	var records [slots]record.Record
	var tags [slots]uint64
	for n := range len(t.words) / t.stride {
		b, s := t.bucket(n), &t.locks[n%stripes]
		s.mu.Lock()
		head := b[0].Load()
		for i := range slots {
			if uses(head, i) != 0 {
				tags[i] = b.tag(i)
				t.read(b, i, &records[i])
			}
		}
		s.mu.Unlock()
		for i := range slots {
			c, first := uses(head, i), n
			if inSecond(head, i) != 0 {
				first = t.hash.primary(n, tags[i])
			}
			if c != 0 && !f(t.hash.key(first, tags[i]), c, &records[i]) {
				return
			}
		}
	}
}
