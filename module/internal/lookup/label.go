package lookup

import (
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// isLabel reports whether the list only says what its addresses are, such as a CDN's. It is a reason
// without points. Having it answers nothing about abuse, so that it counts for no coverage.
func (l *List) isLabel() bool { return l.Kind == Feed && l.Source.Weight == 0 }

// A relay stands in data centres, and lists and services take it for a VPN or a proxy. Its users are
// ordinary visitors, who must not be punished for that.
var (
	mistaken = []reputation.Kind{reputation.NatureVPN, reputation.NatureProxy, reputation.NatureHosting}

	mistakenCategories = reputation.CategoriesOf(reputation.VPN, reputation.Proxy, reputation.Hosting)
)

func isRelay(n reputation.Nature) bool {
	relay, _ := n.Is(reputation.NatureRelay)
	return relay
}

// asRelay returns a nature without what a relay is mistaken for. Without a relay, it changes nothing.
func asRelay(n reputation.Nature) reputation.Nature {
	if isRelay(n) {
		for _, kind := range mistaken {
			n = n.With(kind, false)
		}
	}
	return n
}

// spare silences the evidence that says nothing but what a relay is mistaken for, and reports whether
// there is any.
func spare(evidence []score.Evidence) (any bool) {
	for i := range evidence {
		if isMistaken(evidence[i].Categories) {
			evidence[i].Severity, any = 0, true
		}
	}
	return any
}

// anyMistaken reports whether there is evidence that a relay is spared, or was.
func anyMistaken(evidence []score.Evidence) bool {
	for i := range evidence {
		if isMistaken(evidence[i].Categories) {
			return true
		}
	}
	return false
}

func isMistaken(c reputation.Categories) bool { return c != 0 && c&^mistakenCategories == 0 }

// of returns the match for an address of this nature.
func (m *listMatch) of(n reputation.Nature) *listMatch {
	if m.asRelay != nil && isRelay(n) {
		return m.asRelay
	}
	return m
}
