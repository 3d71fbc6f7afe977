package ban

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

func randomBans(n int) []Entry {
	rng := rand.New(rand.NewPCG(1, 2))
	list := make([]Entry, n)
	for i := range list {
		u := rng.Uint32()
		addr := netip.AddrFrom4([4]byte{byte(u >> 24), byte(u >> 16), byte(u >> 8), byte(u)})
		list[i] = Entry{Kind: Ban, Prefix: netip.PrefixFrom(addr, 32), Reason: "failed log-ins"}
	}
	return list
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			s := open(b, "")
			list := randomBans(max(n, 1024))
			fill(s, list[:n])
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				s.Lookup(list[i&1023].Prefix.Addr())
				i++
			}
		})
	}
}

func BenchmarkAdd(b *testing.B) {
	for _, n := range []int{100, 10_000, 99_999} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "bans.json"))
			fill(s, randomBans(n))
			e := Entry{Kind: Ban, Prefix: netip.MustParsePrefix("203.0.113.0/24")}
			for b.Loop() {
				if _, err := s.Add(e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMerge(b *testing.B) {
	const n = 100_000
	list := randomBans(n)
	version := time.Now().UnixMilli()
	changes := make([]replica.Entry, n)
	for i, e := range list {
		changes[i] = stored{Entry: e, Version: version}.entry()
	}
	b.Run("1 into 100000", func(b *testing.B) {
		s := open(b, filepath.Join(b.TempDir(), "bans.json"))
		fill(s, list[:n-1])
		e := stored{Entry: Entry{Kind: Ban, Prefix: netip.MustParsePrefix("203.0.113.0/24")}, Version: version}
		b.ReportAllocs()
		for b.Loop() { // it is there and is not by turns, so that the index changes
			e.Version++
			change := e.entry()
			if e.Version%2 == 0 {
				change = e.tombstone(e.Version).entry()
			}
			merge(b, s, []replica.Entry{change})
		}
	})
	b.Run("100000 into empty", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			merge(b, open(b, filepath.Join(b.TempDir(), "bans.json")), changes)
		}
	})
	b.Run("100000 of nothing new", func(b *testing.B) {
		s := open(b, filepath.Join(b.TempDir(), "bans.json"))
		merge(b, s, changes)
		b.ReportAllocs()
		for b.Loop() {
			merge(b, s, changes)
		}
	})
}

func BenchmarkChanges(b *testing.B) {
	s := open(b, "")
	fill(s, randomBans(100_000))
	b.ReportAllocs()
	for b.Loop() {
		s.Entries()
	}
}
