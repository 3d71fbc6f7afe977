package address

import (
	"math/big"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func number(addr netip.Addr) *big.Int { return new(big.Int).SetBytes(addr.AsSlice()) }

// drawRange draws two addresses of one family, often near each other.
func drawRange(rt *rapid.T) Range {
	size := rapid.SampledFrom([]int{4, 16}).Draw(rt, "bytes")
	from := rapid.SliceOfN(rapid.Byte(), size, size).Draw(rt, "from")
	to := append([]byte(nil), from...)
	copy(to[rapid.IntRange(0, size-1).Draw(rt, "equal"):], rapid.SliceOfN(rapid.Byte(), size, size).Draw(rt, "to"))
	r := Range{}
	r.From, _ = netip.AddrFromSlice(from)
	r.To, _ = netip.AddrFromSlice(to)
	return r
}

// TestRangePrefixes: they are neighbours from the first address to the last, and none could be wider.
func TestRangePrefixes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := drawRange(rt)
		next, before, n := r.From, netip.Prefix{}, 0
		for p := range r.Prefixes() {
			if p.Addr() != next || p != p.Masked() {
				rt.Fatalf("%v: %s follows, want one from %s", r, p, next)
			}
			if wider := netip.PrefixFrom(p.Addr(), p.Bits()-1); before.IsValid() && before.Bits() == p.Bits() && wider.Masked().Addr() == before.Addr() {
				rt.Fatalf("%v: %s and %s are one", r, before, p)
			}
			before, next = p, last(p).Next()
			n++
		}
		switch {
		case r.IsValid() != !r.To.Less(r.From):
			rt.Errorf("%v is valid: %v", r, r.IsValid())
		case !r.IsValid() && n > 0:
			rt.Errorf("%v has %d prefixes", r, n)
		case r.IsValid() && last(before) != r.To:
			rt.Errorf("%v ends with %s", r, before)
		case n > 2*r.From.BitLen()-2:
			rt.Errorf("%v has %d prefixes", r, n)
		}
	})
}

// TestRangeTooWide compares with numbers.
func TestRangeTooWide(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := drawRange(rt)
		if !r.IsValid() {
			return
		}
		bits := uint(24)
		if r.From.Is6() {
			bits = 112
		}
		size := new(big.Int).Sub(number(r.To), number(r.From))
		want := size.Cmp(new(big.Int).Lsh(big.NewInt(1), bits)) >= 0
		for _, reserved := range reservedPrefixes {
			want = want && !(reserved.Contains(r.From) && reserved.Contains(r.To))
		}
		if got := r.TooWide(); got != want {
			rt.Errorf("%v of %s+1 addresses is too wide: %v", r, size, got)
		}
	})
	for text, want := range map[string]bool{
		"203.0.0.0 203.255.255.255": false, "203.0.0.0 204.0.0.0": true, "203.0.113.0 204.0.112.255": false,
		"224.0.0.0 255.255.255.255": false, "203.0.0.0 255.255.255.255": true, "2001:: 2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff": false,
	} {
		var from, to string
		for i, c := range text {
			if c == ' ' {
				from, to = text[:i], text[i+1:]
			}
		}
		r := Range{netip.MustParseAddr(from), netip.MustParseAddr(to)}
		if r.TooWide() != want {
			t.Errorf("%s is too wide: %v", text, !want)
		}
	}
}

func TestInvalidRanges(t *testing.T) {
	for _, r := range []Range{
		{},
		{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
		{netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("192.0.2.1")},
		{netip.MustParseAddr("fe80::1%a"), netip.MustParseAddr("fe80::2%a")},
	} {
		if r.IsValid() {
			t.Errorf("%v is valid", r)
		}
	}
}
