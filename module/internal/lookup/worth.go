package lookup

import (
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/worth"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// What part of its worth the answer of one provider has, if it is not the first about the client.
const (
	// Another provider has answered: this one confirms or contradicts it. If that one has spoken against the client, it is
	// evidence besides.
	shareOfFurther = .8
	// The provider itself has spoken against the client, which goes on to count and loses weight with time.
	shareOfRenewal = .8
	// The provider itself has found nothing, which is likely to be so again.
	shareOfCleanRenewal = .5
)

// opinions are the providers that have answered, and those of them that have spoken against the client.
type opinions struct{ answered, against group }

func (e *Engine) opinions(rec *record.Record) (o opinions) {
	for i := range e.sources {
		a := rec.FindAt(i, e.sources[i].id)
		if a == nil || !a.Answered() {
			continue
		}
		o.answered |= 1 << i
		if a.Severity > 0 {
			o.against |= 1 << i
		}
	}
	return o
}

// worthOf returns what the answer of the provider with the number i is worth.
func (e *Engine) worthOf(l *local, i int, o opinions) float64 {
	if e.FirstCome {
		return 1
	}
	w := l.worth
	if o.against&^(1<<i) != 0 {
		w = min(w+worth.OfEvidence, 1)
	}
	switch {
	case o.against.has(i):
		return w * shareOfRenewal
	case o.answered.has(i):
		return w * shareOfCleanRenewal
	case o.answered != 0:
		return w * shareOfFurther
	}
	return w
}

// worth returns what answers about the client of a look-up are worth. visits is how often it has come.
func (e *Engine) worth(l *local, visits int) float64 {
	if e.FirstCome {
		return 1
	}
	c := worth.Client{
		Visits: visits, Percent: l.percent, Seen: l.seen, Fake: l.claim.Fake,
		Explained: l.claim.Bot != "" || l.facts.Nature.IsAny(explained) || l.match.Nature.IsAny(explained),
		Important: l.request.Important,
	}
	return c.Worth()
}

// explained are the kinds that explain an address. Mobile networks are those of visitors.
var explained = reputation.KindsOf(
	reputation.NatureRelay, reputation.NatureHosting, reputation.NatureVPN, reputation.NatureProxy, reputation.NatureTor,
)
