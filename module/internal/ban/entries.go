package ban

import (
	"net/netip"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

// entries are those of each kind, in the order of their prefixes, with one of each prefix. They are not changed once
// others can see them.
type entries [numKinds][]stored

func (s *entries) of(kind Kind) *[]stored { return &s[kind-1] }

func (s *entries) len() int { return len(s[0]) + len(s[1]) }

// find returns where a prefix is, or would be.
func (s *entries) find(kind Kind, p netip.Prefix) (int, bool) {
	return slices.BinarySearchFunc(*s.of(kind), p, comparePrefix)
}

func comparePrefix(e stored, p netip.Prefix) int { return e.Prefix.Compare(p) }

// get returns the one of a kind and prefix.
func (s *entries) get(kind Kind, p netip.Prefix) (stored, bool) {
	i, found := s.find(kind, p)
	if !found {
		return stored{}, false
	}
	return (*s.of(kind))[i], true
}

// entriesOf sorts entries. Several of the same kind and prefix are combined into one, in the order of the list.
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

// with returns the entries without those that there are changes to, and with the changes that are wanted.
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

// without returns the entries that are not unwanted.
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
	last := versions[surplus-1] // the largest version to drop; not all that have it need to be dropped
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

// nextEnd returns when the next entry ends, or the zero time.
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

// state is all that a store knows.
type state struct {
	live entries // those in force
	past entries // removals, and what is over but remembered
}

// get returns what was the last change to a kind and prefix, if that is known.
func (s *state) get(kind Kind, p netip.Prefix) (stored, bool) {
	if e, found := s.live.get(kind, p); found {
		return e, true
	}
	return s.past.get(kind, p)
}

// with returns the state after changes. It takes time in proportion to all that is known, however many they are.
func (s state) with(changes entries, now time.Time) state {
	return state{
		live: s.live.with(changes, func(e stored) bool { return !e.over(now) }),
		past: s.past.with(changes, func(e stored) bool { return e.over(now) && !e.forgotten(now) }).newest(maxEntries),
	}
}

// change returns the state after one change.
func (s state) change(e stored, now time.Time) state {
	var changes entries
	*changes.of(e.Kind) = []stored{e}
	return s.with(changes, now)
}

// at returns the state at the given time: what ended is past, or forgotten.
func (s state) at(now time.Time) state {
	var ended entries
	for i, list := range s.live {
		for _, e := range list {
			if e.ended(now) {
				ended[i] = append(ended[i], e)
			}
		}
	}
	if ended.len() > 0 {
		s = s.with(ended, now)
	}
	s.past = s.past.without(func(e stored) bool { return e.forgotten(now) })
	return s
}
