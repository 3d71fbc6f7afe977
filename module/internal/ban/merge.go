package ban

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

var _ replica.Peer = (*Store)(nil)

// maxShownName is how much of a foreign name an error repeats.
const maxShownName = 100

// entry returns e as a replica entry. Its name is the kind and prefix, such as "ban
// 203.0.113.0/24". Its value is the line of the file without Keep.
func (e stored) entry() replica.Entry {
	entry := replica.Entry{Name: e.name(), Version: e.Version, Value: e.value()}
	if e.Removed || !e.Expires.IsZero() {
		entry.Expires = latest(latest(e.Expires, e.Keep), e.remembered())
	}
	return entry
}

// parseEntry parses an entry of another instance, which can have any content. It ignores
// entry.Expires.
func parseEntry(entry replica.Entry, now time.Time) (stored, error) {
	if len(entry.Value) > maxLine {
		return stored{}, fmt.Errorf("it has %d bytes, %d at most can be an entry", len(entry.Value), maxLine)
	}
	e, err := parse(entry.Value)
	if err != nil {
		return stored{}, err
	}
	e.Keep = time.Time{} // each instance computes it
	if e.name() != entry.Name || e.Version != entry.Version {
		return stored{}, fmt.Errorf("it is version %d of %q, not %d", e.Version, e.name(), entry.Version)
	}
	return e, entry.Check(now)
}

// Entries implements replica.Peer. It returns the last change to each kind and prefix, as long as
// it is stored.
func (s *Store) Entries() []replica.Entry {
	s.mu.Lock()
	all := s.state().at(s.now())
	s.mu.Unlock()
	entries := make([]replica.Entry, 0, all.live.len()+all.tombstones.len())
	for _, list := range [][]stored{all.live[0], all.live[1], all.tombstones[0], all.tombstones[1]} {
		for _, e := range list {
			entries = append(entries, e.entry())
		}
	}
	return entries
}

// Changed implements replica.Peer: the channel is closed when Add or Remove changes something.
func (s *Store) Changed() <-chan struct{} { return s.changed.Changed() }

// Merge implements replica.Peer. It stores the changes of other instances that are newer than its
// own, and reports whether some of its own are newer than the given ones.
//
// The rules of Add apply. Merge skips malformed changes, changes made more than a day ahead of the
// clock, and new entries above the limit, and logs that once a minute. A clock that is ahead by less,
// such as one in another time zone, is no reason to miss a ban: whoever knows its change can make a
// later one. Stores that keep exchanging their Entries end up with the same entries in force.
//
// When Merge returns, the changes are in force and on disk, but for bans that no operator made: see
// Punish. If writing fails, they are in force all the same, and writing is tried again, as in Add.
// Merge builds the index and writes the file at most once, and only if there are changes. After Close
// it does nothing.
func (s *Store) Merge(entries []replica.Entry) (better bool) {
	_, newer, _ := s.merge(entries) // a failed write is logged and tried again
	return len(newer) > 0
}

// merge is Merge. changed is the number of entries in force that were added, replaced or ended.
// newer are own changes that are newer. If only writing the file failed, the error wraps
// ErrNotSaved; after Close it wraps ErrClosed.
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
	s.skipped.Add(m.dropSurplus(&all, now), errFull)
	s.skipped.Log(s.log, now)
	next := all.with(m.taken, now)
	if next.same(&all) {
		return 0, m.newer, nil
	}
	s.publish(next)
	s.resetTimer()
	s.logMerged(m.effects, now)
	if !m.byOperators() {
		s.saveSoon(now)
		return len(m.effects), m.newer, nil
	}
	return len(m.effects), m.newer, s.save()
}

// byOperators reports whether an operator made one of the changes.
func (m *mergeResult) byOperators() bool {
	for _, list := range m.taken {
		for i := range list {
			if list[i].Cause.By == Operator || list[i].Removed {
				return true
			}
		}
	}
	return false
}

// parseAll returns the newest valid change of each name, the number of invalid ones, and the error
// of the last of those.
func parseAll(list []replica.Entry, now time.Time) (given entries, unusable int, err error) {
	usable := make([]stored, 0, len(list))
	for _, entry := range list {
		e, parseErr := parseEntry(entry, now)
		if parseErr != nil {
			unusable++
			err = fmt.Errorf("the change %.*q: %w", maxShownName, entry.Name, parseErr)
			continue
		}
		usable = append(usable, e)
	}
	return entriesOf(usable, stored.Join), unusable, err
}

// mergeResult compares the changes of other instances with the own ones.
type mergeResult struct {
	taken   entries         // the changes to store
	effects []stored        // of those, the ones that change the entries in force
	surplus int             // how many entries would be in force above the limit
	newer   []replica.Entry // own changes that are newer than the given ones
}

func compare(all *state, given entries, now time.Time) (m mergeResult) {
	m.surplus = all.live.len() - maxEntries
	full := int64(-1) // tombstones up to this version are above the limit
	if all.tombstones.len() >= maxEntries {
		full = all.tombstones.oldest()
	}
	known := func(e stored) (stored, bool) { return all.get(e.Kind, e.Prefix) }
	for i, list := range given {
		taken, newer := replica.Merge(list, known)
		for _, ours := range newer {
			m.newer = append(m.newer, ours.entry())
		}
		for _, next := range taken {
			ours, found := known(next)
			if theirs, _ := given.get(next.Kind, next.Prefix); next.Version > max(ours.Version, theirs.Version) {
				m.newer = append(m.newer, next.entry()) // an operator's, which stands
			}
			if !found && (next.obsolete(now) || next.over(now) && next.Version <= full) {
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

// dropSurplus drops the latest new entries above the limit, which Add would also refuse, and
// returns their number.
func (m *mergeResult) dropSurplus(all *state, now time.Time) int {
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

// logMerged logs how other instances changed the entries in force.
func (s *Store) logMerged(effects []stored, now time.Time) {
	switch {
	case len(effects) > 1:
		s.log.Info("bans and exemptions changed by other instances", "count", len(effects))
	case len(effects) == 1:
		e := effects[0]
		attributes := []any{"kind", e.Kind.String(), "prefix", e.Prefix.String(), "reason", e.Why()}
		if e.over(now) {
			s.log.Info("removed by another instance", attributes...)
		} else {
			s.log.Info("added by another instance", attributes...)
		}
	}
}
