package listing

import (
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Matcher knows what being on the lists of one configuration means, whatever they contain at present.
type Matcher struct {
	source  Source
	lists   []List
	current atomic.Pointer[Lists]
}

// NewMatcher returns a matcher for lists and where their contents come from.
func NewMatcher(source Source, lists []List) *Matcher { return &Matcher{source: source, lists: lists} }

// Current returns the lists with their present contents.
func (m *Matcher) Current() *Lists {
	contents := m.source.Current()
	l := m.current.Load()
	if l == nil || l.Contents != contents {
		l = m.compile(contents)
	}
	return l
}

// Release drops what was computed from the contents of the lists, which it would otherwise hold.
func (m *Matcher) Release() { m.current.Store(nil) }

// compile prepares new contents. Two requests may do so at the same time; either result may be
// used.
func (m *Matcher) compile(contents Contents) *Lists {
	l := &Lists{
		Contents: contents, lists: m.lists,
		sets: make([]atomic.Pointer[Match], max(contents.Sets(), 1)),
	}
	for i := range m.lists {
		list := &m.lists[i]
		if list.Kind != Feed || list.Part || list.isLabel() {
			continue
		}
		l.total += list.Source.Trust
		if contents.Loaded(i) {
			l.trust += list.Source.Trust
		}
	}
	l.repeats = Repeats(m.lists, contents.Content)
	m.current.Store(l)
	return l
}

// Lists are contents with what they mean. Configurations share contents, but each gives the lists
// weights of its own.
type Lists struct {
	Contents
	lists   []List
	sets    []atomic.Pointer[Match]
	named   [maxNamedMatches]atomic.Pointer[namedMatch]
	repeats []int   // see Repeats
	trust   float64 // of the lists that have contents
	total   float64 // of all lists
}

// Match is what one set of lists means. It is computed when an address is first found on the
// set, and shared by all requests: it must not be changed.
type Match struct {
	Exempt, Denied, Bots bool

	// Listed means that the address is on a list other than those of exempt addresses.
	Listed bool

	// Settled means that the lists alone decide: asking providers would only spend quota.
	Settled bool

	Evidence []score.Evidence
	Nature   reputation.Nature
	Percent  float64
	Verdict  reputation.Verdict // for an engine without providers

	// Trust is that of the lists that have contents, Total that of all lists.
	Trust, Total float64

	// asRelay is the result for an address of which databases or providers say that it is a relay, if
	// that is another one.
	asRelay *Match
}

// Match returns the result for the set of lists that contain addr.
func (l *Lists) Match(addr netip.Addr) *Match {
	set := l.Lookup(addr)
	m := l.sets[set].Load()
	if m == nil {
		m = l.matchOf(l.Members(set))
		l.sets[set].Store(m)
	}
	return m
}

// As returns the match for an address of this nature.
func (m *Match) As(n reputation.Nature) *Match {
	if m.asRelay != nil && score.IsRelay(n) {
		return m.asRelay
	}
	return m
}

// matchOf computes the result for a set of lists, ascending.
func (l *Lists) matchOf(members []uint16) *Match {
	m := &Match{Trust: l.trust, Total: l.total}
	for _, i := range members {
		list := &l.lists[i]
		switch list.Kind {
		case Exempt:
			m.Exempt = true
		case Deny:
			m.Denied, m.Listed = true, true
		case Bots:
			m.Bots = true
		case Feed:
			m.Listed = m.Listed || !list.isLabel()
			m.Nature = m.Nature.Merge(list.Nature)
			m.Evidence = list.addEvidence(m.Evidence, l.repeats[i] >= 0)
		}
	}
	if relay := *m; score.IsRelay(m.Nature) {
		score.SpareRelay(m.Evidence)
	} else if relay.Evidence = slices.Clone(m.Evidence); score.SpareRelay(relay.Evidence) {
		relay.conclude()
		m.asRelay = &relay
	}
	m.conclude()
	return m
}

// conclude computes what follows from the evidence.
func (m *Match) conclude() {
	var reasons []reputation.Reason
	m.Percent, reasons = score.Judge(m.Evidence, nil)
	m.Settled = m.Percent >= score.Certain

	v := &m.Verdict
	v.Reasons, v.Origin = reasons, reputation.OriginList
	v.Status, v.Coverage = reputation.Fresh, 1
	if m.Total > 0 {
		v.Coverage = m.Trust / m.Total
	}
	switch {
	case m.Total == 0:
		v.Status, v.Coverage = reputation.Unknown, 0
	case v.Coverage == 0:
		v.Status = reputation.Unknown
	case v.Coverage < 1:
		v.Status = reputation.Partial
	}
	if v.Coverage > 0 {
		v.Scored, v.Score = true, score.Round(m.Percent)
	}
	v.Categories = score.CategoriesOf(m.Evidence)
}
