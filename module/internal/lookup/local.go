package lookup

import (
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// local is what lists and databases say of an address. It takes neither memory nor providers, and
// is there for every address.
type local struct {
	addr  netip.Addr
	match *listMatch
	facts reputation.Facts // of the databases only
	named []uint16         // the lists in match that name the network or the country
	claim Claim
}

func (e *Engine) local(addr netip.Addr, claim Claim) local {
	l := local{addr: addr, match: e.match(addr), facts: e.Databases.Facts(addr), claim: claim}
	l.match = l.match.of(l.facts.Nature)
	e.matchNamed(&l, nil)
	return l
}

// decided returns the verdict on an address for which providers do not count: the operator has
// decided, the address is reserved, or there are no providers.
func (e *Engine) decided(l *local) (v reputation.Verdict, decided bool) {
	v, decided = e.override(l)
	switch {
	case decided || len(e.sources) > 0:
	case l.claim.isEvidence():
		v, decided = e.judge(l, new(scratch), 0, reputation.OriginList, false), true
	default:
		v, decided = l.match.verdict, true
	}
	if decided {
		v.Facts = l.complete(reputation.Facts{})
	}
	return v, decided
}

// override returns the verdict on an address that needs no evidence: the operator has decided, or
// the address is reserved and has no reputation.
func (e *Engine) override(l *local) (reputation.Verdict, bool) {
	banned, exempt := e.Overrides.Lookup(l.addr)
	switch {
	case exempt || l.match.exempt || l.claim.Exempt:
		return exemptVerdict, true
	case banned:
		return bannedVerdict, true
	case l.match.denied:
		return deniedVerdict, true
	case reputation.IsClassE(l.addr) && len(l.match.evidence) == 0:
		return unknownVerdict, true // it stands for a visitor whom no service can know by it
	case reputation.IsClassE(l.addr):
		return l.match.verdict, true
	case reputation.IsReserved(l.addr):
		return exemptVerdict, true
	}
	return reputation.Verdict{}, false
}

// complete returns the facts that providers have reported, with those of databases, which have
// precedence, and with the nature that the lists give.
func (l *local) complete(f reputation.Facts) reputation.Facts {
	if l.facts.Country != "" {
		f.Country = l.facts.Country
	}
	if l.facts.ASN != 0 {
		f.ASN, f.ASName = l.facts.ASN, l.facts.ASName
	}
	f.Nature = asRelay(l.match.nature.Merge(f.Nature.Update(l.facts.Nature)))
	f.Bot = l.claim.Bot
	return f
}
