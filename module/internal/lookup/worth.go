package lookup

import (
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Bidder is what is known of a client when it is decided whether providers are asked about it.
type Bidder struct {
	Requests  int     // of the last minutes, with the present one: see Visits
	Percent   float64 // the score by lists and by what this site has seen, with decimals
	Seen      bool    // this site has seen it or its neighbours do something, which may have cost nothing yet
	Fake      bool    // it is not the bot that it claims to be
	Explained bool    // its nature is known, or it is a verified bot
	Important bool    // the site says that the request matters
}

// What an answer about a client is worth, from 0 to 1: the sum of what applies. The steps are far enough apart that one
// more reason outbids those who have none.
const (
	// Everybody begins so. Most clients make one request and never come again: an answer comes too late for that one,
	// and serves no other.
	worthOfAnybody = .1

	// Clients that come again are those that an answer serves, and abuse is what comes again and again. Visitors do, too:
	// however many requests there are, they weigh less than the least evidence.
	worthOfTwo, worthOfFour, worthOfEight = .05, .15, .25

	// Somebody there did something that costs nothing yet, such as to ask for a page that is missing.
	worthOfSomething = .15

	// Lists or violations speak against it, and an answer may decide. From ten points on, abuse is ten times as likely as
	// that of anybody.
	worthOfEvidence, worthOfMuchEvidence = .3, .5

	// The site knows which requests are worth knowing more, such as log-ins.
	worthOfImportance = .4

	// Of a relay, a provider of servers or a verified bot, the most important is known. Unless something else speaks for
	// asking, others come first.
	shareOfExplained = .5
)

// The percent from which lists and violations are evidence, and much. Without any, it is 0.99.
const (
	evidencePercent     = 1
	muchEvidencePercent = 9
)

// Worth returns what an answer about the client is worth.
func (c *Bidder) Worth() float64 {
	w := worthOfAnybody
	switch {
	case c.Requests >= 8:
		w += worthOfEight
	case c.Requests >= 4:
		w += worthOfFour
	case c.Requests >= 2:
		w += worthOfTwo
	}
	if c.Explained {
		w *= shareOfExplained
	}
	switch {
	case c.Percent >= muchEvidencePercent || c.Fake:
		w += worthOfMuchEvidence
	case c.Percent >= evidencePercent:
		w += worthOfEvidence
	case c.Seen:
		w += worthOfSomething
	}
	if c.Important {
		w += worthOfImportance
	}
	return min(w, 1)
}

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
		w = min(w+worthOfEvidence, 1)
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

// worth returns what answers about the client of a look-up are worth. requests is how many it has made.
func (e *Engine) worth(l *local, requests int) float64 {
	if e.FirstCome {
		return 1
	}
	c := Bidder{
		Requests: requests, Percent: l.percent, Seen: l.seen, Fake: l.claim.Fake,
		Explained: l.claim.Bot != "" || isExplained(l.facts.Nature) || isExplained(l.match.nature),
		Important: l.request.Important,
	}
	return c.Worth()
}

// isExplained reports whether the nature of an address is known. Mobile networks are those of visitors.
func isExplained(n reputation.Nature) bool {
	for _, kind := range [...]reputation.Kind{
		reputation.NatureRelay, reputation.NatureHosting, reputation.NatureVPN, reputation.NatureProxy, reputation.NatureTor,
	} {
		if is, _ := n.Is(kind); is {
			return true
		}
	}
	return false
}
