package iplist

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/gaissmai/bart"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// build makes the index of the same lists.
func build(lists ...twin) *Index {
	ranges := make([]Ranges, len(lists))
	for i, list := range lists {
		ranges[i] = list.ranges()
	}
	return Build(ranges)
}

func TestLookup(t *testing.T) {
	x := build(
		parse("192.0.2.0/24", "2001:db8::/32"),
		parse("192.0.2.128/25", "198.51.100.7/32", "2001:db8:7::/48", "2001:db8:7:7::7/128"),
		parse("0.0.0.0/8", "255.255.255.255/32", "::/128", "ffff::/16", "192.0.3.0/24"),
		nil,
		parse("192.0.2.200/32", "::ffff:203.0.113.5/128", "2001:db8:7:7::7/128"),
	)
	tests := []struct {
		name, addr string
		want       []uint16
	}{
		{"in one list", "192.0.2.1", []uint16{0}},
		{"first of a nested prefix", "192.0.2.128", []uint16{0, 1}},
		{"before a nested prefix", "192.0.2.127", []uint16{0}},
		{"twice nested", "192.0.2.200", []uint16{0, 1, 4}},
		{"last before a neighbour", "192.0.2.255", []uint16{0, 1}},
		{"neighbour in another list", "192.0.3.0", []uint16{2}},
		{"after the neighbour", "192.0.4.0", nil},
		{"single address", "198.51.100.7", []uint16{1}},
		{"beside a single address", "198.51.100.8", nil},
		{"first IPv4 address", "0.0.0.0", []uint16{2}},
		{"last IPv4 address", "255.255.255.255", []uint16{2}},
		{"one before the last", "255.255.255.254", nil},
		{"listed as mapped", "203.0.113.5", []uint16{4}},
		{"asked as mapped", "::ffff:192.0.2.1", []uint16{0}},
		{"IPv4-compatible is not IPv4", "::192.0.2.1", nil},
		{"IPv6", "2001:db8::1", []uint16{0}},
		{"IPv6 with a zone", "2001:db8::1%eth0", []uint16{0}},
		{"IPv6 nested", "2001:db8:7::1", []uint16{0, 1}},
		{"IPv6 nested in two lists", "2001:db8:7:7::7", []uint16{0, 1, 4}},
		{"IPv6 after", "2001:db8:7:7::8", []uint16{0, 1}},
		{"IPv6 miss", "2001:db9::", nil},
		{"first IPv6 address", "::", []uint16{2}},
		{"second IPv6 address", "::1", nil},
		{"last IPv6 address", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", []uint16{2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, x.Members(x.Lookup(netip.MustParseAddr(tt.addr)))); diff != "" {
				t.Errorf("lists of %s (-want +got):\n%s", tt.addr, diff)
			}
		})
	}
}

func TestNothing(t *testing.T) {
	full := build(parse("0.0.0.0/0", "::/0"))
	for name, x := range map[string]*Index{"nil": nil, "no lists": Build(nil), "empty lists": Build(make([]Ranges, MaxLists))} {
		for _, addr := range probes(parse("192.0.2.0/24", "2001:db8::/32")) {
			if set := x.Lookup(addr); set != 0 {
				t.Errorf("%s: Lookup(%v) = %d", name, addr, set)
			}
		}
		if x.Sets() != 1 || x.Members(0) != nil || x.Members(1) != nil {
			t.Errorf("%s: %d sets, members %v %v", name, x.Sets(), x.Members(0), x.Members(1))
		}
		for i, list := range x.Lists() {
			if list.Len() != 0 {
				t.Errorf("%s: list %d holds %v", name, i, list)
			}
		}
		if x.Size() > 1<<10 {
			t.Errorf("%s takes %d bytes", name, x.Size())
		}
	}
	if set := full.Lookup(netip.Addr{}); set != 0 {
		t.Errorf("the zero address is in set %d", set)
	}
}

func TestTooManyLists(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("65,536 lists were accepted: their numbers do not fit")
		}
	}()
	Build(make([]Ranges, MaxLists+1))
}

// The sets that a boundary only passes through, where one list ends and another begins, must not be counted.
func TestSets(t *testing.T) {
	x := build(parse("192.0.2.0/25", "198.51.100.0/25"), parse("192.0.2.128/25"), parse("198.51.100.128/25"))
	if x.Sets() != 4 {
		t.Errorf("Sets() = %d, want none and three of one list", x.Sets())
	}
}

// Each of 70,000 IPv4 addresses is in other lists than all others, so that set numbers need more than 16 bits. The sets
// of the last of them hold IPv6 addresses and networks too.
func TestMoreSetsThan16Bits(t *testing.T) {
	const lists, n, also6 = 17, 70_000, 65_000
	prefixes := make([][]netip.Prefix, lists)
	addrs := func(i int) []netip.Prefix {
		step := 3 * uint64(i)
		addrs := []netip.Prefix{range4(0).prefix(uint128{lo: step}, 0)}
		if i >= also6 {
			addrs = append(addrs, range6{}.prefix(uint128{0x2001_0db8 << 32, step}, 0), range6{}.prefix(uint128{0x2001_0db9<<32 | step, 0}, 64))
		}
		return addrs
	}
	for i := range n {
		for list := range lists {
			if i>>list&1 == 1 {
				prefixes[list] = append(prefixes[list], addrs(i)...)
			}
		}
	}
	ranges := make([]Ranges, lists)
	for list := range lists {
		ranges[list] = NewRanges(prefixes[list])
	}
	x := Build(ranges)
	if x.Sets() != n {
		t.Fatalf("Sets() = %d, want %d", x.Sets(), n)
	}
	for i := range n {
		for _, p := range addrs(i) {
			var got int
			for _, list := range x.Members(x.Lookup(p.Addr())) {
				got |= 1 << list
			}
			if got != i {
				t.Fatalf("%v is in the lists %b, want %b", p, got, i)
			}
		}
	}
}

func TestIndexAgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lists := rapid.SliceOfN(drawList(), 0, 6).Draw(t, "lists")
		checkIndex(t, build(lists...), lists)
	})
}

// checkIndex compares an index with the slow lists at every place where an answer can change.
func checkIndex(t interface{ Fatalf(string, ...any) }, x *Index, lists []twin) {
	used := map[uint32]bool{0: true}
	for _, addr := range probes(lists...) {
		set := x.Lookup(addr)
		used[set] = true
		if got, want := x.Members(set), members(lists, addr); !slices.Equal(got, want) {
			t.Fatalf("%v is in the lists %v, want %v", addr, got, want)
		}
	}
	again := x.Lists()
	for i, list := range lists {
		if want := list.ranges(); !slices.Equal(again[i].v4, want.v4) || !slices.Equal(again[i].v6, want.v6) {
			t.Fatalf("list %d is given back as %v, want %v", i, again[i], want)
		}
	}
	if len(again) != len(lists) {
		t.Fatalf("%d lists are given back, want %d", len(again), len(lists))
	}
	if len(used) != x.Sets() {
		t.Fatalf("Sets() = %d, but addresses are in %d", x.Sets(), len(used))
	}
	names := map[string]bool{}
	for set := range uint32(x.Sets()) {
		names[fmt.Sprint(x.Members(set))] = true
	}
	if len(names) != x.Sets() {
		t.Fatalf("of %d sets only %d differ", x.Sets(), len(names))
	}
}

// A trie for each list, by others, must say the same of many prefixes as blocklists have them.
func TestIndexAgainstTries(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const lists, n = 20, 20_000
	tries := make([]bart.Lite, lists)
	prefixes := make([][]netip.Prefix, lists)
	for i := range n {
		for _, p := range []netip.Prefix{randomPrefixes4(rng, 1)[0], crowded6(rng)} {
			list := i % lists
			tries[list].Insert(p)
			prefixes[list] = append(prefixes[list], p)
		}
	}
	all := slices.Concat(prefixes...)
	ranges := make([]Ranges, lists)
	for i := range ranges {
		ranges[i] = NewRanges(prefixes[i])
	}
	x := Build(ranges)
	for i, list := range x.Lists() {
		if !slices.Equal(list.v4, ranges[i].v4) || !slices.Equal(list.v6, ranges[i].v6) {
			t.Errorf("list %d is given back with %d intervals of %d, or other ones", i, list.Len(), ranges[i].Len())
		}
	}
	for _, addr := range probes(all) {
		if !addr.IsValid() || addr.Is4In6() || addr.Zone() != "" {
			continue
		}
		var want []uint16
		for i := range tries {
			if tries[i].Contains(addr) {
				want = append(want, uint16(i))
			}
		}
		if got := x.Members(x.Lookup(addr)); !slices.Equal(got, want) {
			t.Fatalf("%v is in the lists %v, want %v", addr, got, want)
		}
	}
}

// crowded6 returns a prefix of any usual length in few networks, so that all steps of the table hold some.
func crowded6(rng *rand.Rand) netip.Prefix {
	address := uint128{0x2001_0db8<<32 + rng.Uint64N(8)<<32 | rng.Uint64N(4096), rng.Uint64() & rng.Uint64N(1<<16)}
	return range6{}.prefix(address, 128-(28+rng.IntN(101))).Masked()
}

func TestLookupDoesNotAllocate(t *testing.T) {
	x := build(parse("192.0.2.0/24", "2001:db8::/32"), parse("192.0.2.1/32", "2001:db8::1/128"))
	for _, s := range []string{"192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "2001:db8::1%eth0", "203.0.113.1"} {
		addr := netip.MustParseAddr(s)
		if n := testing.AllocsPerRun(100, func() { sink += uint32(len(x.Members(x.Lookup(addr)))) }); n != 0 {
			t.Errorf("looking up %s allocates %v times", addr, n)
		}
	}
}

// Bytes become lists: list number, bits, and four or sixteen bytes of address.
func FuzzIndex(f *testing.F) {
	f.Add([]byte{0, 24, 192, 0, 2, 0, 1, 32, 192, 0, 2, 7})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 1, 32, 255, 255, 255, 255})
	f.Add(append([]byte{0x80, 0}, make([]byte, 16)...))
	f.Add(append([]byte{0x81, 128}, slices.Repeat([]byte{255}, 16)...))
	f.Add([]byte{0x80, 120, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 1})
	f.Add([]byte{0x80, 64, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x81, 127, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		lists := make([]twin, 4)
		data = data[:min(len(data), 400)]
		for len(data) >= 18 || len(data) >= 6 && data[0] < 0x80 {
			width := 4
			if data[0] >= 0x80 {
				width = 16
			}
			addr, _ := netip.AddrFromSlice(data[2 : 2+width])
			lists[data[0]&3] = append(lists[data[0]&3], netip.PrefixFrom(addr, int(data[1])))
			data = data[2+width:]
		}
		for i, list := range lists {
			lists[i] = slices.DeleteFunc(list, func(p netip.Prefix) bool { return !p.IsValid() })
			checkCanonical(t, list.ranges().Without(lists[0].ranges()))
		}
		checkIndex(t, build(lists...), lists)
	})
}
