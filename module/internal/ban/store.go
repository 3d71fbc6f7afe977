// Package ban stores the prefixes that operators ban or exempt while the server runs: with a reason, for a time or for
// good, in memory and on disk, on one instance or the same on several.
//
// Requests read an immutable snapshot; changes build the next one, which is in force when Add or Remove returns. A
// change costs time in proportion to the number of entries, which suits what people and scripts ban one by one; long
// lists belong in a deny file or a feed.
//
// Instances agree on them as package replica describes: of two changes to the same kind and prefix the later one
// holds everywhere. What was removed is remembered for a while, and so is an entry that is over but took the place of
// a longer one, so that an instance that missed the change cannot bring back what it still has.
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
	// maxEntries bounds memory, and with it the time that a change takes. As many removals are remembered at most.
	maxEntries = 100_000

	// maxPause bounds how long the store's goroutine sleeps, since its timer does not notice when the clock is set or
	// the machine was suspended. It is also how often writing the file is tried again after it failed.
	maxPause = time.Minute
)

// Errors that Add and Remove return, wrapped.
var (
	// ErrNotSaved: the change is in force, but could not be written to disk, so that a restart would undo it. Writing
	// is tried again every minute, at the next change and by Close.
	ErrNotSaved = errors.New("in force, but not on disk")

	// ErrClosed: the store takes no changes any more.
	ErrClosed = errors.New("the store of bans is closed")
)

var errFull = fmt.Errorf("there are %d entries already: put long lists into a deny or exempt file, or a feed",
	maxEntries)

// Options are the settings of a Store. The zero Options are valid.
type Options struct {
	// Logger gets what an operator must know. Default: nothing is logged.
	Logger *slog.Logger

	// now is the clock. Tests set it.
	now func() time.Time
}

// Store is the set of bans and exemptions. It is safe for concurrent use. Only one Store may use a file at a time, so
// that configurations share it over reloads.
type Store struct {
	path string
	log  *slog.Logger
	now  func() time.Time

	current atomic.Pointer[snapshot] // nil: there are no entries in force

	mu      sync.Mutex // held while a change is made and written, never by Lookup, Find, List and Len
	past    entries    // what is over but remembered
	unsaved bool       // the file is behind
	closed  bool
	skipped replica.Skipped

	changed          replica.Signal
	wake, stop, done chan struct{}
}

// Open returns the store of the file at path, or one in memory only when path is empty. The caller must Close it.
// Entries that are over are left out.
//
// A damaged file is not an error, because the server must start: it is renamed to end in ".damaged", which is logged,
// and its usable entries are loaded. A file that cannot be read is an error: going on would overwrite it.
func Open(path string, o Options) (*Store, error) {
	s := &Store{
		path: path,
		log:  o.Logger,
		now:  o.now,
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
	if err != nil {
		s.setAside(err)
	}
	return nil
}

// setAside moves the damaged file out of the way and writes what was usable of it.
func (s *Store) setAside(damage error) {
	aside := s.path + ".damaged"
	all := s.state()
	s.log.Error("the file of bans and exemptions is damaged and is set aside",
		"file", aside, "kept", all.live.len(), "error", damage)
	if err := os.Rename(s.path, aside); err != nil {
		s.log.Error("setting the damaged file aside; the next change will overwrite it", "error", err)
		return
	}
	_ = s.save() // it logs its own failure
}

// Lookup reports whether addr is banned or exempt; an exemption beats a ban, so that at most one is true. It takes no
// lock and allocates nothing; without entries it is one atomic load. An entry can act for some milliseconds after its
// end, until the timer has removed it. IPv4-mapped addresses count as IPv4, zones are ignored.
func (s *Store) Lookup(addr netip.Addr) (banned, exempt bool) {
	now := s.current.Load()
	if now == nil {
		return false, false
	}
	lists := now.index.Members(now.index.Lookup(addr))
	if len(lists) == 0 {
		return false, false
	}
	exempt = lists[0] == exemptionList // they are ascending
	return !exempt, exempt
}

// Find returns the entries that hold addr: exemptions before bans, each from the narrowest to the broadest prefix.
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

// List returns all entries of a kind in the order of their prefixes, IPv4 first.
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

// Add bans or exempts a prefix, in the place of an entry of the same kind and prefix if there is one, and returns the
// entry as it is stored: the prefix unmapped and without host bits, the times in whole seconds. Created is the present
// time when it is zero. Expires, when it is set, is at least one second after Created.
//
// When Add returns, Lookup answers accordingly and the entry is on disk. If only the latter failed, the error wraps
// ErrNotSaved and the entry is returned all the same: a ban is worth having until the disk is well. After any other
// error nothing has changed.
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
	s.poke()
	s.changed.Notify()
	return e, s.save()
}

// Remove ends the entry of a kind and prefix and reports whether there was one. As for Add, an error that wraps
// ErrNotSaved means that the removal is in force, but that the entry would be back after a restart.
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
	all := s.state()
	before, found := all.live.get(kind, p)
	if !found {
		return false, nil
	}
	now := s.now()
	s.publish(all.change(before.removed(replica.NextVersion(now, before.Version)), now))
	s.changed.Notify()
	return true, s.save()
}

// Close ends the store's goroutine and writes what is not on disk yet. Lookup goes on to answer, but entries do not end
// any more. Closing again does nothing.
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
	if s.unsaved {
		return s.save()
	}
	return nil
}

// state returns what is known. s.mu is held.
func (s *Store) state() state {
	all := state{past: s.past}
	if now := s.current.Load(); now != nil {
		all.live = now.entries
	}
	return all
}

// publish puts entries into force and remembers what is over. s.mu is held, but while the store is opened.
func (s *Store) publish(all state) {
	s.past = all.past
	if all.live.len() == 0 {
		s.current.Store(nil)
		return
	}
	s.current.Store(s.current.Load().next(all.live))
}

// save writes what is known to disk.
func (s *Store) save() error {
	if s.path == "" {
		return nil
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

// poke makes the goroutine look for the next end anew.
func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default: // it will
	}
}

// run removes entries that are over. It ends with Close.
func (s *Store) run() {
	defer close(s.done)
	retry := false
	for {
		timer := time.NewTimer(s.tend(retry))
		select {
		case <-timer.C:
			retry = true
		case <-s.wake: // by a change, which has tried to write the file itself
			retry = false
			timer.Stop()
		case <-s.stop:
			timer.Stop()
			return
		}
	}
}

// tend removes the entries that are over, writes the file again if that failed and retry is set, and returns when to
// look again. The file is not written for an entry that is over: the next change does that, and Open leaves it out.
func (s *Store) tend(retry bool) (pause time.Duration) {
	pause = maxPause
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("ending bans and exemptions panicked", "panic", r)
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	all := s.state()
	rest := all.at(now)
	s.past = rest.past
	if over := all.live.len() - rest.live.len(); over > 0 {
		s.publish(rest)
		s.log.Info("bans and exemptions are over", "count", over)
	}
	s.skipped.Log(s.log, now)
	if s.unsaved && retry {
		if err := s.save(); err == nil {
			s.log.Info("bans and exemptions are on disk again", "file", s.path)
		}
	}
	if next := rest.live.nextEnd(); !next.IsZero() {
		pause = min(pause, next.Sub(now))
	}
	return pause
}
