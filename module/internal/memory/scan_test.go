package memory

import (
	"container/list"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// asker is a cache in use: ask reports whether the subject was remembered, and remembers it.
type asker interface{ ask(record.Key) bool }

type tableAsker struct{ *Table }

func (t tableAsker) ask(key record.Key) bool {
	var r record.Record
	if t.Get(key, &r) {
		return true
	}
	t.Update(key, func(r *record.Record) { r.ASN = 1 })
	return false
}

// lru is what the table is compared with: the least recently used subject is forgotten, of all.
type lru struct {
	size  int
	order list.List
	at    map[record.Key]*list.Element
}

func (l *lru) ask(key record.Key) bool {
	if e := l.at[key]; e != nil {
		l.order.MoveToFront(e)
		return true
	}
	if l.order.Len() == l.size {
		delete(l.at, l.order.Remove(l.order.Back()).(record.Key))
	}
	l.at[key] = l.order.PushFront(key)
	return false
}

// traffic asks a cache about subjects that come back and about others that do not.
type traffic struct {
	cache   asker
	rng     *rand.Rand
	scanned record.Key // the last of those that do not come back
}

// play lets each of count subjects from first on come rounds times on average, in random order, and before each of them
// the given number of new ones, each making so many requests. It returns the share of the former that were remembered.
func (p *traffic) play(first record.Key, count, rounds, scan, requests int) float64 {
	hits := 0
	for range rounds * count {
		for range scan {
			p.scanned++
			for range requests {
				p.cache.ask(p.scanned)
			}
		}
		if p.cache.ask(first + record.Key(p.rng.IntN(count))) {
			hits++
		}
	}
	return float64(hits) / float64(rounds*count)
}

const (
	simulated = 2048
	regulars  = simulated * 6 / 10
	formerly  = record.Key(1 << 20) // where the regulars' keys begin,
	lately    = record.Key(1 << 30) // and where those of other regulars do
)

func startTraffic(cache asker) *traffic {
	return &traffic{cache: cache, rng: rand.New(rand.NewPCG(1, 2)), scanned: 1 << 40}
}

// eachCache plays the same traffic to the table and to an LRU.
func eachCache(t *testing.T, f func(t *testing.T, p *traffic, ours bool)) {
	t.Run("table", func(t *testing.T) { f(t, startTraffic(tableAsker{fixed(simulated, 2)}), true) })
	t.Run("lru", func(t *testing.T) {
		f(t, startTraffic(&lru{size: simulated, at: map[record.Key]*list.Element{}}), false)
	})
}

// Regulars that fill 60 % of the table stay remembered when ten new subjects come for each of their requests. An LRU
// forgets them; that it does shows that the scan is one.
func TestScan(t *testing.T) {
	for _, c := range []struct {
		name     string
		warm     int
		requests int
		want     float64
	}{
		{"one request each", 5, 1, 0.90},
		{"two requests each", 5, 2, 0.65},
		{"regulars come while the scan is on", 0, 1, 0.80},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachCache(t, func(t *testing.T, p *traffic, ours bool) {
				p.play(formerly, regulars, c.warm, 0, 0)
				p.play(formerly, regulars, 20, 10, c.requests)
				ratio := p.play(formerly, regulars, 10, 10, c.requests)
				t.Logf("%.3f of the regulars' requests found them remembered", ratio)
				if ours && ratio < c.want || !ours && ratio > 0.20 {
					t.Errorf("hit ratio %.3f, want at least %.2f of the table and at most 0.20 of an LRU", ratio, c.want)
				}
			})
		})
	}
}

// When all regulars give way to others, those take over.
func TestShift(t *testing.T) {
	eachCache(t, func(t *testing.T, p *traffic, ours bool) {
		p.play(formerly, regulars, 20, 0, 0)
		var ratios []float64
		for range 6 {
			ratios = append(ratios, p.play(lately, regulars, 5, 0, 0))
		}
		t.Logf("%.3f of the new regulars' requests found them remembered, five rounds each", ratios)
		if last := ratios[len(ratios)-1]; last < 0.90 {
			t.Errorf("after 25 rounds the hit ratio is %.3f, want at least 0.90", last)
		}
	})
}

