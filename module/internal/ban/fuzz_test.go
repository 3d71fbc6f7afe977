package ban

import (
	"bytes"
	"log/slog"
	"slices"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

// FuzzMerge gives a store foreign bytes: as they are, and under the name and version that they are of.
func FuzzMerge(f *testing.F) {
	c := newClock()
	now := c.now().UnixMilli()
	for _, value := range []string{
		``, `null`, `{}`, `[]`, `{"prefix":"203.0.113.0/24","kind":"ban","version":1767268800000}`,
		`{"prefix":"203.0.113.0/24","kind":"ban","reason":"<a> & \"b\"","created":"2026-01-01T00:00:00Z","version":1767268800000,"removed":true}`,
		`{"prefix":"203.0.113.0/24","kind":"ban","expires":"2026-01-01T00:00:00Z","version":1767268800001}`,
		`{"prefix":"::ffff:203.0.113.0/120","kind":"ban","expires":"2026-01-01T13:00:00.5+01:00","version":1767268800001}`,
		`{"PREFIX":"203.0.113.9/24","kind":"ban","kind":"exemption","created":"2026-01-01T00:00:00Z","keep":"9999-12-31T23:59:59Z"}`,
		`{"prefix":"fc00::/7","kind":"exemption","version":9223372036854775807}`, `{"prefix":"0.0.0.0/0","kind":"ban","version":1}`,
		`{"prefix":"203.0.113.0/24","kind":"ban","expires":"9999-12-31T23:59:59Z","version":1767355200000,"removed":true}`,
	} {
		f.Add("ban 203.0.113.0/24", now, []byte(value), []byte(`{"prefix":"203.0.113.0/24","kind":"ban","version":1}`))
		f.Add("exemption fc00::/7", int64(0), []byte(`{"prefix":"203.0.113.0/24","kind":"ban","version":1767268800000,"removed":true}`), []byte(value))
	}
	f.Fuzz(func(t *testing.T, name string, version int64, one, two []byte) {
		changes := []replica.Entry{{Name: name, Version: version, Value: one}, named(one), named(two)}
		a, b, together := idle(c), idle(c), idle(c)
		for _, s := range []*Store{a, b, together} {
			put(t, s, prefix, 0)
			put(t, s, prefix2, 0)
			unban(t, s, prefix2)
		}
		for i := range changes {
			merge(t, a, changes[i:i+1])
			merge(t, b, changes[len(changes)-1-i:][:1])
		}
		merge(t, together, changes)
		exchange(t, a, b, together)
		for _, s := range []*Store{a, b, together} {
			checkState(t, known(s), c.now())
			for _, kind := range []Kind{Ban, Exemption} {
				if !slices.Equal(a.List(kind), s.List(kind)) {
					t.Fatalf("the order counts: %v, %v", a.List(kind), s.List(kind))
				}
			}
			if changed, newer := merge(t, s, a.Entries()); changed != 0 || newer != nil {
				t.Fatalf("not agreed on: %d, %v", changed, newer)
			}
		}
		for _, given := range a.Entries() {
			e, err := parseEntry(given, c.now())
			if err != nil || !bytes.Equal(e.value(), given.Value) {
				t.Fatalf("%s is read as %s, %v", given.Value, e.value(), err)
			}
		}
	})
}

// idle returns a store in memory whose goroutine does not run: what runs beside the target looks like news to the fuzzer.
func idle(c *clock) *Store {
	return &Store{log: slog.New(slog.DiscardHandler), now: c.now, wake: make(chan struct{}, 1)}
}

// named returns the change that the value is of, if it is one.
func named(value []byte) replica.Entry {
	e, _ := parse(value)
	return replica.Entry{Name: e.name(), Version: e.Version, Value: value}
}
