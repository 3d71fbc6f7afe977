package lookup

import (
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Spared reports whether an address is exempt, and whether a list names it as a bot's. It asks nobody, and does not
// allocate: each of a flood of violations asks it more than once.
func (e *Engine) Spared(addr netip.Addr) (exempt, bot bool) {
	l := e.local(addr, Claim{})
	if len(e.sources) > 0 { // whose answers may know the network and the country
		s, _ := e.scratch.Get().(*scratch)
		defer e.scratch.Put(s)
		e.load(addr, s, record.Seconds(time.Now()))
		e.matchNamed(&l, &s.record)
	}
	return e.override(&l) == &exemptVerdict, l.match.Bots
}

// Exempts reports whether an address is not judged, whatever its clients claim.
func (e *Engine) Exempts(addr netip.Addr) bool {
	_, exempt := e.Overrides.Lookup(addr)
	return exempt || reputation.IsReserved(addr) || e.lists.Current().Match(addr).Exempt
}
