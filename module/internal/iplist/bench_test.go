package iplist

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// randomPrefixes4 returns prefixes as blocklists have them: nine of ten are single addresses.
func randomPrefixes4(rng *rand.Rand, n int) []netip.Prefix {
	prefixes := make([]netip.Prefix, n)
	for i := range prefixes {
		length := 32
		if rng.IntN(10) == 0 {
			length = 20 + rng.IntN(12)
		}
		prefixes[i] = range4(0).prefix(uint128{lo: uint64(rng.Uint32())}, 32-length).Masked()
	}
	return prefixes
}

// randomPrefixes6 returns prefixes that are as crowded as those in use: in 20,000 allocations of /32 from the
// registries' blocks, some of which hold most of the prefixes.
func randomPrefixes6(rng *rand.Rand, n int) []netip.Prefix {
	blocks := []uint32{0x2001_0000, 0x2400_0000, 0x2600_0000, 0x2800_0000, 0x2a00_0000, 0x2c00_0000}
	allocations := make([]uint32, 20_000)
	for i := range allocations {
		allocations[i] = blocks[rng.IntN(len(blocks))] | rng.Uint32()>>12
	}
	lengths := []int{128, 64, 64, 64, 56, 48}
	zipf := rand.NewZipf(rng, 1.1, 2_000, uint64(len(allocations)-1))
	prefixes := make([]netip.Prefix, n)
	for i := range prefixes {
		address := uint128{uint64(allocations[zipf.Uint64()])<<32 | uint64(rng.Uint32()), rng.Uint64()}
		prefixes[i] = range6{}.prefix(address, 128-lengths[rng.IntN(len(lengths))]).Masked()
	}
	return prefixes
}

// within returns an address in the prefix.
func within(rng *rand.Rand, p netip.Prefix) netip.Addr {
	if p.Addr().Is4() {
		hosts := uint32(uint64(1)<<(32-p.Bits()) - 1)
		return range4(0).prefix(uint128{lo: uint64(number4(p.Addr()) | rng.Uint32()&hosts)}, 0).Addr()
	}
	n := number6(p.Addr())
	hosts := uint128{}.withOnes(128 - p.Bits())
	return range6{}.prefix(uint128{n.hi | rng.Uint64()&hosts.hi, n.lo | rng.Uint64()&hosts.lo}, 0).Addr()
}

// queries returns addresses in random order that are all listed, or all not listed but next to listed ones.
func queries(rng *rand.Rand, x *Index, prefixes []netip.Prefix, hit bool) []netip.Addr {
	const n = 1 << 18
	addrs := make([]netip.Addr, 0, n)
	for len(addrs) < n {
		p := prefixes[rng.IntN(len(prefixes))]
		switch {
		case hit:
		case p.Addr().Is4():
			p = netip.PrefixFrom(p.Addr(), 8).Masked()
		default:
			p = netip.PrefixFrom(p.Addr(), 32).Masked()
		}
		if addr := within(rng, p); (x.Lookup(addr) != 0) == hit {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// families are the generators of both address families.
var families = []struct {
	name     string
	prefixes func(*rand.Rand, int) []netip.Prefix
}{
	{"v4", randomPrefixes4},
	{"v6", randomPrefixes6},
}

func BenchmarkLookup(b *testing.B) {
	for _, family := range families {
		for _, n := range []int{1_000, 100_000, 1_000_000} {
			rng := rand.New(rand.NewPCG(1, 2))
			prefixes := family.prefixes(rng, n)
			x := Build(split(prefixes, 20))
			for _, kind := range []string{"hit", "miss"} {
				addrs := queries(rng, x, prefixes, kind == "hit")
				b.Run(fmt.Sprintf("family=%s/n=%d/%s", family.name, n, kind), func(b *testing.B) {
					b.ReportAllocs()
					var i, sum uint32
					for b.Loop() {
						sum += x.Lookup(addrs[i&(1<<18-1)])
						i++
					}
					sink = sum
					b.ReportMetric(float64(x.Size())/float64(n), "bytes/prefix")
				})
			}
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	const n = 1_000_000
	for _, family := range families {
		prefixes := family.prefixes(rand.New(rand.NewPCG(1, 2)), n)
		for _, lists := range []int{1, 20} {
			ranges := split(prefixes, lists)
			b.Run(fmt.Sprintf("family=%s/n=%d/lists=%d", family.name, n, lists), func(b *testing.B) {
				b.ReportAllocs()
				var x *Index
				for b.Loop() {
					x = Build(ranges)
				}
				b.ReportMetric(float64(x.Size())/n, "bytes/prefix")
			})
		}
	}
}

func BenchmarkLists(b *testing.B) {
	const n = 1_000_000
	for _, family := range families {
		prefixes := family.prefixes(rand.New(rand.NewPCG(1, 2)), n)
		for _, lists := range []int{1, 20} {
			x := Build(split(prefixes, lists))
			b.Run(fmt.Sprintf("family=%s/n=%d/lists=%d", family.name, n, lists), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					x.Lists()
				}
			})
		}
	}
}

// BenchmarkOverlap compares a million prefixes with a thousand others.
func BenchmarkOverlap(b *testing.B) {
	for _, family := range families {
		b.Run("family="+family.name, func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 1))
			list, other := NewRanges(family.prefixes(rng, 1_000_000)), NewRanges(family.prefixes(rng, 1_000))
			for b.Loop() {
				list.Overlap(other)
			}
		})
	}
}

func BenchmarkNewRanges(b *testing.B) {
	const n = 1_000_000
	for _, family := range families {
		prefixes := family.prefixes(rand.New(rand.NewPCG(1, 2)), n)
		own := make([]netip.Prefix, n)
		b.Run(fmt.Sprintf("family=%s/n=%d", family.name, n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				copy(own, prefixes)
				NewRanges(own)
			}
		})
	}
}

// split deals the prefixes out to the given number of lists.
func split(prefixes []netip.Prefix, lists int) []Ranges {
	hands := make([][]netip.Prefix, lists)
	for i, p := range prefixes {
		hands[i%lists] = append(hands[i%lists], p)
	}
	ranges := make([]Ranges, lists)
	for i, hand := range hands {
		ranges[i] = NewRanges(hand)
	}
	return ranges
}

// sink keeps the compiler from dropping look-ups whose result nobody reads.
var sink uint32
