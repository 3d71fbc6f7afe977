package iplist

import (
	"cmp"
	"net/netip"
	"slices"
)

// firstMerge is how many intervals a Builder collects before it merges them for the first time.
const firstMerge = 1 << 16

// Builder collects the addresses of one list. It merges what it has whenever that has doubled, so
// that duplicates and neighbours take no memory. The zero Builder is empty.
type Builder struct {
	all    Ranges
	merged int // the number of intervals after the last merge
}

// Add adds the addresses of p, as NewRanges reads it.
func (b *Builder) Add(p netip.Prefix) {
	b.all.add(p)
	if n := b.all.Len(); n >= firstMerge && n >= 2*b.merged {
		b.all.merge() // keeps the capacity for what follows
		b.merged = b.all.Len()
	}
}

// Len returns how many intervals there were after the last merge. What was added since is not
// counted, so that the list may have more or, by another merge, fewer.
func (b *Builder) Len() int { return b.merged }

// Ranges returns the addresses, and empties the Builder.
func (b *Builder) Ranges() Ranges {
	r := b.all
	*b = Builder{}
	return r.finish()
}

// add appends the addresses of p, so that r must be merged before it is used.
func (r *Ranges) add(p netip.Prefix) {
	switch {
	case !p.IsValid():
	case isIPv4(p):
		r.v4 = append(r.v4, newRange4(p))
	default:
		r.v6 = appendRange6(r.v6, p)
	}
}

// finish merges r and releases unused capacity.
func (r *Ranges) finish() Ranges {
	r.merge()
	return Ranges{clip(r.v4), clip(r.v6)}
}

func (r *Ranges) merge() {
	slices.Sort(r.v4)
	slices.SortFunc(r.v6, func(a, b range6) int {
		return cmp.Or(cmp.Compare(a.first.hi, b.first.hi), cmp.Compare(a.first.lo, b.first.lo))
	})
	r.v4, r.v6 = merge(r.v4), merge(r.v6)
}
