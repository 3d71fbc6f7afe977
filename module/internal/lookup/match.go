package lookup

import (
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// listing is a Listing with the values that this engine computes from it. Configurations share a
// Listing, but each gives the lists weights of its own.
type listing struct {
	Listing
	sets    []atomic.Pointer[listMatch]
	named   [maxNamedMatches]atomic.Pointer[namedMatch]
	repeats []int   // see Repeats
	trust   float64 // of the lists that have contents
	total   float64 // of all lists
}

// listMatch is the result for one set of lists. It is computed when an address first matches the
// set, and shared by all requests.
type listMatch struct {
	exempt, denied, feeds, bots bool

	// settled means that the lists alone decide: asking providers would only spend quota.
	settled bool

	evidence []score.Evidence
	nature   reputation.Nature
	percent  float64
	verdict  reputation.Verdict // for an engine without providers

	trust, total float64

	// asRelay is the result for an address of which databases or providers say that it is a relay, if
	// that is another one.
	asRelay *listMatch
}

// listed reports whether the address is on a list other than those of exempt addresses.
func (m *listMatch) listed() bool { return m.denied || m.feeds }

// match returns the result for the set of lists that contain addr.
func (e *Engine) match(l *listing, addr netip.Addr) *listMatch {
	set := l.Lookup(addr)
	m := l.sets[set].Load()
	if m == nil {
		m = e.compileSet(l, l.Members(set))
		l.sets[set].Store(m)
	}
	return m
}

// listing returns the present contents of the lists.
func (e *Engine) listing() *listing {
	lists := e.Lists.Current()
	l := e.compiled.Load()
	if l == nil || l.Listing != lists {
		l = e.compile(lists)
	}
	return l
}

// compile prepares a new listing. Two requests may do so at the same time; either result may be
// used.
func (e *Engine) compile(lists Listing) *listing {
	l := &listing{Listing: lists, sets: make([]atomic.Pointer[listMatch], max(lists.Sets(), 1))}
	for i, m := range e.Meanings {
		if m.Kind != Feed || m.Part || m.isLabel() {
			continue
		}
		l.total += m.Source.Trust
		if lists.Loaded(i) {
			l.trust += m.Source.Trust
		}
	}
	l.repeats = Repeats(e.Meanings, lists.Content)
	e.compiled.Store(l)
	return l
}

// compileSet computes the result for a set of lists, ascending.
func (e *Engine) compileSet(l *listing, members []uint16) *listMatch {
	m := &listMatch{trust: l.trust, total: l.total}
	for _, i := range members {
		list := &e.Meanings[i]
		switch list.Kind {
		case Exempt:
			m.exempt = true
		case Deny:
			m.denied = true
		case Bots:
			m.bots = true
		case Feed:
			m.feeds = m.feeds || !list.isLabel()
			m.nature = m.nature.Merge(list.Nature)
			m.evidence = list.addEvidence(m.evidence, l.repeats[i] >= 0)
		}
	}
	if relay := *m; isRelay(m.nature) {
		spare(m.evidence)
	} else if relay.evidence = slices.Clone(m.evidence); spare(relay.evidence) {
		relay.conclude()
		m.asRelay = &relay
	}
	m.conclude()
	return m
}

// conclude computes what follows from the evidence.
func (m *listMatch) conclude() {
	var reasons []reputation.Reason
	m.percent, reasons = score.Judge(m.evidence, nil)
	m.settled = m.percent >= score.Certain

	v := &m.verdict
	v.Reasons, v.Origin = reasons, reputation.OriginList
	v.Status, v.Coverage = reputation.Fresh, 1
	if m.total > 0 {
		v.Coverage = m.trust / m.total
	}
	switch {
	case m.total == 0:
		v.Status, v.Coverage = reputation.Unknown, 0
	case v.Coverage == 0:
		v.Status = reputation.Unknown
	case v.Coverage < 1:
		v.Status = reputation.Partial
	}
	if v.Coverage > 0 {
		v.Scored, v.Score = true, score.Round(m.percent)
	}
	v.Categories = categoriesOf(m.evidence)
}

func categoriesOf(evidence []score.Evidence) (all reputation.Categories) {
	for i := range evidence {
		if evidence[i].Severity != 0 {
			all |= evidence[i].Categories
		}
	}
	return all
}

// Verdicts that need no evidence.
var (
	exemptVerdict  = reputation.Verdict{Status: reputation.Exempt}
	unknownVerdict = reputation.Verdict{Status: reputation.Unknown}
	bannedVerdict  = overrideVerdict(reputation.SourceBan)
	deniedVerdict  = overrideVerdict(reputation.SourceDeny)
)

// overrideVerdict is the verdict on an address that the operator has denied or banned. The score is
// 100.
func overrideVerdict(source string) reputation.Verdict {
	return reputation.Verdict{
		Score: 100, Scored: true, Status: reputation.Fresh, Coverage: 1, Origin: reputation.OriginList,
		Reasons: []reputation.Reason{{Source: source, Points: score.OverrideWeight, Severity: 1, Confidence: 1}},
	}
}
