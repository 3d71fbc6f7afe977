package replica

import (
	"cmp"
	"slices"
	"strings"
)

// Value is an entry in the form that a package stores.
type Value[V any] interface {
	comparable

	// ID returns the entry's name and version.
	ID() (name string, version int64)

	// Newer compares like Entry.Newer.
	Newer(than V) bool

	// Join returns the newer of two values with the same name, with the parts of the older one that
	// must not be lost. Joining the same values again, in any order, changes nothing.
	Join(with V) V
}

// Merge compares the values of another instance, one per name, with the known ones. taken are the
// values to store. newer are known values that are newer than the given ones.
func Merge[V Value[V]](given []V, known func(V) (V, bool)) (taken, newer []V) {
	for _, theirs := range given {
		ours, found := known(theirs)
		if !found {
			taken = append(taken, theirs)
			continue
		}
		if ours.Newer(theirs) {
			newer = append(newer, ours)
		}
		if next := ours.Join(theirs); next != ours {
			taken = append(taken, next)
		}
	}
	return taken, newer
}

// Map is a limited number of values by name. If there are more, it keeps those with the largest
// versions and, at equal versions, the largest names. Replicas with the same limit thus keep the
// same values. It is not safe for concurrent use.
type Map[V Value[V]] struct {
	limit  int
	values map[string]V
}

// NewMap returns an empty map.
func NewMap[V Value[V]](limit int) *Map[V] { return &Map[V]{limit: limit, values: map[string]V{}} }

// Len returns the number of values.
func (m *Map[V]) Len() int { return len(m.values) }

// Get returns the value of a name.
func (m *Map[V]) Get(name string) (V, bool) {
	v, found := m.values[name]
	return v, found
}

// Version returns the version of a name; 0 if the name is unknown.
func (m *Map[V]) Version(name string) int64 {
	v, found := m.values[name]
	if !found {
		return 0
	}
	_, version := v.ID()
	return version
}

// All returns the values, sorted by name.
func (m *Map[V]) All() []V {
	all := make([]V, 0, len(m.values))
	for _, name := range sortedNames(m.values) {
		all = append(all, m.values[name])
	}
	return all
}

// Put stores a value, even if the known one of its name is newer.
func (m *Map[V]) Put(v V) {
	name, _ := v.ID()
	m.values[name] = v
	m.fit()
}

// Delete removes the values for which unwanted returns true.
func (m *Map[V]) Delete(unwanted func(V) bool) {
	for name, v := range m.values {
		if unwanted(v) {
			delete(m.values, name)
		}
	}
}

// Merge stores the values that are newer than the known ones. taken are those, as stored. newer are
// known values that are newer than the given ones.
func (m *Map[V]) Merge(given []V) (taken, newer []V) {
	newest := make(map[string]V, len(given))
	for _, v := range given {
		name, _ := v.ID()
		if other, found := newest[name]; found {
			v = other.Join(v)
		}
		newest[name] = v
	}
	list := make([]V, 0, len(newest))
	for _, name := range sortedNames(newest) {
		list = append(list, newest[name])
	}
	taken, newer = Merge(list, func(v V) (V, bool) {
		name, _ := v.ID()
		return m.Get(name)
	})
	for _, v := range taken {
		name, _ := v.ID()
		m.values[name] = v
	}
	m.fit()
	taken = slices.DeleteFunc(taken, func(v V) bool {
		name, _ := v.ID()
		_, kept := m.values[name]
		return !kept
	})
	return taken, newer
}

// fit drops the oldest values above the limit.
func (m *Map[V]) fit() {
	if len(m.values) <= m.limit {
		return
	}
	oldestFirst := sortedNames(m.values)
	slices.SortStableFunc(oldestFirst, func(a, b string) int { return cmp.Compare(m.Version(a), m.Version(b)) })
	for _, name := range oldestFirst[:len(m.values)-m.limit] {
		delete(m.values, name)
	}
}

func sortedNames[V any](values map[string]V) []string {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.SortFunc(names, strings.Compare)
	return names
}
