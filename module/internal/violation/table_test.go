package violation

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

var notFound = Terms{Name: "not_found", Points: .5, HalfLife: 10 * time.Minute, Free: 20, Most: 10}

// v4 returns an address of 203.0.113.0/24.
func v4(n uint32) netip.Addr { return record.Key(0xcb007100 | n&0xff).Subject().Addr() }

// v6 returns the n-th /64 of 2001:db8::/32, each 65,536 of which are a /48.
func v6(n uint32) netip.Addr { return record.Key(0x20010db8_00000000 | uint64(n)).Subject().Addr() }

// alone returns the only client of the n-th /48.
func alone(n int) netip.Addr { return v6(uint32(n) << 16) }

// TestFlood proves that a flood of offenders keeps memory as it is, and evicts nobody who has more points.
func TestFlood(t *testing.T) {
	s := open(t, "", Options{Subjects: 2048})
	s.Share()
	const strong = 400
	for i := range strong {
		s.Add(&trap, Act{Client: alone(i), Share: 1})
	}
	flood := func(n int) {
		for range n {
			s.Add(&notFound, Act{Client: alone(strong + rand.IntN(1<<16-strong)), Share: 1})
			s.Add(&login, Act{Client: v6(strong<<16 + rand.Uint32N(1<<32-strong<<16)), Share: 1})
		}
	}
	flood(8_000) // the queue fills, too
	if per := testing.AllocsPerRun(1000, func() { flood(1) }); per > 0 {
		t.Errorf("a violation of the flood takes %v allocations", per)
	}
	left := 0
	for i := range strong {
		if s.Has(alone(i)) {
			left++
		}
	}
	if left != strong {
		t.Errorf("%d of %d who have touched the trap are left", left, strong)
	}
	if status := s.Status(); status.Clients > status.Capacity || status.Evictions == 0 || status.Clients < 2048 {
		t.Errorf("%+v", status)
	}
}

// TestOneNetworkCannotEvictAllOthers proves that a network, whatever rotates inside it and however
// much it violates, has a bounded share of the table, and leaves half of each bucket to others.
func TestOneNetworkCannotEvictAllOthers(t *testing.T) {
	for name, inside := range map[string]func(i uint32) netip.Addr{
		"IPv4 /24": v4,
		"IPv6 /48": func(i uint32) netip.Addr { return v6(i & 0xffff) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, "", Options{Subjects: 2048})
			const others = 1000
			for i := range others {
				s.Add(&login, Act{Client: alone(1 + i), Share: 1})
			}
			before := s.Status().Clients
			for i := range uint32(1 << 16) {
				s.Add(&trap, Act{Client: inside(i), Share: 1})
			}
			mine := 0
			s.Each(func(addr netip.Addr, _ *Subject) {
				if record.KeyOf(addr).Network() == record.KeyOf(inside(0)).Network() {
					mine++
				}
			})
			if most := spread * ofNetwork; mine > most || mine < most/2 {
				t.Errorf("%d subjects of the network, %d at most", mine, most)
			}
			lost := before - (s.Status().Clients - mine)
			if lost > spread*ofNetwork {
				t.Errorf("%d of %d others are gone", lost, before)
			}
		})
	}
}

// TestWholeNetwork proves that all addresses of an IPv4 /24 are remembered at once.
func TestWholeNetwork(t *testing.T) {
	s := open(t, "", Options{})
	for i := range uint32(256) {
		s.Add(&login, Act{Client: v4(i), Share: 1})
	}
	if n := s.Status().Clients; n != 256 {
		t.Errorf("%d subjects, want 256", n)
	}
}

// TestNominalSize proves that the table holds as many subjects as it says, but for a few.
func TestNominalSize(t *testing.T) {
	s := open(t, "", Options{Subjects: 1 << 14})
	const n = 1 << 14
	for i := range n {
		s.Add(&login, Act{Client: alone(i), Share: 1})
	}
	if kept := s.Status().Clients; kept < n*95/100 {
		t.Errorf("%d of %d subjects are remembered", kept, n)
	}
}

