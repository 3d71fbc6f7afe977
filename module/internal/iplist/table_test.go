package iplist

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// TestTable compares with asking each prefix.
func TestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type entry struct {
			prefix netip.Prefix
			value  uint32
		}
		var entries []entry
		table := NewTable()
		values := rapid.SampledFrom([]uint32{1, 2, 70_000, MaxValue})
		for _, family := range []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")} {
			// a random tree in ascending order
			var grow func(p netip.Prefix, depth int)
			grow = func(p netip.Prefix, depth int) {
				if depth == 0 || p.Bits() == p.Addr().BitLen() {
					if rapid.IntRange(0, 2).Draw(t, "empty") > 0 {
						e := entry{p, values.Draw(t, "value")}
						entries = append(entries, e)
						table.Add(e.prefix, e.value)
					}
					return
				}
				bits := min(p.Bits()+rapid.SampledFrom([]int{1, 2, 15, 16, 31, 32, 63}).Draw(t, "bits"), p.Addr().BitLen())
				first, last := borders(p)
				grow(netip.PrefixFrom(first, bits), depth-1)
				if high := netip.PrefixFrom(last, bits).Masked(); high.Addr() != first {
					grow(high, depth-1)
				}
			}
			grow(family, 4)
		}
		table.Finish()
		if table.Len() > len(entries) {
			t.Fatalf("%d intervals of %d prefixes", table.Len(), len(entries))
		}
		var prefixes twin
		for _, e := range entries {
			prefixes = append(prefixes, e.prefix)
		}
		for _, addr := range probes(prefixes) {
			var want uint32
			for _, e := range entries {
				if e.prefix.Contains(addr.Unmap().WithZone("")) {
					want = e.value
				}
			}
			if got := table.Lookup(addr); got != want {
				t.Fatalf("%v: %d; want %d, of %v", addr, got, want, entries)
			}
		}
	})
}

func TestTableJoinsNeighbours(t *testing.T) {
	table := NewTable()
	for _, p := range parse("192.0.2.0/25", "192.0.2.128/25", "198.51.100.0/24", "2001:db8::/64", "2001:db8:0:1::/64") {
		table.Add(p, 7)
	}
	table.Finish()
	if table.Len() != 3 {
		t.Errorf("%d intervals; want 3", table.Len())
	}
	if empty := NewTable(); empty.Lookup(netip.MustParseAddr("192.0.2.1")) != 0 || empty.Lookup(netip.Addr{}) != 0 {
		t.Error("an empty table has values")
	}
}
