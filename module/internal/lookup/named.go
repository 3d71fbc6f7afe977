package lookup

import (
	"slices"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Lists may name autonomous systems and countries besides addresses. They hold for an address whose
// facts are known: from databases, or else from what providers have reported.

// maxNamedMatches is how many combinations of lists by address and lists by name are stored at a
// time. There are few, unless somebody looks for more.
const maxNamedMatches = 256

// namedMatch is the result for a set of lists together with lists that name the network or the
// country of the address.
type namedMatch struct {
	listMatch
	set   uint32
	named []uint16
}

// matchNamed adds to the match of an address the lists that name its network or its country. rec may
// be nil. It reports whether the match has changed.
func (e *Engine) matchNamed(l *local, rec *record.Record) bool {
	asn, code := l.facts.ASN, l.facts.Country
	if rec != nil {
		if asn != 0 && code != "" {
			return false // what providers say does not count
		}
		known := facts(rec)
		if asn == 0 {
			asn = known.ASN
		}
		if code == "" {
			code = known.Country
		}
	}
	if asn == 0 && code == "" {
		return false
	}
	lists := l.lists
	named := lists.Named(asn, code)
	if slices.Equal(named, l.named) {
		return false
	}
	if l.named = named; len(named) == 0 {
		l.match = e.match(lists, l.addr).of(l.facts.Nature)
		return true
	}
	set := lists.Lookup(l.addr)
	slot := &lists.named[slotOf(set, named)]
	m := slot.Load()
	if m == nil || m.set != set || !slices.Equal(m.named, named) {
		all := slices.Concat(lists.Members(set), named)
		slices.Sort(all)
		m = &namedMatch{listMatch: *e.compileSet(lists, slices.Compact(all)), set: set, named: named}
		slot.Store(m)
	}
	l.match = m.of(l.facts.Nature)
	return true
}

// decidedByFacts is decided for an address of whose network or country only providers know, once matchNamed has found
// lists that name these.
func (e *Engine) decidedByFacts(l *local, rec *record.Record) (v reputation.Verdict, decided bool) {
	if v, decided = e.decided(l); decided {
		v.Facts = l.complete(facts(rec))
	}
	return v, decided
}

// slotOf returns where the result is stored. Combinations with the same slot replace each other.
func slotOf(set uint32, named []uint16) uint32 {
	h := set
	for _, list := range named {
		h = h*31 + uint32(list)
	}
	return h % maxNamedMatches
}
