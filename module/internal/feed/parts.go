package feed

// PartSize is the number of entries of one part of a pushed list, by what they name.
type PartSize struct{ IPv4, IPv6, Names int }

func (p PartSize) all() int { return p.IPv4 + p.IPv6 + p.Names }

func (e *entries) sizes() (sizes [MaxParts]PartSize) {
	for i := range e.v4 {
		sizes[e.v4[i].part()].IPv4++
	}
	for i := range e.v6 {
		sizes[e.v6[i].part()].IPv6++
	}
	for i := range e.named {
		sizes[e.named[i].part()].Names++
	}
	return sizes
}

// trim removes entries so that at most the given number stays: those of the highest parts, and of a
// part the newest, which have the highest IDs. It returns how many it has removed.
func (e *entries) trim(most int) (over int) {
	if over = e.count() - most; over <= 0 {
		return 0
	}
	sizes := e.sizes()
	last, left := MaxParts-1, over // the part of which only some entries are removed
	for ; left > sizes[last].all(); last-- {
		left -= sizes[last].all()
	}
	size := sizes[last]
	v6 := min(left, size.IPv6)
	v4 := min(left-v6, size.IPv4)
	e.v4 = trimmed(e.v4, last, size.IPv4-v4)
	e.v6 = trimmed(e.v6, last, size.IPv6-v6)
	e.named = trimmed(e.named, last, size.Names-(left-v6-v4))
	return over
}

// trimmed returns the entries of the parts before the last, and the first entries of that.
func trimmed[E packed](list []E, last, first int) []E {
	kept := make([]E, 0, len(list))
	for _, e := range list {
		part := int(e.part())
		if part == last {
			first--
		}
		if part < last || part == last && first >= 0 {
			kept = append(kept, e)
		}
	}
	return kept
}

// member returns the member of the Index that a part of the list is.
func (l *list) member(part int) int {
	if part == 0 {
		return l.number
	}
	return l.further + part - 1
}
