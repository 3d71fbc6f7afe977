package score

import "github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"

// A relay stands in data centres, and lists and services take it for a VPN or a proxy. Its users are
// ordinary visitors, who must not be punished for that.
var (
	mistaken = []reputation.Kind{reputation.NatureVPN, reputation.NatureProxy, reputation.NatureHosting}

	mistakenCategories = reputation.CategoriesOf(reputation.VPN, reputation.Proxy, reputation.Hosting)

	// RelayMistakenFor are the kinds that a relay is taken for.
	RelayMistakenFor = reputation.KindsOf(mistaken...)
)

// IsRelay reports whether an address of this nature is known to be a relay.
func IsRelay(n reputation.Nature) bool {
	relay, _ := n.Is(reputation.NatureRelay)
	return relay
}

// AsRelay returns a nature without what a relay is mistaken for. Without a relay, it changes nothing.
func AsRelay(n reputation.Nature) reputation.Nature {
	if IsRelay(n) {
		for _, kind := range mistaken {
			n = n.With(kind, false)
		}
	}
	return n
}

// SpareRelay silences the evidence that says nothing but what a relay is mistaken for, and reports whether
// there is any.
func SpareRelay(evidence []Evidence) (any bool) {
	for i := range evidence {
		if isMistaken(evidence[i].Categories) {
			evidence[i].Severity, any = 0, true
		}
	}
	return any
}

// SparesRelay reports whether there is evidence that SpareRelay silences, or has silenced.
func SparesRelay(evidence []Evidence) bool {
	for i := range evidence {
		if isMistaken(evidence[i].Categories) {
			return true
		}
	}
	return false
}

func isMistaken(c reputation.Categories) bool { return c != 0 && c&^mistakenCategories == 0 }
