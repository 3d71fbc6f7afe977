package iplist

import (
	"net/netip"
	"slices"

	"pgregory.net/rapid"
)

// twin is a list the slow way: each prefix is asked.
type twin []netip.Prefix

func (t twin) contains(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(t, func(p netip.Prefix) bool {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return p.Contains(addr)
	})
}

// members returns the numbers of the lists that hold addr.
func members(lists []twin, addr netip.Addr) []uint16 {
	var numbers []uint16
	for i, list := range lists {
		if list.contains(addr) {
			numbers = append(numbers, uint16(i))
		}
	}
	return numbers
}

// probes returns the addresses at which an answer can change: the borders of the prefixes, both sides of each.
func probes(lists ...twin) []netip.Addr {
	addrs := []netip.Addr{
		{}, netip.IPv4Unspecified(), netip.MustParseAddr("255.255.255.255"), netip.IPv6Unspecified(),
		netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), netip.MustParseAddr("::fffe:ffff:ffff"),
		netip.MustParseAddr("::1:0:0:0"), netip.MustParseAddr("::ffff:0.0.0.0"), netip.MustParseAddr("fe80::1%eth0"),
	}
	for _, list := range lists {
		for _, p := range list {
			first, last := borders(p)
			addrs = append(addrs, first.Prev(), first, first.Next(), last.Prev(), last, last.Next())
		}
	}
	return addrs
}

// borders returns the first and the last address of a prefix.
func borders(p netip.Prefix) (first, last netip.Addr) {
	first = p.Masked().Addr()
	bytes := first.AsSlice()
	for i := range bytes {
		if host := 8*(i+1) - p.Bits(); host > 0 {
			bytes[i] |= byte(1<<min(host, 8) - 1)
		}
	}
	last, _ = netip.AddrFromSlice(bytes)
	return first, last
}

// corners are addresses around which generated prefixes crowd, so that they nest, touch and repeat.
var corners = []netip.Addr{
	netip.MustParseAddr("0.0.0.0"),
	netip.MustParseAddr("192.0.2.0"),
	netip.MustParseAddr("192.0.255.254"),
	netip.MustParseAddr("255.255.255.255"),
	netip.MustParseAddr("::"),
	netip.MustParseAddr("::ffff:192.0.2.1"),
	netip.MustParseAddr("::fffe:ffff:ffff"),
	netip.MustParseAddr("2001:db8::"),
	netip.MustParseAddr("2001:db8:0:1::"),
	netip.MustParseAddr("2001:db8:ffff:ffff:ffff:ffff:ffff:fffe"),
	netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
}

// drawPrefix generates a prefix near a corner, of any length but mostly a long one.
func drawPrefix() *rapid.Generator[netip.Prefix] {
	return rapid.Custom(func(t *rapid.T) netip.Prefix {
		addr := rapid.SampledFrom(corners).Draw(t, "corner")
		for range rapid.IntRange(0, 3).Draw(t, "steps") {
			if next := addr.Next(); next.IsValid() {
				addr = next
			}
		}
		width := addr.BitLen()
		bits := rapid.OneOf(rapid.IntRange(0, width), rapid.IntRange(width-3, width),
			rapid.SampledFrom([]int{0, 1, 16, 17, 31, 32, min(64, width), min(96, width)})).Draw(t, "bits")
		return netip.PrefixFrom(addr, bits)
	})
}

// drawList generates one list, sometimes an empty one.
func drawList() *rapid.Generator[twin] {
	return rapid.Custom(func(t *rapid.T) twin {
		return rapid.SliceOfN(drawPrefix(), 0, 8).Draw(t, "prefixes")
	})
}

// ranges returns the fast list of the same prefixes.
func (t twin) ranges() Ranges { return NewRanges(slices.Clone(t)) }
