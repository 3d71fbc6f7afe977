package lookup

import (
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Own is what this site itself has seen its clients do. It is asked about every address that is judged.
type Own interface {
	// Knows reports whether there may be evidence about an address of the autonomous system, which is 0 if it is not
	// known. Of most addresses there is none. It must neither lock nor allocate.
	Knows(addr netip.Addr, asn uint32) bool
	// AddEvidence appends the evidence about an address. now is in seconds since 1970. It must neither lock nor, if
	// there is room, allocate.
	AddEvidence(evidence []score.Evidence, addr netip.Addr, facts reputation.Facts, now uint32) []score.Evidence
	// Nearby is the source of what the neighbours did, which depends on the autonomous system and the nature of the
	// client. It is nil if neighbours do not count, and while nobody has any. It must not lock.
	Nearby() *score.Source
	// Most is how many pieces of evidence are appended at most.
	Most() int
}

// UseOwn gives the engine what this site has seen. It must be called before the first look-up.
func (e *Engine) UseOwn(own Own) { e.Own = own }

// see finds out whether this site has seen the client or its neighbours. rec may be nil. Nothing is held against a
// verified bot.
func (e *Engine) see(l *local, rec *record.Record) {
	if e.Own == nil || l.claim.Bot != "" {
		return
	}
	asn := l.facts.ASN
	if asn == 0 && rec != nil {
		asn = rec.ASN
	}
	l.seen = e.Own.Knows(l.addr, asn)
}

// addOwn appends what this site has seen.
func (e *Engine) addOwn(l *local, evidence []score.Evidence, facts reputation.Facts, now uint32) []score.Evidence {
	before := len(evidence)
	evidence = e.Own.AddEvidence(evidence, l.addr, facts, now)
	if score.IsRelay(facts.Nature) {
		score.SpareRelay(evidence[before:])
	}
	return evidence
}

// settles reports whether the lists, together with what this site has seen, decide: asking providers would only spend
// quota.
func (e *Engine) settles(l *local, s *scratch, now uint32) bool {
	l.percent = l.match.Percent
	if l.match.Settled || !l.seen {
		return l.match.Settled
	}
	s.evidence = e.addOwn(l, append(s.evidence[:0], l.match.Evidence...), l.complete(facts(&s.record)), now)
	l.percent, s.reasons = score.Judge(s.evidence, s.reasons[:0])
	return l.percent >= score.Certain
}
