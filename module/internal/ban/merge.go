package ban

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	// maxAhead is how far ahead of this instance's clock a change can have been made: one broken clock must not win for
	// ever.
	maxAhead = 24 * time.Hour

	// shownName bounds what an error repeats of a name that is somebody else's.
	shownName = 100
)

// Change is the last change to a kind and prefix, as instances tell each other of it: an entry, or the removal of one.
type Change struct {
	// Name is the kind and the prefix, such as "ban 203.0.113.0/24": a change takes the place of others of its name.
	Name string

	// Version orders changes of the same name: the one with the largest Version holds, and of those with the same
	// Version the one with the largest Value, compared by byte. It is the time of the change in Unix milliseconds, or
	// more if the clock was behind.
	Version int64

	// Expires is when the change can be forgotten, in whole seconds. The zero time means that it cannot. Merge does not
	// read it.
	Expires time.Time

	// Value is the entry as one line of JSON, as in the file: prefix, kind, reason, created, expires, version, removed.
	// It has less than 2 KiB.
	Value []byte
}

// change returns e as instances tell each other of it.
func (e stored) change() Change {
	c := Change{Name: e.name(), Version: e.Version, Value: e.value()}
	if e.Removed || !e.Expires.IsZero() {
		c.Expires = latest(e.Expires, e.Keep)
	}
	return c
}

// parse returns what the change says. It is foreign: it can be anything.
func (c Change) parse(now time.Time) (stored, error) {
	if len(c.Value) > maxLine {
		return stored{}, fmt.Errorf("it has %d bytes, %d at most can be an entry", len(c.Value), maxLine)
	}
	e, err := parse(c.Value)
	if err != nil {
		return stored{}, err
	}
	e.Keep = time.Time{} // each instance finds it out by itself
	if e.name() != c.Name || e.Version != c.Version {
		return stored{}, fmt.Errorf("it is version %d of %q, not %d", e.Version, e.name(), c.Version)
	}
	if ahead := time.UnixMilli(e.Version).Sub(now); ahead > maxAhead {
		return stored{}, fmt.Errorf("it is of %s from now: compare the clocks of the instances", ahead.Round(time.Minute))
	}
	return e, nil
}

// Changes returns the last change to each kind and prefix, as far as they are remembered, in no order that counts.
func (s *Store) Changes() []Change {
	s.mu.Lock()
	all := s.state().at(s.now())
	s.mu.Unlock()
	changes := make([]Change, 0, all.live.len()+all.past.len())
	for _, list := range [][]stored{all.live[0], all.live[1], all.past[0], all.past[1]} {
		for _, e := range list {
			changes = append(changes, e.change())
		}
	}
	return changes
}

// Changed returns a channel from which a value can be received when Add or Remove has changed something since one was
// received last; then Changes has it. What Merge changes does not count: the others have it already. There is one channel,
// for one receiver. It is never closed.
func (s *Store) Changed() <-chan struct{} { return s.changed }

// Tell makes Changed ready: who has received last may not have got to telling the others.
func (s *Store) Tell() { s.tell() }

func (s *Store) tell() {
	select {
	case s.changed <- struct{}{}:
	default: // it is
	}
}

// Merge takes over the changes of other instances that are newer than what is known here. It returns how many entries
// in force were thereby added, replaced or ended, and what is known here that is newer than what was given under its
// name. What was not given in any version is not returned: Changes has that.
//
// The same goes for changes as for Add, or they are skipped, which is logged once a minute: malformed ones, those that
// were made more than a day ahead of the clock, and new entries for which there is no room. Merge may be given changes in
// any order, again, and late: stores that go on to be given each other's Changes come to have the same entries in force.
//
// When Merge returns, Lookup answers accordingly, and what is new is on disk. If only the latter failed, the error wraps
// ErrNotSaved, as for Add. However many changes there are, the index is built and the file is written once at most, and
// not at all if nothing is new. After Close nothing happens, and the error wraps ErrClosed.
func (s *Store) Merge(changes []Change) (changed int, newer []Change, err error) {
	now := s.now()
	given, unusable := parseAll(changes, now)

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, nil, fmt.Errorf("merging %d changes: %w", len(changes), ErrClosed)
	}
	all := s.state().at(now)
	m := compare(&all, given, now)
	s.skipped.add(unusable)
	s.skipped.add(m.fit(&all, now))
	s.tellSkipped(now)
	if m.taken.len() == 0 {
		return 0, m.newer, nil
	}
	s.publish(all.with(m.taken, now))
	s.poke()
	s.logMerged(m.effects, now)
	return len(m.effects), m.newer, s.save()
}

