package iplist

// Within returns the addresses of r that are in other, too.
func (r Ranges) Within(other Ranges) Ranges {
	return Ranges{common(r.v4, other.v4), common(r.v6, other.v6)}
}

// Overlap returns how many prefixes cover the addresses that both lists have: none if they have none in common. It takes
// one pass over both.
func (r Ranges) Overlap(other Ranges) (prefixes int) {
	for range r.Within(other).Prefixes() {
		prefixes++
	}
	return prefixes
}

// common returns the addresses that a and b have in common. Both must be merged, and so is the result.
func common[R interval[R]](a, b []R) (both []R) {
	for len(a) > 0 && len(b) > 0 {
		firstA, lastA := a[0].bounds()
		firstB, lastB := b[0].bounds()
		first, last := firstA, lastA
		if first.less(firstB) {
			first = firstB
		}
		if lastB.less(last) {
			last = lastB
		}
		if !last.less(first) {
			both = append(both, a[0].with(first, last))
		}
		if lastA.less(lastB) {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return both
}
