package ban

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"
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
			s.publish(entriesOf(list[:n]))
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
			s.publish(entriesOf(randomBans(n)))
			e := Entry{Kind: Ban, Prefix: netip.MustParsePrefix("203.0.113.0/24")}
			for b.Loop() {
				if _, err := s.Add(e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
