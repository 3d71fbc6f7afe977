package lookup

import (
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// tally counts the providers by the state of their answers, and sums up the trust of those that
// have answered.
type tally struct {
	answered, missing, stale int
	trust                    float64
}

// judge makes a verdict of what is known locally and of the stored answers of the providers. asking
// means that a call is still running. Answers may be the first to say of what network the address is.
func (e *Engine) judge(
	l *local, s *scratch, now uint32, origin reputation.Origin, asking bool,
) reputation.Verdict {
	rec := &s.record
	if e.matchNamed(l, rec) {
		if v, decided := e.decidedByFacts(l, rec); decided {
			return v
		}
	}
	v := reputation.Verdict{Origin: origin}
	v.Facts = l.complete(facts(rec))
	match := l.match.As(v.Facts.Nature)
	s.evidence = append(s.evidence[:0], match.Evidence...)
	var t tally
	var trust float64 // of the providers that cover addr and are asked, or have answered
	for i := range e.sources {
		p := &e.sources[i]
		if !p.covers.Has(l.addr) {
			continue // its answer is not missing
		}
		a := rec.FindAt(i, p.id)
		if (a == nil || !a.Answered() || now >= a.Due) && l.holdsBack(i, p) {
			// The provider is not asked. So no answer is missing, and an expired one would never be
			// replaced.
			continue
		}
		trust += p.Source.Trust
		s.evidence = p.addEvidence(a, now, s.evidence, &t)
	}
	if l.claim.isEvidence() {
		s.evidence = append(s.evidence, l.claim.evidence())
		t.answered, t.trust, trust = t.answered+1, t.trust+1, trust+1
	}
	if l.seen {
		before := len(s.evidence)
		if s.evidence = e.addOwn(l, s.evidence, v.Facts, now); len(s.evidence) > before {
			t.answered, t.trust, trust = t.answered+1, t.trust+1, trust+1
		}
	}
	var ofNetwork float64
	if t.missing > 0 { // the network speaks only where a provider does not
		s.evidence, ofNetwork = e.addNetwork(l, rec, v.Facts.Nature, s.evidence, now)
	}
	t.trust += ofNetwork
	expected := match.Total + trust

	if expected > 0 {
		v.Coverage = (match.Trust + t.trust) / expected
	}
	v.Status = t.status(match, asking)
	v.Reasons = match.Verdict.Reasons
	if v.Coverage == 0 { // then the reasons are labels
		return v
	}
	percent := match.Percent
	v.Categories = match.Verdict.Categories
	if more := s.evidence[len(match.Evidence):]; len(more) > 0 {
		if score.IsRelay(v.Facts.Nature) {
			score.SpareRelay(more)
		}
		percent, v.Reasons = score.Judge(s.evidence, nil)
		v.Categories = score.CategoriesOf(s.evidence)
	}
	v.Scored, v.Score = true, score.Round(percent)
	return v
}

// addEvidence appends the provider's answer to the evidence, unless its severity or confidence is
// zero, and counts the answer in t.
func (p *provider) addEvidence(a *record.Answer, now uint32, evidence []score.Evidence, t *tally) []score.Evidence {
	if a == nil || !a.Answered() {
		t.missing++
		return evidence
	}
	t.answered++
	t.trust += p.Source.Trust
	if a.Failed || now >= a.Due {
		t.stale++
	}
	if a.Severity == 0 || a.Confidence == 0 {
		return evidence
	}
	return append(evidence, score.Evidence{
		Source:     &p.Source,
		Severity:   float64(a.Severity) / 100,
		Confidence: float64(a.Confidence) / 100,
		Categories: a.Categories,
		Age:        time.Duration(now-min(a.Fetched, now)) * time.Second,
		Seen:       time.Duration(a.SeenDays) * 24 * time.Hour,
	})
}

// status returns how complete and current the answers are.
func (t *tally) status(match *listing.Match, asking bool) reputation.Status {
	switch {
	case t.missing > 0 && asking:
		return reputation.Pending
	case t.answered == 0 && match.Trust == 0:
		return reputation.Unknown
	case t.missing > 0 || match.Trust < match.Total:
		return reputation.Partial
	case t.stale > 0:
		return reputation.Stale
	}
	return reputation.Fresh
}

// facts unpacks the facts that providers have reported about the address.
func facts(rec *record.Record) reputation.Facts {
	return reputation.Facts{Country: country(rec.Country), ASN: rec.ASN, Nature: rec.Nature}
}

// countries holds all two-letter codes in one string, so that a code costs no allocation.
var countries = func() string {
	b := make([]byte, 0, 26*26*2)
	for first := byte('A'); first <= 'Z'; first++ {
		for second := byte('A'); second <= 'Z'; second++ {
			b = append(b, first, second)
		}
	}
	return string(b)
}()

func country(code [2]byte) string {
	first, second := code[0]-'A', code[1]-'A'
	if first > 25 || second > 25 {
		return ""
	}
	i := 2 * (26*int(first) + int(second))
	return countries[i : i+2]
}
