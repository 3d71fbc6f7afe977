package replica

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// text is a value that remembers the largest text that it took the place of.
type text struct {
	Name    string
	Version int64
	Text    string
	Before  string
}

func (v text) ID() (string, int64) { return v.Name, v.Version }

func (v text) Newer(than text) bool {
	return Entry{Version: v.Version, Value: []byte(v.Text)}.Newer(Entry{Version: than.Version, Value: []byte(than.Text)})
}

func (v text) Join(with text) text {
	winner, loser := v, with
	if with.Newer(v) {
		winner, loser = with, v
	}
	winner.Before = max(winner.Before, loser.Before)
	if winner.Newer(loser) {
		winner.Before = max(winner.Before, loser.Text)
	}
	return winner
}

// twin knows all values that there ever were.
type twin []text

// newest returns what a map with the given limit must hold.
func (all twin) newest(limit int) []text {
	byName := map[string]text{}
	for _, v := range all {
		if was, known := byName[v.Name]; !known || v.Version > was.Version || v.Version == was.Version && v.Text > was.Text {
			byName[v.Name] = v
		}
	}
	list := slices.SortedFunc(maps.Values(byName), func(a, b text) int {
		if a.Version != b.Version {
			return int(b.Version - a.Version)
		}
		return -cmpString(a.Name, b.Name)
	})
	list = list[:min(limit, len(list))]
	slices.SortFunc(list, func(a, b text) int { return cmpString(a.Name, b.Name) })
	return list
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// TestConvergence proves that replicas come to hold the same, whatever they change, whenever, and in whatever order,
// part, number and delay they learn of each other's changes. Few names, versions and texts make ties common.
func TestConvergence(t *testing.T) {
	names := rapid.SampledFrom([]string{"a", "b", "c", "d"})
	texts := rapid.StringMatching(`[xy]{0,2}`)
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 5).Draw(t, "limit")
		replicas := make([]*Map[text], rapid.IntRange(2, 4).Draw(t, "replicas"))
		for i := range replicas {
			replicas[i] = NewMap[text](limit)
		}
		draw := func(t *rapid.T) *Map[text] { return rapid.SampledFrom(replicas).Draw(t, "replica") }
		var all twin
		var messages [][]text
		t.Repeat(map[string]func(*rapid.T){
			"change": func(t *rapid.T) {
				r, name := draw(t), names.Draw(t, "name")
				v := text{Name: name, Version: max(rapid.Int64Range(1, 6).Draw(t, "clock"), r.Version(name)+1), Text: texts.Draw(t, "text")}
				r.Put(v)
				all = append(all, v)
			},
			"send": func(t *rapid.T) {
				list := rapid.Permutation(draw(t).All()).Draw(t, "values")
				messages = append(messages, list[:rapid.IntRange(0, len(list)).Draw(t, "part")])
			},
			"receive": func(t *rapid.T) {
				if len(messages) > 0 {
					checkMerge(t, draw(t), rapid.SampledFrom(messages).Draw(t, "message"))
				}
			},
			"": func(t *rapid.T) {
				for _, r := range replicas {
					if r.Len() > limit {
						t.Fatalf("%d values, the limit is %d", r.Len(), limit)
					}
				}
			},
		})
		for range 2 {
			for _, from := range replicas {
				for _, to := range replicas {
					checkMerge(t, to, from.All())
				}
			}
		}
		want := all.newest(limit)
		for i, r := range replicas {
			if diff := cmp.Diff(want, r.All(), cmpopts.IgnoreFields(text{}, "Before"), cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("replica %d (-twin +got):\n%s", i, diff)
			}
			if taken, newer := r.Merge(replicas[0].All()); len(taken)+len(newer) != 0 {
				t.Fatalf("replica %d: something is new in the end: %v, %v", i, taken, newer)
			}
		}
	})
}

// checkMerge merges and checks the answer against what is known before and after.
func checkMerge(t *rapid.T, m *Map[text], given []text) {
	before := m.All()
	taken, newer := m.Merge(given)
	for _, v := range taken {
		if now, found := m.Get(v.Name); !found || now != v {
			t.Fatalf("%v was taken, and %v is there", v, now)
		}
		if slices.Contains(before, v) {
			t.Fatalf("%v was taken, and was there before", v)
		}
	}
	for _, v := range newer {
		for _, g := range given {
			if g.Name == v.Name && !v.Newer(g) {
				t.Fatalf("%v is not newer than %v", v, g)
			}
		}
	}
	if again, _ := m.Merge(given); len(again) != 0 {
		t.Fatalf("merged again, %v is new", again)
	}
}

func TestMapDelete(t *testing.T) {
	m := NewMap[text](3)
	for i, name := range []string{"a", "b", "c", "d"} {
		m.Put(text{Name: name, Version: int64(i + 1)})
	}
	m.Delete(func(v text) bool { return v.Version == 3 })
	if _, found := m.Get("a"); found || m.Len() != 2 || m.Version("d") != 4 || m.Version("c") != 0 {
		t.Errorf("left: %v", m.All())
	}
}
