package address

import (
	"iter"
	"net/netip"
)

// Range is the addresses from one to another, both included. They are of one family.
type Range struct{ From, To netip.Addr }

// IsValid reports whether the range has addresses.
func (r Range) IsValid() bool {
	return r.From.IsValid() && r.From.BitLen() == r.To.BitLen() && r.From.Zone() == "" && r.To.Zone() == "" &&
		!r.To.Less(r.From)
}

// TooWide reports whether the range, which must be valid, covers more of the Internet than an entry
// of a list may: see the function TooWide.
func (r Range) TooWide() bool {
	for _, reserved := range reservedPrefixes {
		if reserved.Contains(r.From) && reserved.Contains(r.To) {
			return false
		}
	}
	widest := 16
	if r.From.Is4() {
		widest = 8
	}
	// The first address that is too far away, if there is one, is From with the block's number one higher.
	block := netip.PrefixFrom(r.From, widest).Masked()
	next := last(block).Next()
	if !next.IsValid() || r.To.Less(next) {
		return false
	}
	offset := r.From.AsSlice()
	beyond := next.AsSlice()
	copy(beyond[widest/8:], offset[widest/8:])
	limit, _ := netip.AddrFromSlice(beyond)
	return !r.To.Less(limit)
}

// Prefixes returns the fewest prefixes that cover the range, which must be valid, in order: at most
// 62 for IPv4, and 254 for IPv6.
func (r Range) Prefixes() iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for from := r.From; from.IsValid() && !r.To.Less(from); {
			p := netip.PrefixFrom(from, from.BitLen())
			end := from
			for p.Bits() > 0 {
				wider := netip.PrefixFrom(from, p.Bits()-1)
				if wider != wider.Masked() || r.To.Less(last(wider)) {
					break
				}
				p, end = wider, last(wider)
			}
			if !yield(p) {
				return
			}
			from = end.Next()
		}
	}
}

// last returns the last address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		if host := 8*(i+1) - p.Bits(); host >= 8 {
			b[i] = 0xff
		} else if host > 0 {
			b[i] |= 1<<host - 1
		}
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

// RangeOf returns the addresses of a prefix.
func RangeOf(p netip.Prefix) Range { return Range{p.Masked().Addr(), last(p)} }
