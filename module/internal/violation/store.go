package violation

import (
	"crypto/rand"
	"encoding/binary"
	"io/fs"
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// DefaultSubjects is for about how many subjects there is room, unless Options say otherwise. They
// take 17 MB if all are used.
const DefaultSubjects = 1 << 16

// Options are the settings of a Store. The zero Options are valid.
type Options struct {
	// Logger receives messages for the operator. Default: nothing is logged.
	Logger *slog.Logger

	// Subjects is for about how many subjects there is room. Default: DefaultSubjects.
	Subjects int

	// Detached opens the store with the content of the file, which is not written before Attach.
	Detached bool

	// Now is the clock. Default: time.Now. It is set in tests, and where a day is simulated.
	Now func() time.Time
}

// Store remembers the violations of a bounded number of subjects: IPv4 addresses and IPv6 /64. When
// it is full, those with the fewest points are forgotten first, and one network can take the place of
// few others. It is safe for concurrent use. Configurations share it across reloads.
type Store struct {
	path  string
	log   *slog.Logger
	now   func() time.Time
	table *table
	seed  seed

	queue    queue // what the other instances are to be told
	watchers watchers
	added    hourly

	changed  atomic.Bool // since it was saved
	saving   sync.Mutex  // held while the file is read or written
	detached bool        // the file belongs to another process
	read     fs.FileInfo // of the file, when it was read last; nil: there was none
	damage   error       // of the file, which is set aside when it is the store's own

	upkept time.Time // for upkeep only

	save, stop, done chan struct{}
}

// Status is what a Store holds.
type Status struct {
	Clients   int    // subjects with violations
	Capacity  int    // subjects that there is room for
	Evictions uint64 // subjects that were forgotten for others, since the start

	LastHour map[string]int // violations that were counted here, by name
}

// Open returns the store of the file at path; without a path, one that is only in memory. The caller
// must Close it. A file that cannot be read is logged, and the store is empty: the server must start.
func Open(path string, o Options) *Store {
	var random [40]byte
	_, _ = rand.Read(random[:]) // never fails
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(random[8*i:]) }
	s := &Store{
		path: path, log: o.Logger, now: o.Now, detached: o.Detached,
		seed: seed(random[24:]),
		save: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if o.Subjects <= 0 {
		o.Subjects = DefaultSubjects
	}
	s.table = newTable(o.Subjects, [2]uint64{word(0), word(1)}, word(2))
	s.queue.init()
	if path != "" {
		s.load(true)
	}
	s.upkept = s.now()
	go s.run()
	return s
}

// Add counts a violation of an address that is not reserved. It never waits for the disk or the
// network.
func (s *Store) Add(t *Terms, a Act) Result {
	result := s.add(t, &a, s.now())
	if result.Counted {
		s.markChanged()
		s.added.add(t.Name, s.now())
		s.watchers.call(a.Client)
	}
	return result
}

func (s *Store) add(t *Terms, a *Act, now time.Time) Result {
	if !a.Client.IsValid() {
		return Result{Ignored: IgnoredNoAddress}
	}
	if a.At.IsZero() || a.At.After(now) {
		a.At = now
	}
	var path uint64
	if a.Path != "" {
		path = s.seed.hash(a.Path) // not under the lock: it may be long
	}
	key := record.KeyOf(a.Client)
	n, tag := s.table.locate(key)
	lock := s.table.lock(n)
	lock.Lock()
	defer lock.Unlock()
	var subject Subject
	i := s.table.bucket(n).find(key, tag)
	if i >= 0 {
		s.table.bucket(n).read(i, &subject)
	}
	slot := subject.slot(IDOf(t.Name), now)
	before := *slot
	counted, free := slot.add(t, a, path, now)
	if !counted {
		return Result{Ignored: IgnoredRepeated, Points: slot.PointsAt(t, now)}
	}
	// a network that has its share already would displace at the others what is kept here
	if _, crowded := s.table.put(n, i, key, tag, &subject, 0, math.Inf(1), now); !crowded {
		s.queue.add(pair{key, slot.ID}, t, a, before)
	}
	return Result{Counted: true, Free: free, Points: slot.PointsAt(t, now)}
}

// Find copies what is remembered of the subject of addr. It returns false if that is nothing. It
// takes no lock and does not allocate.
func (s *Store) Find(addr netip.Addr, into *Subject) bool {
	var good uint64
	if !s.table.get(record.KeyOf(addr), into, &good) {
		return false
	}
	into.Good = 0
	if good != 0 {
		into.Good = goodOf(good, dayOf(s.now()))
	}
	return true
}

// Has reports whether anything is remembered of the subject of addr. It is meant to be asked for each
// request: it takes no lock, and of an address that is not in the table it touches one cache line.
func (s *Store) Has(addr netip.Addr) bool {
	key := record.KeyOf(addr)
	n, tag := s.table.locate(key)
	return s.table.bucket(n).find(key, tag) >= 0
}

// CountGood counts a good answer to a client that is in the table. Others are not counted. It takes
// no lock and does not allocate.
func (s *Store) CountGood(addr netip.Addr) {
	n, tag := s.table.locate(record.KeyOf(addr))
	b := s.table.bucket(n)
	if i := b.find(record.KeyOf(addr), tag); i >= 0 {
		b.countGood(i, dayOf(s.now()))
	}
}

// Forget deletes what is remembered of the subject of addr, and reports whether there was anything.
// It is soon deleted on disk, too.
func (s *Store) Forget(addr netip.Addr) bool { return s.ForgetUntil(addr, s.now()) }

// ForgetUntil deletes the violations of the subject of addr that are not continued after a time, and
// reports whether there were any.
func (s *Store) ForgetUntil(addr netip.Addr, until time.Time) bool {
	found := s.forgetUntil(record.KeyOf(addr), until, s.now())
	if found {
		s.markChanged()
		select {
		case s.save <- struct{}{}:
		default: // it is about to be saved
		}
		s.watchers.call(addr)
	}
	return found
}

func (s *Store) forgetUntil(key record.Key, until, now time.Time) (found bool) {
	n, tag := s.table.locate(key)
	lock := s.table.lock(n)
	lock.Lock()
	defer lock.Unlock()
	s.queue.forget(key, until)
	i := s.table.bucket(n).find(key, tag)
	if i < 0 {
		return false
	}
	var subject, left Subject
	s.table.bucket(n).read(i, &subject)
	kept := 0
	for _, slot := range subject.Slots {
		switch {
		case slot.Last == 0:
		case slot.Last <= record.Seconds(until) || slot.future(now): // a clock that was wrong continues nothing
			found = true
		default:
			left.Slots[kept] = slot
			kept++
		}
	}
	switch {
	case kept == 0:
		s.table.remove(n, i)
	case found:
		s.table.put(n, i, key, tag, &left, 0, 0, now)
	}
	return found
}

// Each calls f for each subject, with its first address. The store may change meanwhile.
func (s *Store) Each(f func(addr netip.Addr, s *Subject)) {
	today := dayOf(s.now())
	s.table.each(func(key record.Key, subject *Subject, good uint64) {
		subject.Good = goodOf(good, today)
		f(key.Subject().Addr(), subject)
	})
}

// Status returns what the store holds.
func (s *Store) Status() Status {
	return Status{
		Clients: int(s.table.used.Load()), Capacity: s.table.capacity(), Evictions: s.table.evictions.Load(),
		LastHour: s.added.counts(s.now()),
	}
}

// markChanged writes only once: many processors share the line.
func (s *Store) markChanged() {
	if !s.changed.Load() {
		s.changed.Store(true)
	}
}
