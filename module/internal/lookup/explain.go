package lookup

import (
	"context"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Explanation is a verdict with everything it was made of.
type Explanation struct {
	Address netip.Addr
	Subject netip.Prefix
	Verdict reputation.Verdict

	// Reserved: the address has no reputation, and nobody is asked about it.
	Reserved bool

	// Banned: a ban made at run time holds the address.
	Banned bool

	// Lists are the positions of the lists that hold the address.
	Lists []uint16

	// Answers are what is remembered of the providers, in the order of the configuration.
	Answers []ProviderAnswer
}

// ProviderAnswer is what is remembered of one provider.
type ProviderAnswer struct {
	Source     string
	Covered    bool // the service knows addresses of this kind; it is not asked about others
	Answered   bool
	Failed     bool
	Severity   float64
	Confidence float64
	Categories reputation.Categories
	Fetched    time.Time
	Due        time.Time
}

// Explain says what is known of addr and why, without asking anybody.
func (e *Engine) Explain(addr netip.Addr) Explanation {
	held := e.held(addr)
	x := Explanation{Address: addr, Subject: reputation.Subject(addr), Reserved: reputation.IsReserved(addr)}
	listing := e.Lists.Current()
	x.Lists = listing.Members(listing.Lookup(addr))
	x.Banned, _ = e.Overrides.Lookup(addr)

	var s scratch
	origin := reputation.OriginNone
	if !x.Reserved && e.Memory != nil {
		if e.remembered(addr, &s) {
			origin = reputation.OriginMemory
		}
		for i := range e.sources {
			x.Answers = append(x.Answers, e.sources[i].recall(addr, &s.record))
		}
	}
	v, decided := e.own(addr, held)
	switch {
	case decided:
		x.Verdict = v
	case len(e.sources) == 0:
		x.Verdict = held.verdict
	default:
		x.Verdict = e.judge(addr, held, &s, record.Seconds(time.Now()), origin, false)
	}
	return x
}

// recall unpacks what is remembered of the provider.
func (p *provider) recall(addr netip.Addr, rec *record.Record) ProviderAnswer {
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

// Refresh asks all providers about addr anew, within their terms, and waits for them until ctx ends. It asks nobody about
// an address that is exempt or reserved, or while too many others are being asked about.
func (e *Engine) Refresh(ctx context.Context, addr netip.Addr) {
	if _, decided := e.own(addr, e.held(addr)); decided || len(e.sources) == 0 {
		return
	}
	for {
		flight, started := e.depart(ctx, record.KeyOf(addr), addr, true)
		if flight == nil {
			return
		}
		select {
		case <-flight.done:
		case <-ctx.Done():
			return
		}
		if started {
			return
		}
	}
}
