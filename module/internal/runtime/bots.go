package runtime

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/bots"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/lists"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Bots verifies clients that claim to be bots.
type Bots struct {
	Verified []*bots.Bot // those that are verified
	Exempt   []bool      // whether each is exempt once it is

	verifier *bots.Verifier
	lists    *lists.Set
	first    int // position of the first of the bots' ranges among all lists

	// current is whether a miss in each of the ranges means something, once they are loaded.
	current atomic.Pointer[[]bool]
}

// MaxRangesAge is how old ranges may be by their publisher's date for a miss to prove anything: since then the bot may
// have moved.
const MaxRangesAge = 180 * 24 * time.Hour

// OpenBots makes what verifies the given bots. Their ranges are lists, of which the first has the given position. The
// resolvers are host and port; without any, the system's are asked.
func (rt *Runtime) OpenBots(verified []*bots.Bot, exempt []bool, first int, resolvers []string) error {
	if len(verified) == 0 {
		return nil
	}
	key := "bots " + strings.Join(resolvers, " ")
	reverse, err := process.Share(&rt.Leases, key, func() (*bots.Reverse, func() error, error) {
		r := bots.NewReverse(bots.NewResolver(resolvers), ProcessLogger("bots"))
		return r, func() error {
			r.Close()
			return nil
		}, nil
	})
	if err != nil {
		return err
	}
	b := &Bots{Verified: verified, Exempt: exempt, lists: rt.Lists.Set, first: first}
	b.verifier = bots.NewVerifier(verified, b, reverse)
	b.look(time.Now())
	rt.Bots = b
	return nil
}

// Holds implements bots.Lists.
func (b *Bots) Holds(list int, addr netip.Addr) bool {
	l := b.lists.Current()
	return slices.Contains(l.Members(l.Lookup(addr)), uint16(b.first+list))
}

// Current implements bots.Lists.
func (b *Bots) Current(list int) bool {
	return (*b.current.Load())[list] && b.lists.Current().Loaded(b.first+list)
}

// look finds out which ranges are current. The state of lists is read here, since that takes locks.
func (b *Bots) look(now time.Time) {
	if b == nil {
		return
	}
	status := b.lists.Status()
	current := make([]bool, len(bots.RangesOf(b.Verified)))
	for i := range current {
		current[i] = areCurrent(&status[b.first+i], now)
	}
	b.current.Store(&current)
}

// areCurrent reports whether ranges were confirmed of late, and are not too old by their publisher's date. Whether they
// are in force is another question.
func areCurrent(s *feed.Status, now time.Time) bool {
	return now.Sub(s.LastSuccess) <= s.Patience &&
		(s.Published.IsZero() || now.Sub(s.Published) <= MaxRangesAge)
}

// LookupRequest is what a site knows of a request, and wants to know. Its claim is found out here.
type LookupRequest = lookup.Request

// LookupClient looks up the client of a request, whose user agent may claim that it is a bot. All that it waits for is
// bounded by wait. A verdict is never worth a failed request: should the engine panic, nothing is known.
func (rt *Runtime) LookupClient(
	ctx context.Context, addr netip.Addr, userAgent string, request LookupRequest, wait time.Duration,
) (v reputation.Verdict) {
	defer func() {
		if r := recover(); r != nil {
			rt.Logger.ErrorContext(ctx, "looking an address up panicked; this is a bug", "panic", r)
			v = reputation.Verdict{Status: reputation.Unknown}
		}
	}()
	if rt.Bots != nil {
		if claim := rt.Bots.verifier.Claim(userAgent); claim >= 0 {
			return rt.lookupClaim(ctx, addr, claim, request, wait)
		}
	}
	return rt.Engine.LookupRequest(ctx, addr, request, wait)
}

// lookupClaim looks up a client that claims to be a bot.
func (rt *Runtime) lookupClaim(
	ctx context.Context, addr netip.Addr, claim int, request LookupRequest, wait time.Duration,
) reputation.Verdict {
	if rt.Engine.Exempts(addr) { // nobody is asked about such an address
		return rt.Engine.Lookup(ctx, addr, wait)
	}
	began := time.Now()
	outcome := rt.believed(rt.Bots.verifier.Verify(ctx, claim, addr, wait), began)
	metrics.CountBot(outcome)
	request.Claim = rt.Bots.claim(claim, outcome)
	return rt.Engine.LookupRequest(ctx, addr, request, max(wait-time.Since(began), 0))
}

// MayBeBot reports whether a client claims to be a bot, and it is being found out just now whether it is. Until then, it
// is not banned: a page of anybody's may have sent the bot here.
func (rt *Runtime) MayBeBot(client netip.Addr, userAgent string) bool {
	if rt.Bots == nil {
		return false
	}
	claim := rt.Bots.verifier.Claim(userAgent)
	return claim >= 0 && rt.Bots.verifier.Asks(claim, client)
}

// believed returns an outcome, or that nothing is proved: while all visitors have the address of one proxy, a bot that
// comes through it has it, too.
func (rt *Runtime) believed(outcome bots.Outcome, now time.Time) bots.Outcome {
	if outcome == bots.Fake && rt.Conduct.Suspects.Finding(now).Proxy {
		return bots.Indeterminate
	}
	return outcome
}

// claim is what an outcome means for the verdict.
func (b *Bots) claim(position int, outcome bots.Outcome) lookup.Claim {
	switch outcome {
	case bots.Verified:
		bot := b.Verified[position]
		return lookup.Claim{Bot: bot.Name, Exempt: b.Exempt[position], Trusted: !bot.Driven}
	case bots.Fake:
		return lookup.Claim{Fake: true}
	}
	return lookup.Claim{}
}

// evidence returns whether a claim can be a reason of a verdict: a bot that is verified and judged all the same, and a
// client that can be told to be fake.
func (b *Bots) evidence() (trusted, fake bool) {
	if b == nil {
		return false, false
	}
	for i, bot := range b.Verified {
		trusted = trusted || bot.Verifiable() && !bot.Driven && !b.Exempt[i]
		fake = fake || bot.MissProves
	}
	return trusted, fake
}

// ExplainClaim explains what becomes of a user agent's claim, and returns what it means for the verdict. It is nil for
// a user agent that claims nothing. Reverse DNS is asked only if fresh is set.
func (rt *Runtime) ExplainClaim(
	ctx context.Context, addr netip.Addr, userAgent string, fresh bool,
) (*bots.Explanation, lookup.Claim) {
	if rt.Bots == nil {
		return nil, lookup.Claim{}
	}
	claim := rt.Bots.verifier.Claim(userAgent)
	if claim < 0 {
		return nil, lookup.Claim{}
	}
	exempt := rt.Engine.Exempts(addr)
	x := rt.Bots.verifier.Explain(ctx, claim, addr, fresh && !exempt)
	if exempt {
		x.Why = append(x.Why, "the address is exempt, so that the claim changes nothing")
		return &x, lookup.Claim{}
	}
	if outcome := rt.believed(x.Outcome, time.Now()); outcome != x.Outcome {
		x.Outcome = outcome
		x.Why = append(x.Why, "nearly all requests come from one proxy, so that a miss proves nothing")
	}
	return &x, rt.Bots.claim(claim, x.Outcome)
}

// status returns how many bots can be verified.
func (b *Bots) status() *health.Bots {
	if b == nil {
		return nil
	}
	s := &health.Bots{Hijacked: b.verifier.Hijacked()}
	for i, bot := range b.Verified {
		if !bot.Verifiable() {
			continue
		}
		s.Verified++
		if b.Exempt[i] {
			s.Exempt++
		}
	}
	return s
}
