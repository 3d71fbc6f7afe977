package history

// generations is a cache of the values put last: at least one generation of them and at most two.
type generations[K comparable, V any] struct {
	capacity   int // entries of a generation
	young, old map[K]V
}

func newGenerations[K comparable, V any](most int) generations[K, V] {
	return generations[K, V]{capacity: most, young: make(map[K]V), old: make(map[K]V)}
}

func (g *generations[K, V]) get(k K) (V, bool) {
	v, ok := g.young[k]
	if !ok {
		if v, ok = g.old[k]; ok {
			g.put(k, v)
		}
	}
	return v, ok
}

func (g *generations[K, V]) put(k K, v V) {
	if len(g.young) >= g.capacity {
		g.young, g.old = g.old, g.young
		clear(g.young)
	}
	g.young[k] = v
}
