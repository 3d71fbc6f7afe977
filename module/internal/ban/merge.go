package ban

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

var _ replica.Peer = (*Store)(nil)

// shownName bounds what an error repeats of a foreign name.
const shownName = 100

// entry returns e as instances exchange it: under its kind and prefix, such as "ban 203.0.113.0/24", with the line of
// the file, but for Keep, as the value.
func (e stored) entry() replica.Entry {
	entry := replica.Entry{Name: e.name(), Version: e.Version, Value: e.value()}
	if e.Removed || !e.Expires.IsZero() {
		entry.Expires = latest(e.Expires, e.Keep)
	}
	return entry
}

// parseEntry reads an entry of another instance. It is foreign: it can be anything. What it says of Expires does not
// count.
func parseEntry(entry replica.Entry, now time.Time) (stored, error) {
	if len(entry.Value) > maxLine {
		return stored{}, fmt.Errorf("it has %d bytes, %d at most can be an entry", len(entry.Value), maxLine)
	}
	e, err := parse(entry.Value)
	if err != nil {
		return stored{}, err
	}
	e.Keep = time.Time{} // each instance finds it out by itself
	if e.name() != entry.Name || e.Version != entry.Version {
		return stored{}, fmt.Errorf("it is version %d of %q, not %d", e.Version, e.name(), entry.Version)
	}
	return e, entry.Check(now)
}

// Entries implements replica.Peer: the last change to each kind and prefix, as far as they are remembered.
func (s *Store) Entries() []replica.Entry {
	s.mu.Lock()
	all := s.state().at(s.now())
	s.mu.Unlock()
	entries := make([]replica.Entry, 0, all.live.len()+all.past.len())
	for _, list := range [][]stored{all.live[0], all.live[1], all.past[0], all.past[1]} {
		for _, e := range list {
			entries = append(entries, e.entry())
		}
	}
	return entries
}

// Changed implements replica.Peer: the channel is closed when Add or Remove changes something.
func (s *Store) Changed() <-chan struct{} { return s.changed.Changed() }

// Merge implements replica.Peer. It takes over the changes of other instances that are newer than what is known here,
// and reports whether something is known that is newer than what was given under its name.
//
// The same goes for changes as for Add, or they are skipped, which is logged once a minute: malformed ones, those
// that were made more than a day ahead of the clock, and new entries for which there is no room. Stores that go on to
// be given each other's Entries come to have the same entries in force.
//
// When Merge returns, Lookup answers accordingly, and what is new is on disk. If the disk fails, the changes are in
// force all the same, and writing is tried again, as for Add. However many changes there are, the index is built and
// the file is written once at most, and not at all if nothing is new. After Close nothing happens.
func (s *Store) Merge(entries []replica.Entry) (better bool) {
	_, newer, _ := s.merge(entries) // a failed write is logged, and tried again
	return len(newer) > 0
}

// merge is Merge. It returns how many entries in force were added, replaced or ended, and what is newer here. If only
// writing the file failed, the error wraps ErrNotSaved; after Close it wraps ErrClosed.
func (s *Store) merge(entries []replica.Entry) (changed int, newer []replica.Entry, err error) {
	now := s.now()
	given, unusable, unusableErr := parseAll(entries, now)

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, nil, fmt.Errorf("merging %d changes: %w", len(entries), ErrClosed)
	}
	all := s.state().at(now)
	m := compare(&all, given, now)
	s.skipped.Add(unusable, unusableErr)
	s.skipped.Add(m.fit(&all, now), errFull)
	s.skipped.Log(s.log, now)
	if m.taken.len() == 0 {
		return 0, m.newer, nil
	}
	s.publish(all.with(m.taken, now))
	s.poke()
	s.logMerged(m.effects, now)
	return len(m.effects), m.newer, s.save()
}

// parseAll returns the newest usable change of each name, and how many were not usable, with the error of the last one.
func parseAll(list []replica.Entry, now time.Time) (given entries, unusable int, err error) {
	usable := make([]stored, 0, len(list))
	for _, entry := range list {
		e, parseErr := parseEntry(entry, now)
		if parseErr != nil {
			unusable++
			err = fmt.Errorf("the change %.*q: %w", shownName, entry.Name, parseErr)
			continue
		}
		usable = append(usable, e)
	}
	return entriesOf(usable, stored.Join), unusable, err
}

// merging is the outcome of comparing the changes of others with what is known here.
type merging struct {
	taken   entries         // what must take the place of what is known
	effects []stored        // those of taken that change what is in force
	surplus int             // how many entries in force there would be too many
	newer   []replica.Entry // what is known, and newer than what was given
}

func compare(all *state, given entries, now time.Time) (m merging) {
	m.surplus = all.live.len() - maxEntries
	full := int64(-1) // up to this version there is no room for what is over: it would be the first to go
	if all.past.len() >= maxEntries {
		full = all.past.oldest()
	}
	known := func(e stored) (stored, bool) { return all.get(e.Kind, e.Prefix) }
	for i, list := range given {
		taken, newer := replica.Merge(list, known)
		for _, ours := range newer {
			m.newer = append(m.newer, ours.entry())
		}
		for _, next := range taken {
			ours, found := known(next)
			if !found && (next.forgotten(now) || next.over(now) && next.Version <= full) {
				continue
			}
			m.taken[i] = append(m.taken[i], next)
			before, after := found && !ours.over(now), !next.over(now)
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

// fit takes back the new entries for which there is no room, and returns their number: the latest ones, which Add would
// have refused.
func (m *merging) fit(all *state, now time.Time) int {
	if m.surplus <= 0 {
		return 0
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
	return m.surplus
}

// logMerged logs what other instances did to the entries in force.
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
