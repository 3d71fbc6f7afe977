package lookup

import (
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// due returns the providers that have to be asked about an address, and those of them that have
// never answered.
func (e *Engine) due(l *local, rec *record.Record, now uint32) (due, missing group) {
	for i := range e.sources {
		p := &e.sources[i]
		a := rec.FindAt(i, p.id)
		if a != nil && now < a.Due || !p.covers.Has(l.addr) || l.holdsBack(i, p) {
			continue
		}
		due |= 1 << i
		if a == nil || !a.Answered() {
			missing |= 1 << i
		}
	}
	return due, missing
}

// holdsBack reports whether the i-th provider is not asked because of what is known already.
func (l *local) holdsBack(i int, p *provider) bool {
	return l.claim.Trusted || l.settled || l.needless.has(i) || p.holdsBack(l.match)
}

// hold finds out which of the providers whose answers are due could change nothing for the request: they are not asked,
// and nobody misses them. closed means that those are all of them, and v is the verdict then. missing are the providers
// that have never answered.
func (e *Engine) hold(
	l *local, s *scratch, due, missing group, now uint32, origin reputation.Origin,
) (v reputation.Verdict, closed bool) {
	if due == 0 || e.FirstCome || l.request.Stakes == nil {
		return v, false
	}
	v, open := e.weigh(l, s, due, now, origin)
	if open && missing != 0 && missing != due {
		// Expired answers are to be replaced. Until then they count, and may be enough.
		_, _ = e.weigh(l, s, missing, now, origin)
	}
	return v, !open
}

// weigh returns the verdict without the missing providers, and whether their answers could change something for the
// request. If not, they are needless from now on.
func (e *Engine) weigh(
	l *local, s *scratch, missing group, now uint32, origin reputation.Origin,
) (v reputation.Verdict, open bool) {
	l.needless = missing
	s.verdict = e.judge(l, s, now, origin, false)
	if !e.foresee(l, s, missing, now) || l.request.Stakes.Open(l.addr, &s.verdict, &s.prospect) {
		l.needless = 0
		return s.verdict, true
	}
	return s.verdict, false
}

// judgeAnew is judge for a request that has waited. What was found out may leave nothing open for it.
func (e *Engine) judgeAnew(l *local, s *scratch, origin reputation.Origin, asking bool) reputation.Verdict {
	now := record.Seconds(time.Now())
	if e.matchNamed(l, &s.record) {
		if v, decided := e.decidedByFacts(l, &s.record); decided {
			return v
		}
	}
	l.needless = 0
	return e.judgeDue(l, s, now, origin, asking)
}

// judgeDue is judge without the providers that are due and could change nothing.
func (e *Engine) judgeDue(
	l *local, s *scratch, now uint32, origin reputation.Origin, asking bool,
) reputation.Verdict {
	due, missing := e.due(l, &s.record, now)
	if v, closed := e.hold(l, s, due, missing, now, origin); closed {
		return v
	}
	return e.judge(l, s, now, origin, asking)
}

// anything are the capabilities of a provider that does not declare them.
var anything = reputation.Capabilities{
	Categories: ^reputation.Categories(0), Natures: reputation.KindsOf(reputation.AllKinds()...),
	Country: true, ASN: true, Network: true,
}

// foresee finds out what the missing providers can make of the verdict in s, and of its evidence. It returns false where
// this could be anything: their facts decide which lists and which evidence count.
func (e *Engine) foresee(l *local, s *scratch, missing group, now uint32) bool {
	p := &s.prospect
	p.Says, p.Sources, p.Settles, s.missing = reputation.Capabilities{}, p.Sources[:0], false, s.missing[:0]
	for rest := missing; rest != 0; rest &= rest - 1 {
		source := &e.sources[bits.TrailingZeros32(uint32(rest))]
		p.Says = p.Says.Union(source.says)
		p.Sources, s.missing = append(p.Sources, source.Source.Name), append(s.missing, &source.Source)
	}
	if l.facts.Country != "" {
		p.Says.Country = false
	}
	if l.facts.ASN != 0 {
		p.Says.ASN = false
	}
	if (p.Says.Country || p.Says.ASN) && l.lists.Names() {
		return false
	}
	yes, no := l.facts.Nature.Bits()
	listed, _ := l.match.Nature.Bits()
	p.Says.Natures &^= reputation.Kinds(yes | no | listed)
	relay, mobile := p.Says.Natures.Has(reputation.NatureRelay), p.Says.Natures.Has(reputation.NatureMobile)
	if relay && score.SparesRelay(s.evidence) || (relay || mobile) && e.mayCountNetwork(l, s, now) {
		return false
	}
	if relay {
		p.Says.Natures |= score.RelayMistakenFor
	}
	if relay || mobile || p.Says.ASN {
		e.foreseeNeighbours(l, s)
	}
	alone := len(s.evidence) == 0 && len(s.missing) == bits.OnesCount32(uint32(missing))
	if o := e.outlooks.of(l.addr); alone && missing == o.missing {
		p.Low, p.High = o.low, o.high
		return true
	}
	p.Low, p.High = bounds(s)
	return true
}

// bounds returns the lowest and the highest score.
func bounds(s *scratch) (lowest, highest uint8) {
	low, high := score.Bounds(s.evidence, s.missing)
	return score.Round(low), score.Round(high)
}

// outlook is what all providers of a family of addresses can make of one about which nothing is known. Most clients about
// which somebody is to be asked are such, so that it is found out once.
type outlook struct {
	missing   group
	low, high uint8
}

// outlooks are those of IPv4 and IPv6.
type outlooks [2]outlook

func (o *outlooks) of(addr netip.Addr) *outlook {
	if addr.Is4() {
		return &o[0]
	}
	return &o[1]
}

func (e *Engine) newOutlooks() (all outlooks) {
	for _, addr := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		o, s := all.of(addr), new(scratch)
		for i := range e.sources {
			if p := &e.sources[i]; p.covers.Has(addr) {
				o.missing |= 1 << i
				s.missing = append(s.missing, &p.Source)
			}
		}
		o.low, o.high = bounds(s)
	}
	return all
}

// mayCountNetwork reports whether something is held against the network of an address, or would be if the address had
// another nature.
func (e *Engine) mayCountNetwork(l *local, s *scratch, now uint32) bool {
	if slices.ContainsFunc(s.evidence, func(e score.Evidence) bool { return e.Network }) {
		return true
	}
	if hasNeighbours(s.verdict.Facts.Nature) {
		return false
	}
	with, _ := e.addNetwork(l, &s.record, reputation.Nature{}, s.evidence, now)
	return len(with) > len(s.evidence)
}

// foreseeNeighbours takes into account that what the neighbours did counts or not, once the system or the nature of the
// address is known.
func (e *Engine) foreseeNeighbours(l *local, s *scratch) {
	if e.Own == nil || l.claim.Bot != "" {
		return
	}
	p, nearby := &s.prospect, e.Own.Nearby()
	if nearby == nil {
		return
	}
	for i := range s.evidence {
		if s.evidence[i].Source == nearby {
			s.evidence[i].Severity = 0
		}
	}
	p.Sources, s.missing = append(p.Sources, nearby.Name), append(s.missing, nearby)
	p.Settles = true
}
