package lookup

import (
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Request is what is known of a request besides the address of its client.
type Request struct {
	// Claim is what became of the client's claim to be a bot.
	Claim Claim

	// Important means that the site wants to know more than usual of who sends the request, such as a
	// log-in.
	Important bool

	// Stakes is what answers can still change for the site. nil stands for everything.
	Stakes Stakes
}

// Stakes is what answers of providers can still change for a site.
type Stakes interface {
	// Open reports whether the site could treat the client in another way than by v once more is known. It must neither
	// lock nor allocate, and its type must be comparable.
	Open(client netip.Addr, v *reputation.Verdict, prospect *Prospect) bool
}

// Prospect is what the answers of providers can make of a verdict.
type Prospect struct {
	// Low and High are the lowest and the highest score.
	Low, High uint8

	// Says is what answers can add. Facts that databases know are left out: theirs have precedence.
	Says reputation.Capabilities

	// Sources are the names of those that may become a reason, or cease to be one. They are valid during the call only.
	Sources []string

	// Settles means that the lists and what this site has seen may come to decide. Then no other provider is missing.
	Settles bool
}

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
