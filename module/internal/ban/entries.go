package ban

import (
	"net/netip"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

// entries are the entries of each kind, sorted by prefix, one per prefix. Once published, they are
// immutable.
type entries [numKinds][]stored

func (s *entries) of(kind Kind) *[]stored { return &s[kind-1] }

func (s *entries) len() int { return len(s[0]) + len(s[1]) }

// find returns the index of a prefix, or where it would be inserted.
func (s *entries) find(kind Kind, p netip.Prefix) (int, bool) {
	return slices.BinarySearchFunc(*s.of(kind), p, comparePrefix)
}

func comparePrefix(e stored, p netip.Prefix) int { return e.Prefix.Compare(p) }

// get returns the entry of a kind and prefix.
func (s *entries) get(kind Kind, p netip.Prefix) (stored, bool) {
	i, found := s.find(kind, p)
	if !found {
		return stored{}, false
	}
	return (*s.of(kind))[i], true
}

// entriesOf sorts entries. It combines those of the same kind and prefix, in the order of the list.
func entriesOf(list []stored, combine func(a, b stored) stored) (s entries) {
	for _, e := range list {
		*s.of(e.Kind) = append(*s.of(e.Kind), e)
	}
	for i, all := range s {
		slices.SortStableFunc(all, func(a, b stored) int { return a.Prefix.Compare(b.Prefix) })
		s[i] = all[:0]
		for _, e := range all {
			if last := len(s[i]) - 1; last >= 0 && s[i][last].Prefix == e.Prefix {
				s[i][last] = combine(s[i][last], e)
			} else {
				s[i] = append(s[i], e)
			}
		}
	}
	return s
}

// with returns the entries after changes. Each change replaces the entry of its kind and prefix, or
// removes it if the change is not wanted.
func (s entries) with(changes entries, wanted func(stored) bool) entries {
	for i := range s {
		if len(changes[i]) > 0 {
			s[i] = replace(s[i], changes[i], wanted)
		}
	}
	return s
}

func replace(old, changes []stored, wanted func(stored) bool) []stored {
	all := make([]stored, 0, len(old)+len(changes))
	for _, change := range changes {
		n, found := slices.BinarySearchFunc(old, change.Prefix, comparePrefix)
		all = append(all, old[:n]...)
		if found {
			n++
		}
		old = old[n:]
		if wanted(change) {
			all = append(all, change)
		}
	}
	return append(all, old...)
}

// without returns the entries for which unwanted returns false.
func (s entries) without(unwanted func(stored) bool) entries {
	for i, list := range s {
		if slices.ContainsFunc(list, unwanted) {
			s[i] = slices.DeleteFunc(slices.Clone(list), unwanted)
		}
	}
	return s
}

// newest returns the n entries with the largest versions.
func (s entries) newest(n int) entries {
	surplus := s.len() - n
	if surplus <= 0 {
		return s
	}
	versions := make([]int64, 0, s.len())
	for _, list := range s {
		for _, e := range list {
			versions = append(versions, e.Version)
		}
	}
	slices.Sort(versions)
	last := versions[surplus-1] // the largest version to drop; some entries with it may stay
	older, _ := slices.BinarySearch(versions, last)
	ties := surplus - older
	var newest entries
	for i, list := range s {
		for _, e := range list {
			switch {
			case e.Version < last:
			case e.Version == last && ties > 0:
				ties--
			default:
				newest[i] = append(newest[i], e)
			}
		}
	}
	return newest
}

// oldest returns the smallest version.
func (s *entries) oldest() int64 {
	version := replica.LastTime.UnixMilli()
	for _, list := range s {
		for _, e := range list {
			version = min(version, e.Version)
		}
	}
	return version
}

// nextEnd returns when the next entry ends; zero if none does.
func (s *entries) nextEnd() (next time.Time) {
	for _, list := range s {
		for _, e := range list {
			if !e.Expires.IsZero() && (next.IsZero() || e.Expires.Before(next)) {
				next = e.Expires
			}
		}
	}
	return next
}

// state is the content of a store.
type state struct {
	live       entries // in force
	tombstones entries // tombstones: removals and ended entries
}

// get returns the last change to a kind and prefix.
func (s *state) get(kind Kind, p netip.Prefix) (stored, bool) {
	if e, found := s.live.get(kind, p); found {
		return e, true
	}
	return s.tombstones.get(kind, p)
}

// with returns the state after changes. Its cost depends on the size of the state, not on the
// number of changes.
func (s state) with(changes entries, now time.Time) state {
	if changes.len() == 0 {
		return s
	}
	return state{
		live: s.live.with(changes, func(e stored) bool { return !e.over(now) }),
		tombstones: s.tombstones.with(changes, func(e stored) bool {
			return e.over(now) && !e.obsolete(now)
		}).bounded().newest(maxEntries),
	}
}

// same reports whether two states are the same changes.
func (s *state) same(other *state) bool {
	return s.live.same(&other.live) && s.tombstones.same(&other.tombstones)
}

func (s *entries) same(other *entries) bool {
	return slices.Equal(s[0], other[0]) && slices.Equal(s[1], other[1])
}

// change returns the state after one change.
func (s state) change(e stored, now time.Time) state {
	var changes entries
	*changes.of(e.Kind) = []stored{e}
	return s.with(changes, now)
}

// at returns the state at the given time: ended entries become tombstones, tombstones of entries that
// have not ended after all are in force again, since the clock was ahead, and obsolete tombstones are
// dropped.
func (s state) at(now time.Time) state {
	for i := range s.live {
		var changes entries
		for _, e := range s.live[i] {
			if e.ended(now) {
				changes[i] = append(changes[i], e)
			}
		}
		s = s.with(changes, now)
	}
	for i := range s.tombstones {
		var changes entries
		for _, e := range s.tombstones[i] {
			if !e.over(now) {
				changes[i] = append(changes[i], e)
			}
		}
		s = s.with(changes, now)
	}
	s.tombstones = s.tombstones.without(func(e stored) bool { return e.obsolete(now) })
	return s
}
