package tombstone

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

// Options are the settings of a Store. The zero Options are valid.
type Options struct {
	// Logger receives messages for the operator. Default: nothing is logged.
	Logger *slog.Logger

	// Detached opens the store with the content of the file, which is not written before Attach.
	Detached bool

	// OnMerge, if set, is called with each new tombstone of another instance. It may call the Store.
	OnMerge func(Tombstone)

	// now is the clock. Tests set it.
	now func() time.Time
}

// Store holds the tombstones of one instance. It is safe for concurrent use.
type Store struct {
	path    string
	log     *slog.Logger
	onMerge func(Tombstone)
	now     func() time.Time

	mu       sync.Mutex
	all      *replica.Map[Tombstone]
	skipped  replica.Skipped
	detached bool // the file belongs to another process
	unsaved  bool // it lacks a change, for that reason

	changed, pending replica.Signal
}

var _ replica.Peer = (*Store)(nil)

// Open returns the store of the file at path; without a path, one that is only in memory. It need
// not be closed. If the file cannot be read, that is logged, and the store is empty: the server
// must start.
func Open(path string, o Options) *Store {
	s := &Store{
		path: path, log: o.Logger, onMerge: o.OnMerge, now: o.now, all: replica.NewMap[Tombstone](maxTombstones),
		detached: o.Detached,
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.onMerge == nil {
		s.onMerge = func(Tombstone) {}
	}
	if s.now == nil {
		s.now = time.Now
	}
	if path != "" {
		s.load()
	}
	return s
}

// Add adds a tombstone for a subject that was deleted at the given time. If pending is true, the
// subject is not yet deleted in Redis: Settle deletes it there before other instances receive the
// tombstone.
func (s *Store) Add(subject netip.Prefix, at time.Time, pending bool) {
	s.mu.Lock()
	version := replica.NextVersion(at, s.all.Version(subject.String()))
	s.all.Put(Tombstone{subject, at.UTC().Truncate(time.Second), version, pending})
	s.save()
	s.mu.Unlock()
	if pending {
		s.pending.Notify()
	} else {
		s.changed.Notify()
	}
}

// Attach makes the file the store's own: it takes over what is in it, as Merge does, and writes it
// from now on.
func (s *Store) Attach() {
	for _, t := range s.attach() {
		s.onMerge(t)
	}
}

func (s *Store) attach() (taken []Tombstone) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.detached {
		return nil
	}
	s.detached = false
	list, _ := readFile(s.path, s.now()) // Open has logged why it is of no use
	taken, _ = s.all.Merge(list)
	if s.unsaved {
		s.save()
	}
	return taken
}

// Detach leaves the file to another process.
func (s *Store) Detach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.detached = true
}

// PendingChanged returns a channel that is closed when Add next adds a pending tombstone.
func (s *Store) PendingChanged() <-chan struct{} { return s.pending.Changed() }

// Settle calls forget for each pending subject, and then sends the tombstone to the other
// instances. It stops at the first error: the rest stays pending.
func (s *Store) Settle(ctx context.Context, forget func(context.Context, netip.Prefix) error) error {
	s.mu.Lock()
	all := s.all.All()
	s.mu.Unlock()
	for _, t := range all {
		if !t.Pending {
			continue
		}
		if err := forget(ctx, t.Subject); err != nil {
			return fmt.Errorf("forgetting %s in the shared memory: %w", t.Subject, err)
		}
		s.settled(t)
	}
	return nil
}

// settled removes the pending mark, unless the subject was deleted again meanwhile.
func (s *Store) settled(t Tombstone) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now, found := s.all.Get(t.Subject.String()); found && now.Version == t.Version {
		now.Pending = false
		s.all.Put(now)
		s.save()
		s.changed.Notify()
	}
}

// Entries implements replica.Peer. It omits pending tombstones.
func (s *Store) Entries() []replica.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.correct(now)
	entries := make([]replica.Entry, 0, s.all.Len())
	for _, t := range s.all.All() {
		if !t.Pending && !t.expired(now) {
			entries = append(entries, t.entry())
		}
	}
	return entries
}

// correct makes tombstones of the future present ones: the others would not take them. The caller
// holds s.mu.
func (s *Store) correct(now time.Time) {
	corrected := false
	for _, t := range s.all.All() {
		if t.ofFuture(now) {
			s.all.Put(t.madeNow(now))
			corrected = true
		}
	}
	if corrected {
		s.save()
	}
}

// Changed implements replica.Peer.
func (s *Store) Changed() <-chan struct{} { return s.changed.Changed() }

// Merge implements replica.Peer. It skips invalid entries, and logs that once a minute.
func (s *Store) Merge(entries []replica.Entry) (better bool) {
	taken, better := s.merge(entries)
	for _, t := range taken {
		s.onMerge(t)
	}
	return better
}

func (s *Store) merge(entries []replica.Entry) (taken []Tombstone, better bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	given := make([]Tombstone, 0, len(entries))
	for _, e := range entries {
		t, err := parseEntry(e, now)
		switch {
		case err != nil:
			s.skipped.Add(1, fmt.Errorf("the tombstone %.100q: %w", e.Name, err))
		case !t.expired(now):
			given = append(given, t)
		}
	}
	s.skipped.Log(s.log, now)
	taken, newer := s.all.Merge(given)
	if len(taken) > 0 {
		s.save()
	}
	return taken, len(newer) > 0
}
