package runtime

import (
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/policy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Prospect is what a verdict may become once services have answered.
type Prospect = lookup.Prospect

// AddMatcher makes known what a matcher asks for. It is called while sites are provisioned. A request that was looked up
// may meet any matcher later.
func (rt *Runtime) AddMatcher(c *policy.Conditions) { rt.matchers = append(rt.matchers, c) }

// MatchersOpen reports whether a matcher could hold or not once more is known.
func (rt *Runtime) MatchersOpen(client netip.Addr, v *reputation.Verdict, prospect *Prospect) bool {
	for _, c := range rt.matchers {
		if c.Open(v, client, (*policy.Prospect)(prospect)) {
			return true
		}
	}
	return false
}

// AddSite makes known what answers can change for a site. It is called while sites are provisioned.
func (rt *Runtime) AddSite(s lookup.Stakes) { rt.stakes = append(rt.stakes, s) }

// Stakes is what answers can change for any site. It is nil if no site has the handler: everything matters then.
func (rt *Runtime) Stakes() lookup.Stakes {
	if len(rt.stakes) == 0 {
		return nil
	}
	return (*anySite)(rt)
}

// anySite are the stakes of all sites.
type anySite Runtime

// Open implements lookup.Stakes.
func (s *anySite) Open(client netip.Addr, v *reputation.Verdict, prospect *Prospect) bool {
	for _, site := range s.stakes {
		if site.Open(client, v, prospect) {
			return true
		}
	}
	return false
}
