package lookup

import (
	"math/bits"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Providers stand on the rungs of a ladder by what a call to them costs. A call climbs it: it asks all
// of a rung in parallel, and goes on once they have answered or failed, as long as something is open
// for a request that waits for it.

// group is a set of providers, by their place in Engine.sources: a bit for each.
type group uint32

func (g group) has(i int) bool { return g>>i&1 != 0 }

// cheapest is the number of calls a day from which a provider costs nothing that matters. Each tenth
// of it is a rung more.
const cheapest = 100_000

// rungOf returns the rung of a provider, the cheapest first.
func rungOf(callsPerDay float64) (rung int) {
	if callsPerDay <= 0 {
		return 0
	}
	for most := float64(cheapest); callsPerDay < most && most >= 1; most /= 10 {
		rung++
	}
	return rung
}

// climb is how far a call has come.
type climb struct {
	passed group     // the rungs that were asked, or could not be
	others []Request // those that wait for the call, besides the one that started it
	placed bool      // the call has its place in Engine.running
	open   bool      // something is known to be open for the first step
}

// mostOthers bounds the requests of a call that have different stakes. With more, everything is open.
const mostOthers = 8

// join adds a request to those that wait for the call. The caller holds the lock of its shard.
func (c *call) join(r Request) {
	if r == c.request {
		return
	}
	for _, other := range c.others {
		if r == other {
			return
		}
	}
	if len(c.others) == mostOthers {
		r.Stakes = nil
	} else if len(c.others) > mostOthers {
		return
	}
	c.others = append(c.others, r)
}

// waitingFor returns how far a call has come, and who waits for it.
func (e *Engine) waitingFor(c *call) climb {
	shard := e.calls.shard(c.key)
	shard.Lock()
	defer shard.Unlock()
	return climb{passed: c.passed, others: c.others, placed: !c.until.IsZero()}
}

// left returns the providers of the rungs above those that were passed whose answers are due, or all of these.
func (e *Engine) left(l *local, rec *record.Record, all bool, now uint32) (left group) {
	for i := range e.sources {
		p := &e.sources[i]
		if l.climb.passed.has(i) || !p.covers.Has(l.addr) || p.UnlessListed && l.match.listed() {
			continue
		}
		if a := rec.FindAt(i, p.id); all || a == nil || now >= a.Due {
			left |= 1 << i
		}
	}
	return left
}

// next returns the providers of the lowest rung. Where everything matters, or an operator asks, that is all of them.
func (e *Engine) next(l *local, left group, all bool) (rung group) {
	if all || e.allMatters(l) {
		return left
	}
	lowest := 0
	for rest := left; rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros32(uint32(rest))
		switch on := e.sources[i].rung; {
		case rung == 0 || on < lowest:
			lowest, rung = on, 1<<i
		case on == lowest:
			rung |= 1 << i
		}
	}
	return rung
}

// allMatters reports whether there is a request for which every answer matters.
func (e *Engine) allMatters(l *local) bool {
	if e.FirstCome || l.request.Stakes == nil {
		return true
	}
	for i := range l.climb.others {
		if l.climb.others[i].Stakes == nil {
			return true
		}
	}
	return false
}

// leavesOpen reports whether the answers of the providers that are left could still change something for a request that
// waits.
func (e *Engine) leavesOpen(l *local, rec *record.Record, left group, now uint32) bool {
	if l.climb.open || e.allMatters(l) {
		l.climb.open = false
		return true
	}
	s, _ := e.scratch.Get().(*scratch)
	defer e.scratch.Put(s)
	s.record = *rec
	for i := -1; i < len(l.climb.others); i++ {
		x := *l
		if i >= 0 {
			x.request = l.climb.others[i]
			x.claim = x.request.Claim
		}
		if e.override(&x) != nil {
			continue
		}
		e.see(&x, rec)
		if e.settles(&x, s, now) {
			continue
		}
		if _, open := e.weigh(&x, s, left, now, reputation.OriginNone); open {
			return true
		}
	}
	return false
}

// hold finds out which of the providers whose answers are due could change nothing for the request: they are not asked,
// and nobody misses them. closed means that those are all of them. v is the verdict then. missing are those that have never
// answered.
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
// request. If not, they are held back from now on.
func (e *Engine) weigh(
	l *local, s *scratch, missing group, now uint32, origin reputation.Origin,
) (v reputation.Verdict, open bool) {
	l.held = missing
	s.verdict = e.judge(l, s, now, origin, false)
	if !e.foresee(l, s, missing) || l.request.Stakes.Open(l.addr, &s.verdict, &s.prospect) {
		l.held = 0
		return s.verdict, true
	}
	return s.verdict, false
}

// judgeAfter is judge for a request that may have waited. What was found out may leave nothing open for it.
func (e *Engine) judgeAfter(l *local, s *scratch, origin reputation.Origin, asking bool) reputation.Verdict {
	now := record.Seconds(time.Now())
	if e.matchNamed(l, &s.record) {
		if v, decided := e.decidedByFacts(l, &s.record); decided {
			return v
		}
	}
	l.held = 0
	return e.judgeDue(l, s, now, origin, asking)
}

// judgeDue is judge with the providers held back that could change nothing.
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
func (e *Engine) foresee(l *local, s *scratch, missing group) bool {
	p := &s.prospect
	p.Says, p.Sources, s.missing = reputation.Capabilities{}, p.Sources[:0], s.missing[:0]
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
	listed, _ := l.match.nature.Bits()
	if p.Says.Natures &^= reputation.Kinds(yes | no | listed); p.Says.Natures.Has(reputation.NatureRelay) {
		if anyMistaken(s.evidence) {
			return false
		}
		p.Says.Natures |= reputation.KindsOf(mistaken...)
	}
	e.foreseeNeighbours(l, s)
	low, high := score.Bounds(s.evidence, s.missing)
	p.Low, p.High = score.Round(low), score.Round(high)
	return true
}

// countNeedless counts calls that could change nothing.
func (e *Engine) countNeedless(needless group, count bool) {
	for i := range e.sources {
		if gate := e.sources[i].gate; count && gate != nil && needless.has(i) {
			gate.CountSkipped(reputation.ResultSkippedSettled)
		}
	}
}

// foreseeNeighbours takes into account that what the neighbours did counts or not, once the system or the nature of the
// address is known.
func (e *Engine) foreseeNeighbours(l *local, s *scratch) {
	p := &s.prospect
	if e.Own == nil || l.claim.Bot != "" || !p.Says.ASN &&
		!p.Says.Natures.Has(reputation.NatureMobile) && !p.Says.Natures.Has(reputation.NatureRelay) {
		return
	}
	nearby := e.Own.Nearby()
	if nearby == nil {
		return
	}
	for i := range s.evidence {
		if s.evidence[i].Source == nearby {
			s.evidence[i].Severity = 0
		}
	}
	p.Sources, s.missing = append(p.Sources, nearby.Name), append(s.missing, nearby)
}

// climb reserves calls to the providers of the next rung, if there is time for them, and room: nobody waits for them. While
// another instance asks providers, it climbs.
func (e *Engine) climb(c *call) []reservation {
	if c.passed == e.everybody || c.askedElsewhere || !time.Now().Before(c.until) {
		return nil
	}
	r := e.reserveAgain(c, new(record.Record), true)
	c.passed = r.passed
	return r.list
}