// parseAll returns the newest usable change of each name.
func parseAll(changes []Change, now time.Time) (given entries, unusable skipped) {
	list := make([]stored, 0, len(changes))
	for _, c := range changes {
		e, err := c.parse(now)
		if err != nil {
			unusable.add(skipped{1, fmt.Errorf("the change %.*q: %w", shownName, c.Name, err)})
			continue
		}
		list = append(list, e)
	}
	return entriesOf(list, stored.join), unusable
}

// merging is what comes of comparing the changes of others with what is known here.
type merging struct {
	taken   entries  // what is to take the place of what is known
	effects []stored // those of taken that change what is in force
	surplus int      // how many entries in force there would be too many
	newer   []Change // what is known, and newer than what was given
}

func compare(all *state, given entries, now time.Time) (m merging) {
	m.surplus = all.live.len() - maxEntries
	full := int64(-1) // up to this version there is no room for what is over: it would be the first to go
	if all.past.len() >= maxEntries {
		full = all.past.oldest()
	}
	for i, list := range given {
		for _, theirs := range list {
			ours, known := all.get(theirs.Kind, theirs.Prefix)
			next := theirs
			if known {
				next = ours.join(theirs)
			}
			if known && ours.newer(theirs) {
				m.newer = append(m.newer, ours.change())
			}
			if next == ours || !known && (theirs.forgotten(now) || theirs.over(now) && theirs.Version <= full) {
				continue
			}
			m.taken[i] = append(m.taken[i], next)
			before, after := known && !ours.over(now), !next.over(now)
			if (before || after) && !next.same(ours) {
				m.effects = append(m.effects, next)
			}
			switch {
			case after && !before:
				m.surplus++
			case before && !after:
				m.surplus--
			}
		}
	}
	return m
}

// fit takes back the new entries for which there is no room: the latest ones, which Add would have refused.
func (m *merging) fit(all *state, now time.Time) skipped {
	if m.surplus <= 0 {
		return skipped{}
	}
	var added []stored
	for _, e := range m.effects {
		if _, before := all.live.find(e.Kind, e.Prefix); !before && !e.over(now) {
			added = append(added, e)
		}
	}
	slices.SortFunc(added, func(a, b stored) int { return cmp.Compare(b.Version, a.Version) })
	late := make(map[string]bool, m.surplus)
	for _, e := range added[:m.surplus] {
		late[e.name()] = true
	}
	isLate := func(e stored) bool { return late[e.name()] }
	m.taken = m.taken.without(isLate)
	m.effects = slices.DeleteFunc(m.effects, isLate)
	return skipped{m.surplus, errFull}
}

// logMerged says what other instances did to the entries in force.
func (s *Store) logMerged(effects []stored, now time.Time) {
	switch {
	case len(effects) > 1:
		s.log.Info("bans and exemptions changed by other instances", "count", len(effects))
	case len(effects) == 1:
		e := effects[0]
		attributes := []any{"kind", e.Kind.String(), "prefix", e.Prefix.String(), "reason", e.Reason}
		if e.over(now) {
			s.log.Info("removed by another instance", attributes...)
		} else {
			s.log.Info("added by another instance", attributes...)
		}
	}
}

// skipped are changes of others that were not taken over.
type skipped struct {
	count int
	why   error // of the last one
}

func (s *skipped) add(others skipped) {
	if others.count > 0 {
		s.count += others.count
		s.why = others.why
	}
}

// tellSkipped logs what was skipped, once a minute. s.mu is held.
func (s *Store) tellSkipped(now time.Time) {
	if s.skipped.count == 0 || !s.logged.Allow("skipped", now) {
		return
	}
	s.log.Warn("changes by other instances were skipped", "count", s.skipped.count, "error", s.skipped.why)
	s.skipped = skipped{}
}
