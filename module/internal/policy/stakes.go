package policy

import (
	"net/netip"
	"slices"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Prospect is what a verdict may become once more sources have answered. Each part may come true
// by itself, or not.
type Prospect struct {
	// Low and High are the lowest and the highest score.
	Low, High uint8

	// Says is what can be added: categories, which stay, and facts, which may also change what they are.
	Says reputation.Capabilities

	// Sources are the names of those that may become a reason, or cease to be one.
	Sources []string

	// Settles means that nobody else may be missed any more.
	Settles bool
}

// Open reports whether the policy could treat the client of a verdict in another way once more is
// known. If not, action is what happens to its requests that meet no further conditions: those of
// Rule.More may hold for one request of the client and not for another, so both are considered. Open
// neither locks nor allocates.
//
// It is true in case of doubt, since conditions are considered one by one.
func (p *Policy) Open(
	v *reputation.Verdict, client netip.Addr, prospect *Prospect,
) (open bool, action reputation.Action) {
	if v.Status == reputation.Exempt {
		return false, reputation.Pass
	}
	// uncertain is the first rule that may hold. While nothing is open, all others that may hold do alike.
	var uncertain *Rule
	for i := range p.rules {
		r := &p.rules[i]
		holds := r.Conditions.within(v, client, prospect)
		switch {
		case holds == never:
			continue
		case r.Varies, r.BySystem && prospect.Says.ASN, uncertain != nil && !uncertain.alike(r):
			return true, 0
		case holds == always && !r.More:
			return false, r.Action
		case holds == maybe && uncertain == nil:
			uncertain = r
		}
	}
	if uncertain != nil && uncertain.Action != reputation.Pass {
		return true, 0
	}
	return v.Status == reputation.Unknown && p.unknown != reputation.Pass, reputation.Pass
}

// alike reports whether two rules do the same. Each limit counts by itself.
func (r *Rule) alike(other *Rule) bool {
	return r == other || r.Action == other.Action && r.Action != reputation.Limit &&
		r.StatusCode == other.StatusCode && r.Ban == other.Ban
}

// Open reports whether the conditions may hold or not once more is known.
func (c *Conditions) Open(v *reputation.Verdict, client netip.Addr, prospect *Prospect) bool {
	return c.within(v, client, prospect) == maybe
}

// certainty is whether something holds for all that may come true.
type certainty uint8

const (
	never certainty = iota
	maybe
	always
)

// certain returns the certainty of what holds now, and may be another way if it is open.
func certain(holds, open bool) certainty {
	switch {
	case open:
		return maybe
	case holds:
		return always
	}
	return never
}

// within returns whether all conditions hold within the prospect.
func (c *Conditions) within(v *reputation.Verdict, client netip.Addr, p *Prospect) certainty {
	all := always
	if len(c.networks) > 0 {
		all = certain(c.networks.contains(client), false)
	}
	if c.scored {
		all = min(all, c.scoreWithin(v, p))
	}
	if c.categories != 0 {
		has := c.categories&v.Categories != 0
		all = min(all, certain(has, !has && c.categories&p.Says.Categories != 0))
	}
	if c.nature.Some() {
		all = min(all, c.natureWithin(v, p))
	}
	if c.statuses != 0 {
		all = min(all, c.statusWithin(v, p))
	}
	if len(c.countries) > 0 {
		all = min(all, certain(containsSorted(c.countries, v.Facts.Country), p.Says.Country))
	}
	if c.continents != 0 {
		all = min(all, certain(c.onContinent(v.Facts.Country), p.Says.Country))
	}
	if len(c.asns)+len(c.asnLists) > 0 {
		all = min(all, certain(c.matchASN(v.Facts.ASN), p.Says.ASN))
	}
	if len(c.sources) > 0 {
		all = min(all, c.sourceWithin(v, p))
	}
	return all
}

func (c *Conditions) scoreWithin(v *reputation.Verdict, p *Prospect) certainty {
	switch {
	case p.High < c.min || p.Low > c.max:
		return never
	case v.Scored && c.min <= p.Low && p.High <= c.max:
		return always
	}
	return maybe
}

func (c *Conditions) natureWithin(v *reputation.Verdict, p *Prospect) certainty {
	asked, _ := c.nature.Bits()
	is, _ := v.Facts.Nature.Bits()
	open := uint8(p.Says.Natures)
	switch {
	case asked&is&^open != 0:
		return always
	case asked&open != 0:
		return maybe
	}
	return never
}

// statusWithin knows that answers change only the status unknown, unless they settle the matter: how many other sources
// are missing or out of date stays as it is.
func (c *Conditions) statusWithin(v *reputation.Verdict, p *Prospect) certainty {
	may := uint8(1) << v.Status
	if v.Status == reputation.Unknown || p.Settles {
		may |= 1<<reputation.Fresh | 1<<reputation.Partial
	}
	return certain(c.statuses&may == may, c.statuses&may != 0 && c.statuses&may != may)
}

func (c *Conditions) sourceWithin(v *reputation.Verdict, p *Prospect) certainty {
	for i := range v.Reasons {
		source := v.Reasons[i].Source
		if v.Reasons[i].Network {
			continue // as matchSource
		}
		if c.names(source) && !slices.Contains(p.Sources, source) {
			return always
		}
	}
	if slices.ContainsFunc(p.Sources, c.names) {
		return maybe
	}
	return never
}
