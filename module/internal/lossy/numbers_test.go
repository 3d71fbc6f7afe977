package lossy

import (
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// A table holds what a plain one does, whatever it is made of, with more keys than places.
func TestNumbersTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := NewNumbers(1)
		var plain [ways]struct {
			key    uint64
			number uint32
		}
		lower := rapid.Bool().Draw(t, "the lowest bits weigh most")
		weight := func(v uint32) uint32 {
			if lower && v != 0 {
				return 1 + v&3
			}
			return v
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			key, by := uint64(rapid.IntRange(1, ways+4).Draw(t, "key")), rapid.Uint32Range(1, 9).Draw(t, "by")
			at := -1
			for i := range plain {
				if plain[i].key == key {
					at = i
				}
			}
			if at < 0 {
				at = 0
				for i := range plain {
					if weight(plain[i].number) < weight(plain[at].number) {
						at = i
					}
				}
				plain[at].key, plain[at].number = key, 0
			}
			plain[at].number += by
			if got := table.Change(key, weight, func(v uint32) uint32 { return v + by }); got != plain[at].number {
				t.Fatalf("key %d has become %d, want %d", key, got, plain[at].number)
			}
			want := map[uint64]uint32{}
			for i := range plain {
				want[plain[i].key] = plain[i].number
			}
			for key := range uint64(ways + 5) {
				if got := table.Get(key); key != 0 && got != want[key] {
					t.Fatalf("key %d has %d, want %d", key, got, want[key])
				}
			}
		}
	})
}

// Many change numbers at the same time. Changes may be lost, but no number is made up, and nothing
// is allocated.
func TestNumbersTogether(t *testing.T) {
	table := NewNumbers(1)
	const times = 10_000
	itself := func(v uint32) uint32 { return v }
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range uint64(times) {
				if n := table.Change(1+i%3, itself, func(v uint32) uint32 { return v + 1 }); n == 0 || n > 8*times {
					t.Errorf("%d", n)
				}
			}
		})
	}
	all.Wait()
	by := uint32(1)
	if n := testing.AllocsPerRun(100, func() {
		table.Change(uint64(by), itself, func(v uint32) uint32 { return v + by })
		table.Get(2)
		by++
	}); n != 0 && !testenv.Race {
		t.Errorf("%v allocations", n)
	}
}
