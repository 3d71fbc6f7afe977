package memory

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// shards is what the table is compared with: 256 maps, a lock for each, and any subject evicted from a full one.
type shards struct {
	limit int
	shard [256]struct {
		mu      sync.RWMutex
		records map[record.Key]record.Record
	}
}

func newShards(entries int) *shards {
	s := &shards{limit: entries / 256}
	for i := range s.shard {
		s.shard[i].records = make(map[record.Key]record.Record, s.limit)
	}
	return s
}

func (s *shards) Get(key record.Key, into *record.Record) bool {
	shard := &s.shard[uint64(key)*0x9E3779B97F4A7C15>>56]
	shard.mu.RLock()
	defer shard.mu.RUnlock()
	r, ok := shard.records[key]
	*into = r
	return ok
}

func (s *shards) Update(key record.Key, change func(*record.Record)) {
	shard := &s.shard[uint64(key)*0x9E3779B97F4A7C15>>56]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	r, ok := shard.records[key]
	if !ok && len(shard.records) >= s.limit {
		for victim := range shard.records {
			delete(shard.records, victim)
			break
		}
	}
	change(&r)
	shard.records[key] = r
}

type cache interface {
	Get(record.Key, *record.Record) bool
	Update(record.Key, func(*record.Record))
}

const benchCap = 1_000_000

// benchKey returns one of many keys that do not follow each other.
func benchKey(i uint64) record.Key { return record.Key(i * 0x9E3779B97F4A7C15 >> 16) }

// eachBench runs f with caches for a million subjects that remember the first known of them.
func eachBench(b *testing.B, known uint64, f func(*testing.B, cache)) {
	for name, create := range map[string]func() cache{
		"table-2": func() cache { return New(benchCap, 2) },
		"table-4": func() cache { return New(benchCap, 4) },
		"shards":  func() cache { return newShards(benchCap) },
	} {
		b.Run(name, func(b *testing.B) {
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			c := create()
			for i := range known {
				c.Update(benchKey(i), func(r *record.Record) { *r = made(benchKey(i), 1, 2) })
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportAllocs()
			f(b, c)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/benchCap, "B/place")
			runtime.KeepAlive(c)
		})
	}
}

const benchKnown = benchCap * 6 / 10

// benchKeys draws known subjects: each as likely as any other, where next to nothing is in the processor's caches, or
// some often and most seldom, as clients are.
func benchKeys(skewed bool) []record.Key {
	rng := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rng, 1.1, 10, benchKnown-1)
	keys := make([]record.Key, 1<<20)
	for i := range keys {
		if skewed {
			keys[i] = benchKey(zipf.Uint64())
		} else {
			keys[i] = benchKey(rng.Uint64N(benchKnown))
		}
	}
	return keys
}

func BenchmarkGetHit(b *testing.B) {
	for _, skewed := range []bool{false, true} {
		b.Run(fmt.Sprintf("skewed=%t", skewed), func(b *testing.B) {
			keys := benchKeys(skewed)
			eachBench(b, benchKnown, func(b *testing.B, c cache) {
				hits, n := 0, 0
				var r record.Record
				for b.Loop() {
					if n++; c.Get(keys[n%len(keys)], &r) {
						hits++
					}
				}
				b.ReportMetric(float64(hits)/float64(n), "hits/op")
			})
		})
	}
}

func BenchmarkGetMiss(b *testing.B) {
	eachBench(b, benchKnown, func(b *testing.B, c cache) {
		n := uint64(benchKnown)
		var r record.Record
		for b.Loop() {
			n++
			c.Get(benchKey(n), &r)
		}
	})
}

// 90 % look-ups and 10 % changes, on all processors at once.
func BenchmarkMixed(b *testing.B) {
	for _, skewed := range []bool{false, true} {
		b.Run(fmt.Sprintf("skewed=%t", skewed), func(b *testing.B) {
			keys := benchKeys(skewed)
			eachBench(b, benchKnown, func(b *testing.B, c cache) {
				var start atomic.Uint64
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					n := start.Add(1 << 18)
					var r record.Record
					change := func(r *record.Record) { r.Answers[0].Fetched++ }
					for pb.Next() {
						if n++; n%10 == 0 {
							c.Update(keys[n%uint64(len(keys))], change)
						} else {
							c.Get(keys[n%uint64(len(keys))], &r)
						}
					}
				})
			})
		})
	}
}

// One operation is a known subject's request and ten of new ones, each looked for and then put in.
func BenchmarkScan(b *testing.B) {
	for _, scan := range []uint64{0, 10} {
		b.Run(fmt.Sprintf("new=%d", scan), func(b *testing.B) {
			eachBench(b, benchKnown, func(b *testing.B, c cache) {
				rng, next := rand.New(rand.NewPCG(1, 2)), uint64(benchKnown)
				var r record.Record
				change := func(r *record.Record) { *r = made(1, 1, 1) }
				for range 5 * benchKnown {
					c.Get(benchKey(rng.Uint64N(benchKnown)), &r)
				}
				hits, n := 0, 0
				for b.Loop() {
					n++
					key := benchKey(rng.Uint64N(benchKnown))
					if c.Get(key, &r) {
						hits++
					} else {
						c.Update(key, change)
					}
					for range scan {
						if next++; !c.Get(benchKey(next), &r) {
							c.Update(benchKey(next), change)
						}
					}
				}
				b.ReportMetric(float64(hits)/float64(n), "hits/op")
			})
		})
	}
}
