package policy

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// networks are disjoint ranges of addresses, in ascending order.
type networks []netip.Prefix

// network reads the ranges of the condition.
func (c Config) network(out *Conditions) error {
	var all []netip.Prefix
	for _, word := range c.Network {
		ranges, ok, err := address.ParseRanges(word)
		switch {
		case err != nil:
			return fmt.Errorf("network: %w", err)
		case !ok:
			return fmt.Errorf("network %q is not an address, a CIDR range or private_ranges; for those of a file or "+
				"a URL, write a `feed` and the condition `source` with its name", word)
		}
		for _, p := range ranges {
			if slices.Contains(all, p) {
				return duplicate("network", word)
			}
			all = append(all, p)
		}
	}
	out.networks = disjoint(all)
	return nil
}

// disjoint sorts ranges, and leaves out those that lie within another one.
func disjoint(ranges []netip.Prefix) (out networks) {
	slices.SortFunc(ranges, netip.Prefix.Compare)
	for _, p := range ranges {
		if n := len(out); n == 0 || !out[n-1].Overlaps(p) {
			out = append(out, p)
		}
	}
	return out
}

// contains reports whether an address lies in one of the ranges.
func (n networks) contains(addr netip.Addr) bool {
	i, exact := slices.BinarySearchFunc(n, addr, func(p netip.Prefix, addr netip.Addr) int {
		return p.Addr().Compare(addr)
	})
	return exact || i > 0 && n[i-1].Contains(addr)
}

// NeedsAddress reports whether a condition is about the address itself, and not what is known of it.
func (c *Conditions) NeedsAddress() bool { return len(c.networks) > 0 }

// onlyReserved reports whether the conditions can hold for private and reserved addresses only.
func (c *Conditions) onlyReserved() bool {
	return len(c.networks) > 0 && !slices.ContainsFunc(c.networks, isPublic)
}

// isPublic reports whether a range has addresses that are judged.
func isPublic(p netip.Prefix) bool {
	if reputation.IsClassE(p.Addr()) {
		return true // a trusted proxy may have made them up for visitors
	}
	return !slices.ContainsFunc(reputation.ReservedPrefixes(), func(reserved netip.Prefix) bool {
		return reserved.Bits() <= p.Bits() && reserved.Contains(p.Addr())
	})
}
