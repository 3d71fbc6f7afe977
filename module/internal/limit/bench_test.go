package limit

import (
	"context"
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// One operation is a request whose bucket is known and not empty.
func BenchmarkTakeHit(b *testing.B) {
	l, r := NewLocal(0), rule("100000/s")
	for name, s := range map[string]Subject{
		"address": client(1), "network": Network(netip.MustParseAddr("203.0.113.7"), 24, 48), "system": System(64500),
		"key": Keyed("sk_live_0123456789abcdef0123456789"),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			now := time.Now()
			for b.Loop() {
				now = now.Add(20 * time.Microsecond)
				l.Take(r, s, now)
			}
		})
	}
}

// One operation is a request of a subject that is being refused.
func BenchmarkTakeRefused(b *testing.B) {
	l, r, s, now := NewLocal(0), rule("1/1h"), client(1), time.Now()
	l.Take(r, s, now)
	b.ReportAllocs()
	for b.Loop() {
		l.Take(r, s, now)
	}
}

// One operation is a request of one of so many subjects that next to nothing is in the processor's caches.
func BenchmarkTakeMany(b *testing.B) {
	l, r, now := NewLocal(0), rule("1000/1m"), time.Now()
	const subjects = 400_000
	for i := range uint32(subjects) {
		l.Take(r, client(i), now)
	}
	i := uint32(0)
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		i += 0x9E3779B9
		l.Take(r, client(i%subjects), now)
	}
}

// One operation is the first request of a subject, in a table full of such.
func BenchmarkTakeNew(b *testing.B) {
	l, r, now, i := NewLocal(0), rule("10/1m"), time.Now(), uint32(0)
	for i = range uint32(2 * DefaultPlaces) {
		l.Take(r, client(i), now)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		i++
		l.Take(r, client(i), now)
	}
}

func BenchmarkTakeParallel(b *testing.B) {
	for name, mask := range map[string]uint32{"many": 1<<18 - 1, "one": 0} {
		b.Run(name, func(b *testing.B) {
			l, r := NewLocal(0), rule("100000/s")
			var start atomic.Uint32
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				i, now := start.Add(1)<<24, time.Now()
				for pb.Next() {
					i++
					now = now.Add(20 * time.Microsecond)
					l.Take(r, client(i*0x9E3779B9>>8&mask), now)
				}
			})
		})
	}
}

// What a request costs that is told to a store which answers at once, and which it waits for or not. Of those that do not
// wait, many find as many calls under way as there may be.
func BenchmarkLimiter(b *testing.B) {
	for name, wait := range map[string]time.Duration{"waits": time.Second, "does not": 0} {
		b.Run(name, func(b *testing.B) {
			l, r, i := New(NewLocal(0), answering{}, Options{}), rule("10/1m"), uint32(0)
			defer l.Close()
			b.ReportAllocs()
			for b.Loop() {
				i++
				l.Take(context.Background(), r, client(i), wait)
			}
		})
	}
}

func client(i uint32) Subject {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], i)
	return Client(netip.AddrFrom4(a))
}
