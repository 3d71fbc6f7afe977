package score

// Bounds returns the lowest and the highest probability, in percent, that Judge can return once the
// missing sources have reported, whatever they report. known is the evidence of all others. It does
// not allocate for up to 64 pieces in all.
//
// More evidence against an address never lowers the score, and more in favour of it never raises it.
// So the bounds are reached where each missing source says all that its weights allow.
func Bounds(known []Evidence, missing []*Source) (low, high float64) {
	b := bounds{known: known, missing: missing}
	switch n := len(known) + len(missing); {
	case n <= stackFew:
		var space [stackFew]item
		b.items = space[:0]
	case n <= stackMost:
		var space [stackMost]item
		b.items = space[:0]
	default:
		b.items = make([]item, 0, n)
	}
	for i := range known {
		if e := &known[i]; e.Source != nil {
			b.items = append(b.items, itemOf(i, e.Source, e.points()))
		}
	}
	for i, s := range missing {
		b.items = append(b.items, itemOf(-1-i, s, s.most(1)))
	}
	high = b.percent()
	for i, s := range missing {
		b.items[len(b.items)-len(missing)+i].points = int32(s.most(-1))
	}
	return b.percent(), high
}

func itemOf(index int, s *Source, points int64) item {
	return item{index: int32(index), points: int32(points), group: fingerprint(s.group())}
}

// most returns the points of a report with the given severity and full confidence.
func (s *Source) most(severity float64) int64 {
	e := Evidence{Source: s, Severity: severity, Confidence: 1}
	return e.points()
}

// bounds adds up points as Judge does, without reasons. An item's index is that of the known
// evidence, or -1 less that of the missing source.
type bounds struct {
	known   []Evidence
	missing []*Source
	items   []item
}

// percent returns the probability that follows from the items.
func (b *bounds) percent() float64 {
	total := int64(Prior * thousand)
	for i := range b.items {
		if b.first(i) {
			total += b.sum(i)
		}
	}
	return probability(float64(total) / thousand)
}

// sum returns the points of the i-th item's group and sign, of which no item comes before it.
func (b *bounds) sum(i int) int64 {
	var strongest, rest int64
	for j := i; j < len(b.items); j++ {
		if b.together(i, j) {
			p := int64(b.items[j].points)
			p = max(p, -p)
			strongest, rest = max(strongest, p), rest+p/restShare
		}
	}
	rest = min(rest-strongest/restShare, strongest/restLimit)
	if b.items[i].points < 0 {
		return -strongest - rest
	}
	return strongest + rest
}

// first reports whether no item of the same group and sign comes before the i-th.
func (b *bounds) first(i int) bool {
	for j := range b.items[:i] {
		if b.together(j, i) {
			return false
		}
	}
	return true
}

// together reports whether two items share their group and sign.
func (b *bounds) together(i, j int) bool {
	x, y := &b.items[i], &b.items[j]
	return x.group == y.group && (x.points < 0) == (y.points < 0) && b.group(x) == b.group(y)
}

func (b *bounds) group(it *item) string {
	if it.index < 0 {
		return b.missing[-1-it.index].group()
	}
	return b.known[it.index].Source.group()
}
