package lookup

import (
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Claim is what became of the claim of a client to be a bot. It belongs to one request: others may
// use the same address, so nothing of it is stored.
type Claim struct {
	// Bot is the name of the bot if the claim was verified.
	Bot string

	// Exempt means that the operator exempts this bot: it is not judged.
	Exempt bool

	// Trusted means that a verified bot speaks in favour of the client. No provider is asked then.
	Trusted bool

	// Fake means that the client is not what it claims.
	Fake bool
}

// isEvidence reports whether the claim changes the score.
func (c *Claim) isEvidence() bool { return c.Trusted || c.Fake }

// The sources of this evidence.
var (
	verifiedBots = score.OfVerifiedBots()
	fakeBot      = score.OfFakeBot()
)

// evidence is what the claim says of the client.
func (c *Claim) evidence() score.Evidence {
	if c.Fake {
		return score.Evidence{
			Source: &fakeBot, Severity: 1, Confidence: 1, Listed: true,
			Categories: reputation.CategoriesOf(reputation.Bot),
		}
	}
	return score.Evidence{Source: &verifiedBots, Severity: -1, Confidence: 1, Listed: true}
}

// holdsBack reports whether the i-th provider is not asked because of what is known already.
func (l *local) holdsBack(i int, p *provider) bool {
	return l.claim.Trusted || l.settled || l.needless.has(i) || p.holdsBack(l.match)
}

// Exempts reports whether an address is not judged, whatever its clients claim.
func (e *Engine) Exempts(addr netip.Addr) bool {
	_, exempt := e.Overrides.Lookup(addr)
	return exempt || reputation.IsReserved(addr) || e.match(e.listing(), addr).exempt
}
