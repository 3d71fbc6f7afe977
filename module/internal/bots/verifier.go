package bots

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Lists are the published ranges, as lists that are fetched. A list is identified by its position in RangesOf.
type Lists interface {
	// Holds reports whether a list holds an address. It must not lock.
	Holds(list int, addr netip.Addr) bool

	// Current reports whether a list is loaded, confirmed by its publisher and not too old, so that an address which
	// is missing there is missing. It must not lock.
	Current(list int) bool
}

// RangesOf returns the ranges of bots, each once.
func RangesOf(list []*Bot) (all []*Ranges) {
	for _, b := range list {
		if b.Ranges != nil && positionOf(all, b.Ranges) < 0 {
			all = append(all, b.Ranges)
		}
	}
	return all
}

// positionOf returns the position of ranges among others, or -1.
func positionOf(all []*Ranges, r *Ranges) int {
	for i := range all {
		if r != nil && all[i].Name == r.Name {
			return i
		}
	}
	return -1
}

// Verifier verifies the claims of clients to be one of some bots.
type Verifier struct {
	claims  *claims
	bots    []claimed
	lists   Lists
	reverse *Reverse
}

// claimed is a bot that a client can claim to be.
type claimed struct {
	*Bot
	id   uint16 // its position in the table
	list int    // its ranges, or -1
	kin  []int  // the ranges of its operator's other bots
}

// NewVerifier returns a verifier of the given bots, each of which must be in the table.
func NewVerifier(list []*Bot, lists Lists, reverse *Reverse) *Verifier {
	v := &Verifier{claims: newClaims(list), lists: lists, reverse: reverse}
	ranges := RangesOf(list)
	for _, b := range list {
		c := claimed{Bot: b, list: positionOf(ranges, b.Ranges)}
		for i := range table {
			if table[i].Name == b.Name {
				c.id = uint16(i)
			}
		}
		for _, other := range list {
			if at := positionOf(ranges, other.Ranges); at >= 0 && at != c.list && other.Operator == b.Operator {
				c.kin = append(c.kin, at)
			}
		}
		v.bots = append(v.bots, c)
	}
	return v
}

// Claim returns which bot a user agent claims to be, as its position among those of the verifier, or -1. For most
// clients nothing else is done.
func (v *Verifier) Claim(userAgent string) int { return v.claims.find(userAgent) }

// Bot returns the bot at a position.
func (v *Verifier) Bot(position int) *Bot { return v.bots[position].Bot }

// Verify returns what becomes of a claim. It waits for reverse DNS until wait has passed or ctx ends. The look-up then
// goes on, and the next request gets its result. The address must be unmapped and without zone.
func (v *Verifier) Verify(ctx context.Context, claim int, addr netip.Addr, wait time.Duration) Outcome {
	c := &v.bots[claim]
	if outcome := c.byRanges(v.lists, addr); outcome != Indeterminate || !c.hasNames(addr) {
		return outcome
	}
	return c.byNames(v.reverse.find(ctx, claimKey{bot: c.id, addr: addr}, wait), v.lists, addr)
}

// Asks reports whether reverse DNS is being asked about a claim just now, so that the client may turn out to be the bot.
// It is bounded: see Reverse.
func (v *Verifier) Asks(claim int, addr netip.Addr) bool {
	c := &v.bots[claim]
	return c.byRanges(v.lists, addr) == Indeterminate && c.hasNames(addr) && v.reverse.asks(claimKey{bot: c.id, addr: addr})
}

// hasNames reports whether the bot has host names for an address. Nobody is asked about reserved addresses.
func (c *claimed) hasNames(addr netip.Addr) bool {
	return len(c.Names) > 0 && (addr.Is4() || !c.NamesIPv4) && !reputation.IsReserved(addr)
}

// byRanges returns what the published ranges say. Indeterminate leaves it to the names, if there are any.
func (c *claimed) byRanges(lists Lists, addr netip.Addr) Outcome {
	switch {
	case reputation.IsReserved(addr):
		return Indeterminate
	case c.list >= 0 && lists.Holds(c.list, addr):
		return Verified
	case !c.Verifiable():
		return Unverifiable
	case c.hasNames(addr) || !c.missProves(lists, addr):
		return Indeterminate
	}
	return Fake
}

// byNames returns what a claim comes to that the ranges do not verify.
func (c *claimed) byNames(f found, lists Lists, addr netip.Addr) Outcome {
	switch {
	case f == confirmed:
		return Verified
	case f == missed && c.missProves(lists, addr):
		return Fake
	}
	return Indeterminate
}

// missProves reports whether a client that is not found is fake. An old or missing list proves nothing, and whoever
// comes from another bot's addresses of the same operator is the operator, who may have moved the bot.
func (c *claimed) missProves(lists Lists, addr netip.Addr) bool {
	return c.MissProves && (c.list < 0 || lists.Current(c.list)) && !c.kinHolds(lists, addr)
}

// kinHolds reports whether the ranges of another bot of the operator hold an address.
func (c *claimed) kinHolds(lists Lists, addr netip.Addr) bool {
	return slices.ContainsFunc(c.kin, func(list int) bool { return lists.Holds(list, addr) })
}

// Hijacked reports whether reverse DNS cannot be used: see Reverse.Hijacked.
func (v *Verifier) Hijacked() bool { return v.reverse.Hijacked() }
