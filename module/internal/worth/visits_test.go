package worth

import (
	"net/netip"
	"sync"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// of returns a client of a network of its own.
func of(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, byte(18 + i>>8&1), byte(i), 1 + byte(i>>9)})
}

// Visits count while they follow each other within ten minutes. What a page loads is no visit. A clock that steps back
// costs a count, no more.
func TestVisits(t *testing.T) {
	v, key := NewVisits(), record.KeyOf(of(5))
	for _, step := range []struct {
		at   uint32
		want int
	}{
		{5000, 1}, {5000, 1}, {5002, 1}, {5003, 2}, {5001, 2}, {5005, 2}, {5602, 3}, {6201, 4}, {6801, 1}, {6804, 2},
		{6800, 1}, {6803, 2}, {1000, 1}, {1003, 2},
	} {
		if got := v.Peek(key, step.at); got != step.want {
			t.Fatalf("at %d: a look gives %d, want %d", step.at, got, step.want)
		}
		if got := v.Count(key, step.at); got != step.want {
			t.Fatalf("at %d: %d, want %d", step.at, got, step.want)
		}
	}
	for i := range uint32(300) {
		v.Count(key, 1003+visitFor*i)
	}
	if n := v.Peek(key, 1003+visitFor*299); n != visitsMost {
		t.Errorf("%d visits", n)
	}
	if n := testing.AllocsPerRun(100, func() { v.Count(key, 5) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A flood of clients that come once does not displace those that come again.
func TestVisitsInAFlood(t *testing.T) {
	v := NewVisits()
	known := func(i int) record.Key { return record.KeyOf(of(i)) }
	for at := range uint32(3) {
		for i := range 1000 {
			v.Count(known(i), 100+visitFor*at)
		}
	}
	for i := range 300_000 {
		v.Count(record.Key(uint64(i)<<16), 107)
	}
	lost := 0
	for i := range 1000 {
		if v.Peek(known(i), 108) != 3 {
			lost++
		}
	}
	if lost > 2 { // whose tag another one shares by chance
		t.Errorf("%d of 1000 counts are lost", lost)
	}
}

// Many goroutines count at the same time.
func TestVisitsTogether(t *testing.T) {
	v := NewVisits()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 10_000 {
				if n := v.Count(record.KeyOf(of(i%50)), uint32(i)); n < 1 || n > visitsMost {
					t.Errorf("%d", n)
				}
			}
		})
	}
	all.Wait()
}
