package lookup

import (
	"net/netip"
	"sync/atomic"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// listing is a Listing with what this engine makes of it. Listings are shared between configurations, meanings are not.
type listing struct {
	Listing
	sets  []atomic.Pointer[held]
	trust float64 // of the lists that have contents
	total float64 // of all lists
}

// held is what one set of lists amounts to, computed when the set is first met and shared by all requests.
type held struct {
	exempt, denied bool

	// settled: the lists alone leave no doubt, so that asking providers would only spend quota.
	settled bool

	evidence []score.Evidence
	nature   reputation.Nature
	percent  float64
	verdict  reputation.Verdict // when the lists are all there is

	trust, total float64
}

// settledPercent is the score from which lists alone leave no doubt. No call is made that a list already answers.
const settledPercent = 90

// held returns what the lists that hold addr amount to.
func (e *Engine) held(addr netip.Addr) *held {
	now := e.Lists.Current()
	l := e.compiled.Load()
	if l == nil || l.Listing != now {
		l = e.compile(now)
	}
	set := l.Lookup(addr)
	h := l.sets[set].Load()
	if h == nil {
		h = e.weigh(l, set)
		l.sets[set].Store(h)
	}
	return h
}

// compile prepares for a new listing. Two requests may do so at the same time; either result serves.
func (e *Engine) compile(now Listing) *listing {
	l := &listing{Listing: now, sets: make([]atomic.Pointer[held], max(now.Sets(), 1))}
	for i, m := range e.Meanings {
		if m.Kind != Feed {
			continue
		}
		l.total += m.Source.Trust
		if now.Loaded(i) {
			l.trust += m.Source.Trust
		}
	}
	e.compiled.Store(l)
	return l
}

// weigh works out what a set of lists amounts to.
func (e *Engine) weigh(l *listing, set uint32) *held {
	h := &held{trust: l.trust, total: l.total}
	for _, i := range l.Members(set) {
		m := &e.Meanings[i]
		switch m.Kind {
		case Exempt:
			h.exempt = true
		case Deny:
			h.denied = true
		case Feed:
			h.nature = h.nature.Merge(m.Nature)
			h.evidence = append(h.evidence, score.Evidence{
				Source: &m.Source, Severity: 1, Confidence: m.Confidence, Categories: m.Categories, Listed: true,
			})
		}
	}
	var reasons []reputation.Reason
	h.percent, reasons = score.Judge(h.evidence, nil)
	h.settled = h.percent >= settledPercent

	v := &h.verdict
	v.Facts.Nature, v.Reasons, v.Origin = h.nature, reasons, reputation.OriginList
	v.Status, v.Coverage = reputation.Fresh, 1
	if h.total > 0 {
		v.Coverage = h.trust / h.total
	}
	switch {
	case h.total == 0:
		v.Status, v.Coverage = reputation.Unknown, 0
	case v.Coverage == 0:
		v.Status = reputation.Unknown
	case v.Coverage < 1:
		v.Status = reputation.Partial
	}
	if v.Coverage > 0 {
		v.Scored, v.Score = true, score.Round(h.percent)
	}
	v.Categories = categoriesOf(h.evidence)
	return h
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
	exemptVerdict = reputation.Verdict{Status: reputation.Exempt}
	bannedVerdict = ownVerdict(reputation.SourceBan)
	deniedVerdict = ownVerdict(reputation.SourceDeny)
)

// ownVerdict is what the operator's own word amounts to. Its points bring the score to 100 by themselves.
func ownVerdict(source string) reputation.Verdict {
	return reputation.Verdict{
		Score: 100, Scored: true, Status: reputation.Fresh, Coverage: 1, Origin: reputation.OriginList,
		Reasons: []reputation.Reason{{Source: source, Points: score.OwnWeight, Severity: 1, Confidence: 1}},
	}
}
