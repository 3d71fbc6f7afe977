package lookup

import (
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// isLabel reports whether the list only says what its addresses are, such as a CDN's. It is a reason
// without points. Having it answers nothing about abuse, so that it counts for no coverage.
func (l *List) isLabel() bool { return l.Kind == Feed && l.Source.Weight == 0 }

// A relay stands in data centres, and other lists take it for a VPN or a proxy. Its users are ordinary
// visitors, who must not be punished for that.
var (
	mistaken = []reputation.Kind{reputation.NatureVPN, reputation.NatureProxy, reputation.NatureHosting}

	mistakenCategories = reputation.CategoriesOf(reputation.VPN, reputation.Proxy, reputation.Hosting)
)

// spareRelay takes what a relay is mistaken for from the nature of an address, and the evidence that says
// nothing else. For other addresses it changes nothing.
func spareRelay(n reputation.Nature, evidence []score.Evidence) reputation.Nature {
	if relay, _ := n.Is(reputation.NatureRelay); !relay {
		return n
	}
	for _, kind := range mistaken {
		n = n.With(kind, false)
	}
	for i := range evidence {
		if c := evidence[i].Categories; c != 0 && c&^mistakenCategories == 0 {
			evidence[i].Severity = 0
		}
	}
	return n
}
