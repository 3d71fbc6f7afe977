package ban

import (
	"errors"
	"fmt"
	"slices"
)

// Attach makes the file the store's own: it takes over the changes in it, and writes it from now
// on. Of two changes to one kind and prefix, the later one wins.
func (s *Store) Attach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.detached {
		return
	}
	s.detached = false
	now := s.now()
	theirs, unusable, err := readFile(s.path, now)
	if err != nil && !errors.Is(err, errDamaged) {
		s.log.Error("the bans and exemptions of the process before cannot be read", "file", s.path, "error", err)
	}
	ours := s.state().at(now)
	lists := slices.Concat(theirs.live[0], theirs.live[1], theirs.tombstones[0], theirs.tombstones[1])
	m := compare(&ours, entriesOf(lists, stored.Join), now)
	m.dropSurplus(&ours, now)
	if m.taken.len() > 0 {
		s.publish(ours.with(m.taken, now))
		s.resetTimer()
		s.logMerged(m.effects, now)
		s.changed.Notify()
	}
	if err == nil && unusable > 0 {
		err = fmt.Errorf("%d entries are not usable", unusable)
	}
	switch {
	case err != nil && (unusable > 0 || errors.Is(err, errDamaged)):
		s.setAside(err)
	case s.unsaved:
		_ = s.save() // save logs its error, and writing is tried again
	}
}

// Detach leaves the file to another process. Changes are in force, and not on disk.
func (s *Store) Detach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.detached = true
}
