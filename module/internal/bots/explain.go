package bots

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Explanation is what becomes of a claim, and why.
type Explanation struct {
	Bot     string
	Outcome Outcome
	Why     []string // sentences
}

// Explain explains a claim. Reverse DNS is asked only if fresh is set; otherwise it is what is remembered.
func (v *Verifier) Explain(ctx context.Context, claim int, addr netip.Addr, fresh bool) Explanation {
	c := &v.bots[claim]
	x := Explanation{Bot: c.Name, Outcome: c.byRanges(v.lists, addr)}
	say := func(format string, args ...any) { x.Why = append(x.Why, fmt.Sprintf(format, args...)) }
	switch {
	case c.list >= 0 && x.Outcome == Verified:
		say("the ranges of %s hold the address", c.Ranges.Name)
		return x
	case c.list >= 0 && !v.lists.Current(c.list):
		say("the ranges of %s do not hold the address, which proves nothing: they are missing or old", c.Ranges.Name)
	case c.list >= 0:
		say("the ranges of %s do not hold the address", c.Ranges.Name)
	}
	if c.hasNames(addr) {
		x.Outcome = c.byNames(v.explainNames(ctx, c, addr, fresh, say), v.lists, addr)
	}
	switch {
	case reputation.IsReserved(addr):
		say("the address is private or reserved")
	case x.Outcome == Unverifiable:
		say("the operator of %s publishes neither addresses nor host names", c.Name)
	case x.Outcome == Indeterminate && c.kinHolds(v.lists, addr):
		say("the address is that of another bot of the same operator, so that a miss proves nothing")
	case x.Outcome == Indeterminate && !c.MissProves:
		say("for %s, a miss proves nothing. %s", c.Name, c.Note)
	}
	return x
}

func (v *Verifier) explainNames(
	ctx context.Context, c *claimed, addr netip.Addr, fresh bool, say func(string, ...any),
) found {
	key := claimKey{bot: c.id, addr: addr}
	if !fresh {
		f, _ := v.reverse.remembered.get(key)
		say("reverse DNS, %s: %s", strings.Join(c.Names, ", "), [...]string{
			pending:   "not asked yet; it is at the first request from the address, or with --fresh (?fresh)",
			confirmed: "a name leads back to the address",
			missed:    "no such name leads back to the address",
			failed:    "it gave no answer that proves anything",
		}[f])
		return f
	}
	n := v.reverse.ask(ctx, c.Bot, addr)
	v.reverse.remembered.learn(key, n.found)
	switch n.found {
	case confirmed:
		say("reverse DNS: %s, which leads back to the address", n.confirmed)
	case missed:
		say("reverse DNS: %s; none of %s leads back to the address", shown(n.all), strings.Join(c.Names, ", "))
	default:
		say("reverse DNS proves nothing: %v", n.err)
	}
	return n.found
}

// shown returns the first names of an address, for a sentence.
func shown(all []string) string {
	var names []string
	for _, raw := range all[:min(len(all), maxNames)] {
		if name, ok := hostName(raw); ok {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "no name"
	}
	return strings.Join(names, ", ")
}