// TestReadersSeeWhole proves that a reader never sees a mixture of two subjects, or of two states.
func TestReadersSeeWhole(t *testing.T) {
	table := newTable(1, [2]uint64{rand.Uint64(), rand.Uint64()}, rand.Uint64())
	var writers, readers sync.WaitGroup
	ended := make(chan struct{})
	addresses := make([]record.Key, 40) // of one bucket
	for i, n := 0, record.Key(0x20010db8_0000); i < len(addresses); n++ {
		if at, _ := table.locate(n << 16); at == 7 {
			addresses[i] = n << 16
			i++
		}
	}
	for range 4 {
		readers.Go(func() {
			var s Subject
			var good uint64
			for n := 0; ; n++ {
				select {
				case <-ended:
					return
				default:
				}
				key := addresses[n%len(addresses)]
				if !table.get(key, &s, &good) {
					continue
				}
				for _, slot := range s.Slots {
					if slot.Points != s.Slots[0].Points || slot.ID != ID(key>>16) || slot.paths[1] != uint64(slot.Points) {
						t.Errorf("subject %x: %+v", key, s)
						return
					}
				}
			}
		})
	}
	for w := range 2 {
		writers.Go(func() {
			for n := range uint32(5_000) {
				key := addresses[rand.IntN(len(addresses))]
				var s Subject
				for i := range s.Slots {
					points := n*2 + uint32(w)
					s.Slots[i] = Slot{
						ID: ID(key >> 16), Last: n + 1, Points: points, paths: [2]uint64{1, uint64(points)},
					}
				}
				at, tag := table.locate(key)
				table.lock(at).Lock()
				table.put(at, table.bucket(at).find(key, tag), key, tag, &s, 0, 1e9, noon)
				table.lock(at).Unlock()
			}
		})
	}
	writers.Wait()
	close(ended)
	readers.Wait()
}

// TestAtOnce is for the race detector.
func TestAtOnce(t *testing.T) {
	s := Open("", Options{Subjects: 100})
	defer func() { _ = s.Close() }()
	s.Share()
	defer s.Watch(func(addr netip.Addr) { s.Has(addr) })()
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			var subject Subject
			for i := range 2000 {
				addr := v4(rand.Uint32N(64))
				switch (i + w) % 8 {
				case 0, 1, 2:
					s.Add(&login, Act{Client: addr, Path: fmt.Sprint(i), Share: 1})
				case 3, 4:
					s.Find(addr, &subject)
				case 5:
					s.CountGood(addr)
				case 6:
					s.ForgetUntil(addr, time.Now().Add(-time.Hour))
				default:
					s.table.sweep(time.Now())
					s.Each(func(netip.Addr, *Subject) {})
				}
			}
		})
	}
	all.Wait()
}

// TestFindDoesNotAllocate proves that nothing which is called for a request allocates.
func TestFindDoesNotAllocate(t *testing.T) {
	s := Open("", Options{})
	defer func() { _ = s.Close() }()
	s.Add(&login, Act{Client: client, Share: 1})
	var subject Subject
	for name, f := range map[string]func(){
		"hit":  func() { s.Find(client, &subject) },
		"miss": func() { s.Find(alone(1), &subject) },
		"has":  func() { s.Has(client) },
		"good": func() { s.CountGood(client) },
		"add":  func() { s.Add(&login, Act{Client: client, Path: "/login", Share: 1}) },
	} {
		if n := testing.AllocsPerRun(100, f); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkStore(b *testing.B) {
	s := Open("", Options{})
	defer func() { _ = s.Close() }()
	const n = 1 << 16
	addrs := make([]netip.Addr, n)
	for i := range addrs {
		addrs[i] = alone(i)
		s.Add(&login, Act{Client: addrs[i], Share: 1})
	}
	strangers := make([]netip.Addr, n)
	for i := range strangers {
		strangers[i] = v6(rand.Uint32() | 1)
	}
	var subject Subject
	b.Run("find hit", func(b *testing.B) {
		for i := range b.N {
			s.Find(addrs[i%n], &subject)
		}
	})
	b.Run("find miss", func(b *testing.B) {
		for i := range b.N {
			s.Find(strangers[i%n], &subject)
		}
	})
	b.Run("has miss", func(b *testing.B) {
		for i := range b.N {
			s.Has(strangers[i%n])
		}
	})
	b.Run("good", func(b *testing.B) {
		for i := range b.N {
			s.CountGood(addrs[i%n])
		}
	})
	b.Run("add known", func(b *testing.B) {
		for i := range b.N {
			s.Add(&login, Act{Client: addrs[i%n], Share: 1})
		}
	})
	b.Run("add flood", func(b *testing.B) {
		for range b.N {
			s.Add(&login, Act{Client: v6(rand.Uint32()), Share: 1})
		}
	})
}
