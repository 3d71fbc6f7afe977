package lookup

import (
	"net/netip"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// local is what lists and databases say of an address. It takes neither memory nor providers, and
// is there for every address.
type local struct {
	addr  netip.Addr
	lists *listing.Lists // the same for the whole look-up
	match *listing.Match
	facts reputation.Facts // of the databases only
	named []uint16         // the lists in match that name the network or the country
	claim Claim

	request Request // without the claim, which is above

	seen    bool // this site may have seen the client or its neighbours do something
	settled bool // the lists and what this site has seen decide

	percent float64 // the score by these, with decimals: see settles
	worth   float64 // what answers are worth: see worth

	progress progress // of the call for the request
	needless group    // providers whose answers could change nothing for the request
}

func (e *Engine) local(addr netip.Addr, claim Claim) (l local) {
	l.addr, l.lists, l.claim = addr, e.lists.Current(), claim
	l.facts = e.Databases.Facts(addr)
	l.match = l.lists.Match(addr).As(l.facts.Nature)
	e.matchNamed(&l, nil)
	return l
}

// matchNamed adds to the match of an address the lists that name its network or its country. rec may
// be nil. It reports whether the match has changed.
//
// The network and the country are known from databases, or else from what providers have reported.
func (e *Engine) matchNamed(l *local, rec *record.Record) bool {
	asn, code := l.facts.ASN, l.facts.Country
	if rec != nil {
		if asn != 0 && code != "" {
			return false // what providers say does not count
		}
		known := facts(rec)
		if asn == 0 {
			asn = known.ASN
		}
		if code == "" {
			code = known.Country
		}
	}
	if asn == 0 && code == "" {
		return false
	}
	named := l.lists.Named(asn, code)
	if slices.Equal(named, l.named) {
		return false
	}
	l.named = named
	l.match = l.lists.MatchNamed(l.addr, named).As(l.facts.Nature)
	return true
}

// decided returns the verdict on an address for which providers do not count: the operator has
// decided, the address is reserved, or there are no providers.
func (e *Engine) decided(l *local) (v reputation.Verdict, decided bool) {
	known := e.override(l)
	if known == nil {
		if len(e.sources) > 0 {
			return v, false
		}
		e.see(l, nil)
	}
	switch {
	case known != nil:
		v = *known
	case l.seen || l.claim.isEvidence():
		v = e.judgeLocal(l)
	default:
		v = l.match.Verdict
	}
	v.Facts = l.complete(reputation.Facts{})
	return v, true
}

// decidedByFacts is decided for an address of whose network or country only providers know, once matchNamed has found
// lists that name these.
func (e *Engine) decidedByFacts(l *local, rec *record.Record) (v reputation.Verdict, decided bool) {
	if v, decided = e.decided(l); decided {
		v.Facts = l.complete(facts(rec))
	}
	return v, decided
}

// judgeLocal makes a verdict of what is known without providers.
func (e *Engine) judgeLocal(l *local) reputation.Verdict {
	s, _ := e.scratch.Get().(*scratch)
	defer e.scratch.Put(s)
	s.record = record.Record{}
	return e.judge(l, s, record.Seconds(time.Now()), reputation.OriginList, false)
}

// Verdicts that need no evidence.
var (
	exemptVerdict  = reputation.Verdict{Status: reputation.Exempt}
	unknownVerdict = reputation.Verdict{Status: reputation.Unknown}
	bannedVerdict  = overrideVerdict(reputation.SourceBan)
	deniedVerdict  = overrideVerdict(reputation.SourceDeny)
)

// overrideVerdict is the verdict on an address that the operator has denied or banned. The score is
// 100.
func overrideVerdict(source string) reputation.Verdict {
	return reputation.Verdict{
		Score: 100, Scored: true, Status: reputation.Fresh, Coverage: 1, Origin: reputation.OriginList,
		Reasons: []reputation.Reason{{Source: source, Points: score.OverrideWeight, Severity: 1, Confidence: 1}},
	}
}

// override returns the verdict on an address that needs no evidence: the operator has decided, or
// the address is reserved and has no reputation. It is nil for all others, and must not be changed.
func (e *Engine) override(l *local) *reputation.Verdict {
	banned, exempt := e.Overrides.Lookup(l.addr)
	switch {
	case exempt || l.match.Exempt || l.claim.Exempt:
		return &exemptVerdict
	case banned:
		return &bannedVerdict
	case l.match.Denied:
		return &deniedVerdict
	case reputation.IsClassE(l.addr) && len(l.match.Evidence) == 0:
		return &unknownVerdict // it stands for a visitor whom no service can know by it
	case reputation.IsClassE(l.addr):
		return &l.match.Verdict
	case reputation.IsReserved(l.addr):
		return &exemptVerdict
	}
	return nil
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
	f.Nature = score.AsRelay(l.match.Nature.Merge(f.Nature.Update(l.facts.Nature)))
	f.Bot = l.claim.Bot
	return f
}
