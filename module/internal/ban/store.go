// Package ban stores the prefixes that are banned or exempt while the server runs: with a reason,
// temporarily or permanently, in memory and on disk, on one or several instances. Operators make
// entries by Add, rules and violations by Punish.
//
// Requests read an immutable snapshot. Add, Remove and Punish build a new one, which is in force when
// they return. The cost of a change grows with the number of entries: the package suits bans by people
// and scripts, and those of rules many at a time. Long lists belong in a deny file or a feed.
//
// Instances exchange changes through package replica: of two changes to the same kind and prefix,
// the later one wins. A removal leaves a tombstone, and so does an entry that ends after it
// replaced a longer one. An instance that missed the change then cannot bring back the old entry.
package ban

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/atomicfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

const (
	// maxEntries is the maximum number of entries, and of tombstones. It limits memory and the time
	// of a change.
	maxEntries = 100_000

	// maxPause is how long the store's goroutine sleeps at most, since its timer does not notice a
	// change of the clock or a suspended machine. It is also how often a failed write is tried
	// again.
	maxPause = time.Minute

	// saveInterval is for how long bans that no operator made are gathered before they are written.
	saveInterval = time.Second
)

// Errors that Add and Remove return, wrapped.
var (
	// ErrNotSaved: the change is in force, but not on disk, so that a restart would undo it.
	// Writing is tried again every minute, at the next change, by Close and by Attach.
	ErrNotSaved = errors.New("in force, but not on disk")

	// ErrDetached is why: the store is detached. Attach writes the change.
	ErrDetached = errors.New("another process uses the data folder")

	// ErrClosed: the store is closed and refuses changes.
	ErrClosed = errors.New("the store of bans is closed")
)

var errFull = fmt.Errorf("there are %d entries already: put long lists into a deny or exempt file, or a feed",
	maxEntries)

// Options are the settings of a Store. The zero Options are valid.
type Options struct {
	// Logger receives messages for the operator. Default: nothing is logged.
	Logger *slog.Logger

	// Detached opens the store with the content of the file, which is not written before Attach.
	Detached bool

	// now is the clock. Tests set it.
	now func() time.Time
}

// Store is the set of bans and exemptions. It is safe for concurrent use. Only one Store may use a
// file at a time: configurations share it across reloads.
type Store struct {
	path string
	log  *slog.Logger
	now  func() time.Time

	current atomic.Pointer[snapshot] // nil: no entries in force

	mu         sync.Mutex // locked by changes, with their write, never by Lookup, Find, List and Len
	tombstones entries    // tombstones
	unsaved    bool       // the file lacks a change
	saveAt     time.Time  // when to write changes that can wait; zero if there are none
	detached   bool       // the file belongs to another process
	closed     bool
	skipped    replica.Skipped
	future     time.Time // since when there are changes of the future; zero if there are none

	changed          replica.Signal
	wake, stop, done chan struct{}
}