// Without a scan the table is better than an LRU where some subjects come often and most seldom.
func TestSkewed(t *testing.T) {
	eachCache(t, func(t *testing.T, p *traffic, ours bool) {
		zipf := rand.NewZipf(p.rng, 1.01, 10, 10*simulated)
		hits := 0
		const requests = 20 * simulated
		for range requests {
			if p.cache.ask(formerly + record.Key(zipf.Uint64())) {
				hits++
			}
		}
		ratio := float64(hits) / requests
		t.Logf("hit ratio %.3f", ratio)
		if ours && ratio < 0.60 || !ours && ratio > 0.60 {
			t.Errorf("hit ratio %.3f, want at least 0.60 of the table and at most 0.60 of an LRU", ratio)
		}
	})
}

// What happens beyond what New promises, in a table with as many slots as subjects: the share of subjects that evict
// another when each comes once, and the share of requests that find nothing when they go on coming, in random order or in
// the same order over and over. Half full, nobody is ever without a slot.
func TestFullBuckets(t *testing.T) {
	const size = 32_768
	for _, c := range []struct {
		name                        string
		subjects                    int
		evicting, random, inTheSame float64
	}{
		{"half full", size / 2, 0, 0, 0},
		{"as many subjects as slots", size, 0.046, 0.022, 0.167},
	} {
		t.Run(c.name, func(t *testing.T) {
			inOrder := func(cache asker) (missed float64) {
				for k := range record.Key(c.subjects) {
					if !cache.ask(formerly + k) {
						missed++
					}
				}
				return missed / float64(c.subjects)
			}
			table := fixed(size, 1)
			inOrder(tableAsker{table})
			evicting := float64(table.Evictions()) / float64(c.subjects)
			inTheSame := inOrder(tableAsker{table})

			p := startTraffic(tableAsker{table})
			p.play(formerly, c.subjects, 4, 0, 0)
			random := 1 - p.play(formerly, c.subjects, 4, 0, 0)

			for name, share := range map[string]struct{ got, want float64 }{
				"evicting": {evicting, c.evicting}, "random order": {random, c.random}, "the same order": {inTheSame, c.inTheSame},
			} {
				if math.Abs(share.got-share.want) > 0.001 {
					t.Errorf("%s: %.4f, want %.3f", name, share.got, share.want)
				}
			}
		})
	}
}

// A table for so many subjects holds so many, whatever their addresses: of a third of a million in tables of all sizes, fewer than
// one in 100,000 may be lost. The slow twin is a map. The hash has other constants in each round, the same in each run.
func TestHoldsAll(t *testing.T) {
	patterns := map[string]func(i uint64) uint64{
		"addresses in sequence": func(i uint64) uint64 { return 0xc000_0000 + i },
		"/64 of one /32":        func(i uint64) uint64 { return 0x2001_0db8_0000_0000 + i },
		"one of each /48":       func(i uint64) uint64 { return 0x2001_0db8_0000_0000 + i<<16 },
		"one of each /24":       func(i uint64) uint64 { return 1<<24 + i<<8 },
		"anywhere":              func(i uint64) uint64 { return (i + 1) * 0x9e3779b97f4a7c15 },
	}
	subjects, lost := 0, 0
	seeds := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{1, 1500, 2048, 3000, 30_000} {
		for _, name := range slices.Sorted(maps.Keys(patterns)) {
			for range max(10_000/max(size, 1500), 1) {
				var seed [24]byte
				_, _ = seeds.Read(seed[:])
				table, twin := newTable(seededHash(room(size), seed), 1), map[record.Key]uint32{}
				for i := range uint64(size) {
					k := record.Key(patterns[name](i))
					twin[k] = uint32(i) + 1
					table.Update(k, func(r *record.Record) { r.ASN = uint32(i) + 1 })
				}
				found := 0
				for k, want := range twin {
					var r record.Record
					if !table.Get(k, &r) {
						continue
					}
					if found++; r.ASN != want {
						t.Fatalf("%s: %d has the record of another", name, k)
					}
				}
				if found != table.Len() {
					t.Fatalf("%s: %d of %d are found, and %d remembered", name, found, size, table.Len())
				}
				subjects += size
				lost += size - found
			}
		}
	}
	t.Logf("%d of %d are lost", lost, subjects)
	if lost > subjects/100_000 {
		t.Errorf("%d of %d subjects are lost", lost, subjects)
	}
}
