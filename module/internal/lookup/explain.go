package lookup

import (
	"context"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Explanation is a verdict with all its inputs.
type Explanation struct {
	Address netip.Addr
	Subject netip.Prefix
	Verdict reputation.Verdict

	// Reserved means that the address has no reputation, and that no provider is asked about it.
	Reserved bool

	// Settled means that no provider is asked, because lists and what this site has seen leave no doubt.
	Settled bool

	// Running means that providers are being asked about the address, or wait for their turn.
	Running bool

	// Banned means that a ban made at run time covers the address.
	Banned bool

	// Lists are the indexes of the lists that contain the address.
	Lists []uint16

	// ByASN and ByCountry are the indexes of the lists that name its network, and its country.
	ByASN     []uint16
	ByCountry []uint16

	// Answers are the stored answers of the providers, in the order of the configuration.
	Answers []ProviderAnswer
}

// ProviderAnswer is the stored answer of one provider.
type ProviderAnswer struct {
	Source     string
	Covered    bool // the service covers the address family; it is not asked otherwise
	HeldBack   bool // the service is not asked, because the address is on a list
	Needless   bool // the service is not asked, because its answer could change nothing
	Answered   bool
	Failed     bool
	Severity   float64
	Confidence float64
	Categories reputation.Categories
	Fetched    time.Time
	Due        time.Time

	// NetworkSpent means that the service is not asked, because the network of the address has used its share of the
	// calls. Others is how many other addresses of the network then speak for it.
	NetworkSpent bool
	Others       int

	// Worth is what an answer to the next request of the address is worth, from 0 to 1, if the site does not find
	// that request important.
	Worth float64
}

// Explain returns the verdict on addr with its inputs. It asks no provider.
func (e *Engine) Explain(addr netip.Addr) Explanation { return e.ExplainRequest(addr, Request{}) }

// ExplainRequest is Explain with what is known of a request besides the address.
func (e *Engine) ExplainRequest(addr netip.Addr, request Request) Explanation {
	l := e.local(addr, request.Claim)
	l.request = request
	x := Explanation{Address: addr, Subject: reputation.Subject(addr), Reserved: reputation.IsReserved(addr)}
	x.Running = e.calls.runs(record.KeyOf(addr))
	x.Lists = l.lists.Members(l.lists.Lookup(addr))
	x.Banned, _ = e.Overrides.Lookup(addr)

	var s scratch
	origin := reputation.OriginNone
	if !x.Reserved && e.Memory != nil {
		if e.load(addr, &s, record.Seconds(time.Now())) {
			origin = reputation.OriginMemory
		}
		for i := range e.sources {
			known := e.sources[i].unpackAnswer(addr, &s.record)
			known.HeldBack = e.sources[i].UnlessListed && l.match.Listed
			e.explainNetwork(&l, i, &known)
			x.Answers = append(x.Answers, known)
		}
	}
	var decided bool
	if x.Verdict, decided = e.decided(&l); !decided {
		now := record.Seconds(time.Now())
		if e.matchNamed(&l, &s.record) {
			x.Verdict, decided = e.decidedByFacts(&l, &s.record)
		}
		if !decided {
			e.see(&l, &s.record)
			l.settled = e.settles(&l, &s, now)
			x.Settled = l.settled
			e.explainWorth(&l, &s.record, now, x.Answers)
			x.Verdict = e.judgeDue(&l, &s, now, origin, false)
			for i := range x.Answers {
				x.Answers[i].Needless = l.needless.has(i)
			}
		}
	}
	x.ByASN = l.lists.Named(x.Verdict.Facts.ASN, "")
	x.ByCountry = l.lists.Named(0, x.Verdict.Facts.Country)
	return x
}

// explainWorth adds what the answers to the next request are worth.
func (e *Engine) explainWorth(l *local, rec *record.Record, now uint32, answers []ProviderAnswer) {
	if len(answers) == 0 {
		return
	}
	l.worth = e.worth(l, e.visits.Peek(record.KeyOf(l.addr), now))
	opinion := e.opinions(rec)
	for i := range answers {
		answers[i].Worth = e.worthOf(l, i, opinion)
	}
}

// unpackAnswer returns the stored answer of the provider.
func (p *provider) unpackAnswer(addr netip.Addr, rec *record.Record) ProviderAnswer {
	x := ProviderAnswer{Source: p.Source.Name, Covered: p.covers.Has(addr)}
	a := rec.Find(p.id)
	if a == nil {
		return x
	}
	x.Answered, x.Failed = a.Answered(), a.Failed
	x.Severity, x.Confidence = float64(a.Severity)/100, float64(a.Confidence)/100
	x.Categories = a.Categories
	x.Due = time.Unix(int64(a.Due), 0)
	if x.Answered {
		x.Fetched = time.Unix(int64(a.Fetched), 0)
	}
	return x
}

// Refresh asks all providers about addr again, within their terms, and waits for them until ctx
// ends. It asks none when an override decides, when addr is reserved, or when too many calls are
// running.
func (e *Engine) Refresh(ctx context.Context, addr netip.Addr) {
	l := e.local(addr, Claim{})
	if _, decided := e.decided(&l); decided {
		return
	}
	for {
		call, started := e.startCall(ctx, &l, new(record.Record), true, time.Now())
		if call == nil {
			return
		}
		select {
		case <-call.done:
		case <-ctx.Done():
			return
		}
		if started {
			return
		}
	}
}
