package violation

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// Options are the settings of a Store. The zero Options are valid.
type Options struct {
	// Logger receives messages for the operator. Default: nothing is logged.
	Logger *slog.Logger

	// Subjects is for about how many subjects there is room. Default: 65,536.
	Subjects int

	// Detached opens the store with the content of the file, which is not written before Attach.
	Detached bool

	// now is the clock. Tests set it.
	now func() time.Time
}

// Store remembers the violations of a bounded number of subjects. It is safe for concurrent use.
// Configurations share it across reloads.
type Store struct {
	now func() time.Time

	mu       sync.RWMutex
	subjects map[record.Key]*Subject

	watchers watchers
}

// Status is what a Store holds.
type Status struct {
	Clients   int    // subjects with violations
	Capacity  int    // subjects that there is room for
	Evictions uint64 // subjects that were forgotten for others, since the start
}

// Open returns the store of the file at path; without a path, one that is only in memory.
func Open(path string, o Options) *Store {
	s := &Store{now: o.now, subjects: map[record.Key]*Subject{}}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// Close saves what is remembered.
func (s *Store) Close() error { return nil }

// Attach makes the file the store's own.
func (s *Store) Attach() {}

// Detach leaves the file to another process.
func (s *Store) Detach() {}

// Add counts a violation. It never waits for the disk or the network.
func (s *Store) Add(t *Terms, a Act) Result {
	result := s.add(t, &a)
	if result.Counted {
		s.watchers.call(a.Client)
	}
	return result
}

func (s *Store) add(t *Terms, a *Act) Result {
	now := s.now()
	if a.At.IsZero() || a.At.After(now) {
		a.At = now
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := record.KeyOf(a.Client)
	subject := s.subjects[key]
	if subject == nil {
		subject = new(Subject)
		s.subjects[key] = subject
	}
	slot := subject.slot(IDOf(t.Name), now)
	counted := slot.add(t, a, hashOf(a.Path), now)
	return Result{Counted: counted, Points: slot.PointsAt(t, now)}
}

// slot returns the slot of a violation, or an empty one, in place of the weakest if need be.
func (s *Subject) slot(id ID, now time.Time) *Slot {
	if found := s.Find(id); found != nil {
		return found
	}
	weakest := &s.Slots[0]
	for i := range s.Slots {
		slot := &s.Slots[i]
		if slot.Last == 0 {
			return slot
		}
		if slot.worth(now) < weakest.worth(now) {
			weakest = slot
		}
	}
	*weakest = Slot{}
	return weakest
}

// worth is what the slot is kept for: its points and, where those are equal, how many violations
// there were.
func (s *Slot) worth(now time.Time) float64 {
	left := s.left(time.Duration(s.HalfLife)*time.Second, now)
	return left * (float64(s.Points) + float64(s.Count)/(2*maxThousandths))
}

// Find copies what is remembered of the subject of addr. It returns false if that is nothing. It
// takes no lock and does not allocate.
func (s *Store) Find(addr netip.Addr, into *Subject) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	found := s.subjects[record.KeyOf(addr)]
	if found == nil {
		return false
	}
	*into = *found
	return true
}

// CountGood counts a good answer to a client that is in the table. Others are not counted.
func (s *Store) CountGood(addr netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.subjects[record.KeyOf(addr)]; found != nil {
		found.Good++
	}
}

// Forget deletes what is remembered of the subject of addr, and reports whether there was anything.
func (s *Store) Forget(addr netip.Addr) bool { return s.ForgetUntil(addr, s.now()) }

// ForgetUntil deletes the violations of the subject of addr up to a time, and reports whether there
// were any.
func (s *Store) ForgetUntil(addr netip.Addr, until time.Time) bool {
	s.mu.Lock()
	key := record.KeyOf(addr)
	_, found := s.subjects[key]
	delete(s.subjects, key)
	s.mu.Unlock()
	if found {
		s.watchers.call(addr)
	}
	return found
}

// Each calls f for each subject. The address is the first one of a subject.
func (s *Store) Each(f func(addr netip.Addr, s *Subject)) {
	s.mu.RLock()
	all := make(map[record.Key]Subject, len(s.subjects))
	for key, subject := range s.subjects {
		all[key] = *subject
	}
	s.mu.RUnlock()
	for key, subject := range all {
		f(key.Subject().Addr(), &subject)
	}
}

// Status returns what the store holds.
func (s *Store) Status() Status {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Status{Clients: len(s.subjects)}
}
