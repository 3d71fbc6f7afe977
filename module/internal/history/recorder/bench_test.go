package recorder

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/atomicfile"
)

// BenchmarkRecord records what is taken from the queue at once, and what finds it full.
func BenchmarkRecord(b *testing.B) {
	e := scored(1, 90, "deny", "tor_exits")
	b.Run("room", func(b *testing.B) {
		k := newRig(b, Options{})
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				k.Record(e)
			}
		})
	})
	b.Run("full", func(b *testing.B) {
		k := newRig(b, Options{})
		for n := range numStripes * stripeRows {
			k.Record(numbered(n))
		}
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				k.Record(e)
			}
		})
	})
}

// BenchmarkCollect counts and writes journals and batches, with what the disk takes.
func BenchmarkCollect(b *testing.B) {
	for _, addresses := range []int{1, 10_000, 1 << 30} {
		b.Run(fmt.Sprintf("addresses=%d", addresses), func(b *testing.B) {
			dir := b.TempDir()
			k := newRig(b, Options{Dir: dir, files: files{replace: atomicfile.Write}})
			k.Use(Settings{Limit: 64 << 20})
			b.ReportAllocs()
			for i := range b.N {
				n := i
				if addresses < 1<<30 {
					n = rand.IntN(addresses)
				}
				e := numbered(n)
				k.Record(e)
				if i%1000 == 999 { // as often as 4,000 requests a second are flushed
					k.flush()
					k.collector.sealIfFull()
				}
			}
			k.seal()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			k.die()
		})
	}
}