// Open returns the store of the file at path; without a path, one that is only in memory. The
// caller must Close it. It omits entries that have ended.
//
// A damaged file is not an error, because the server must start. The file is renamed to end in
// ".damaged", which is logged, and its valid entries are loaded. An unreadable file is an error,
// since the next write would overwrite it.
func Open(path string, o Options) (*Store, error) {
	s := &Store{
		path: path,
		log:  o.Logger,
		now:  o.now,

		detached: o.Detached,

		wake: make(chan struct{}, 1),
		stop: make(chan struct{}),
		done: make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if path != "" {
		if err := s.load(); err != nil {
			return nil, fmt.Errorf("reading the bans and exemptions: %w: "+
				"make the file readable for the server, or move it away", err)
		}
	}
	go s.run()
	return s, nil
}

func (s *Store) load() error {
	all, unusable, err := readFile(s.path, s.now())
	if err != nil && !errors.Is(err, errDamaged) {
		return err
	}
	s.publish(all)
	if err == nil && unusable > 0 {
		err = fmt.Errorf("%d entries are not usable", unusable)
	}
	if err != nil && !s.detached {
		s.setAside(err)
	}
	return nil
}

// setAside renames the damaged file and writes its valid entries to a new one.
func (s *Store) setAside(damage error) {
	aside := s.path + ".damaged"
	all := s.state()
	s.log.Error("the file of bans and exemptions is damaged and is set aside",
		"file", aside, "kept", all.live.len(), "error", damage)
	if err := os.Rename(s.path, aside); err != nil {
		s.log.Error("setting the damaged file aside; the next change will overwrite it", "error", err)
		return
	}
	_ = s.save() // save logs its error
}

// Lookup reports whether addr is banned or exempt. An exemption beats a ban, so at most one is
// true. Lookup takes no lock and does not allocate; without entries it is one atomic load. An entry
// may stay in force for some milliseconds after its end, until the timer removes it. IPv4-mapped
// addresses count as IPv4; zones are ignored.
func (s *Store) Lookup(addr netip.Addr) (banned, exempt bool) {
	now := s.current.Load()
	if now == nil {
		return false, false
	}
	lists := now.index.Members(now.index.Lookup(addr))
	if len(lists) == 0 {
		return false, false
	}
	exempt = lists[0] == exemptionList // lists is sorted
	return !exempt, exempt
}

// Find returns the entries that contain addr: exemptions before bans, each from the narrowest to
// the broadest prefix.
func (s *Store) Find(addr netip.Addr) []Entry {
	now := s.current.Load()
	addr = addr.Unmap().WithZone("")
	if now == nil {
		return nil
	}
	var found []Entry
	for _, kind := range []Kind{Exemption, Ban} {
		for bits := addr.BitLen(); bits >= 0; bits-- {
			if e, ok := now.entries.get(kind, netip.PrefixFrom(addr, bits).Masked()); ok {
				found = append(found, e.Entry)
			}
		}
	}
	return found
}

// BanOf returns the narrowest ban that holds addr now.
func (s *Store) BanOf(addr netip.Addr) (Entry, bool) {
	for _, entry := range s.Find(addr) {
		if entry.Kind == Ban {
			return entry, true
		}
	}
	return Entry{}, false
}

// List returns all entries of a kind, sorted by prefix, IPv4 first.
func (s *Store) List(kind Kind) []Entry {
	now := s.current.Load()
	if now == nil || !kind.valid() {
		return nil
	}
	list := make([]Entry, 0, len(*now.entries.of(kind)))
	for _, e := range *now.entries.of(kind) {
		list = append(list, e.Entry)
	}
	return list
}

// Len returns the number of entries of a kind.
func (s *Store) Len(kind Kind) int {
	if now := s.current.Load(); now != nil && kind.valid() {
		return len(*now.entries.of(kind))
	}
	return 0
}

// Add bans or exempts a prefix. It replaces an entry of the same kind and prefix. It returns the
// entry as stored: the prefix unmapped and without host bits, the times in whole seconds. A zero
// Created means now. Expires, if set, becomes at least one second after Created.
//
// When Add returns, the entry is in force and on disk. If only writing failed, Add returns the
// entry and an error that wraps ErrNotSaved: the ban is useful even before the disk works again.
// After any other error nothing has changed.
func (s *Store) Add(e Entry) (Entry, error) {
	now := s.now()
	if e.Created.IsZero() {
		e.Created = now
	}
	given := e
	e, err := e.normalize()
	if err != nil {
		return Entry{}, fmt.Errorf("adding an entry: %w", err)
	}
	if !given.Expires.IsZero() && (given.Expires.Sub(given.Created) < time.Second || !given.Expires.After(now)) {
		return Entry{}, fmt.Errorf("adding the %s of %s: it would end at once: let it last for 1s or more", e.Kind, e.Prefix)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Entry{}, fmt.Errorf("adding the %s of %s: %w", e.Kind, e.Prefix, ErrClosed)
	}
	all := s.state().at(now)
	change := stored{Entry: e, Version: now.UnixMilli()}
	if before, known := all.get(e.Kind, e.Prefix); known {
		change.Version = replica.NextVersion(now, before.Version)
		change = change.Join(before)
	}
	next := all.change(change, now)
	if next.live.len() > maxEntries {
		return Entry{}, fmt.Errorf("adding the %s of %s: %w", e.Kind, e.Prefix, errFull)
	}
	s.publish(next)
	s.resetTimer()
	s.changed.Notify()
	return e, s.save()
}

// Remove ends the entry of a kind and prefix, and reports whether there was one. One that is over and
// only remembered counts, too: it is forgotten. As in Add, an error that wraps ErrNotSaved means that
// the removal is in force, but that a restart would undo it.
func (s *Store) Remove(kind Kind, p netip.Prefix) (bool, error) {
	p, err := canonical(p)
	if err != nil || !kind.valid() {
		return false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false, fmt.Errorf("removing the %s of %s: %w", kind, p, ErrClosed)
	}
	all, now := s.state(), s.now()
	before, found := all.live.get(kind, p)
	if !found {
		before, found = all.tombstones.get(kind, p)
		if !found || !before.remembered().After(now) {
			return false, nil
		}
	}
	s.publish(all.change(before.tombstone(replica.NextVersion(now, before.Version)), now))
	s.changed.Notify()
	return true, s.save()
}

// Close ends the store's goroutine and writes unsaved changes. Lookup still works, but entries no
// longer end. A second call does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.stop)
	s.mu.Unlock()
	<-s.done

	s.mu.Lock()
	defer s.mu.Unlock()
	if (s.unsaved || !s.saveAt.IsZero()) && !s.detached {
		return s.save()
	}
	return nil
}

// state returns the state. The caller holds s.mu.
func (s *Store) state() state {
	all := state{tombstones: s.tombstones}
	if now := s.current.Load(); now != nil {
		all.live = now.entries
	}
	return all
}

// publish puts a state into force. The caller holds s.mu, except in Open.
func (s *Store) publish(all state) {
	s.tombstones = all.tombstones
	if all.live.len() == 0 {
		s.current.Store(nil)
		return
	}
	s.current.Store(s.current.Load().next(all.live))
}

// saveSoon lets the goroutine write the state to disk, once for all changes that come within
// saveInterval. The caller wakes it.
func (s *Store) saveSoon(now time.Time) {
	if s.saveAt.IsZero() {
		s.saveAt = now.Add(saveInterval)
	}
}

// save writes the state to disk.
func (s *Store) save() error {
	s.saveAt = time.Time{}
	if s.path == "" {
		return nil
	}
	if s.detached {
		s.unsaved = true
		return fmt.Errorf("%w: %w", ErrNotSaved, ErrDetached)
	}
	data, err := encode(s.state())
	if err == nil {
		err = atomicfile.WriteBytes(s.path, data)
	}
	behind := s.unsaved
	s.unsaved = err != nil
	if err != nil {
		if !behind {
			s.log.Error("writing the bans and exemptions", "file", s.path, "error", err)
		}
		return fmt.Errorf("%w: %w", ErrNotSaved, err)
	}
	return nil
}
