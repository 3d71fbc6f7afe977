package lookup

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Provider is one service to ask.
type Provider struct {
	// Source holds the weights of the provider's reports.
	Source score.Source

	// Provider answers queries. It enforces the terms of the service, and fails at once when they
	// allow no request. If it is a Gate, it is not asked then.
	Provider reputation.Provider

	// ListedTTL is how long an answer with a positive severity is valid, CleanTTL how long any
	// other one is. The TTL of a report may be shorter.
	ListedTTL, CleanTTL time.Duration

	// CallsPerDay is how many calls the quota of the service allows, 0 for any number. Providers with a larger one are
	// asked first.
	CallsPerDay float64

	// UnlessListed means that the provider is not asked about addresses that are on a feed or denied.
	UnlessListed bool

	// SendNetwork means that the provider is asked about the first address of an IPv6 /64 in place of
	// the address. IPv4 addresses are sent whole: an answer about a neighbour says nothing of them.
	SendNetwork bool
}

// provider is a Provider with the values that are computed from it once.
type provider struct {
	Provider
	id     record.SourceID
	covers reputation.Families
	gate   Gate                    // nil if the provider is none
	says   reputation.Capabilities // what its answers can have
	rung   int                     // see rungOf

	divided Divided // nil if the provider is none
}

// CheckNumber returns an error if there are too many providers.
func CheckNumber(providers int) error {
	if providers > record.MaxAnswers {
		return fmt.Errorf("%d providers are more than the %d that can be remembered: remove some",
			providers, record.MaxAnswers)
	}
	return nil
}

// newProviders gives each provider its ID in records.
func newProviders(list []Provider) ([]provider, error) {
	if err := CheckNumber(len(list)); err != nil {
		return nil, err
	}
	names := make(map[record.SourceID]string, len(list))
	providers := make([]provider, len(list))
	for i, p := range list {
		id := record.IDOf(p.Source.Name)
		switch other, taken := names[id]; {
		case taken && other == p.Source.Name:
			return nil, fmt.Errorf("two providers are named %q: give one of them another name", other)
		case taken:
			return nil, fmt.Errorf("providers %q and %q cannot be told apart in records: give one of them another name",
				other, p.Source.Name)
		}
		names[id] = p.Source.Name
		gate, _ := p.Provider.(Gate)
		divided, _ := p.Provider.(Divided)
		profile := p.Provider.Profile()
		providers[i] = provider{
			Provider: p, id: id, covers: profile.Covers, gate: gate, divided: divided,
			says: profile.Capabilities, rung: rungOf(p.CallsPerDay, profile.Paid),
		}
		if !profile.Capabilities.Declared() {
			providers[i].says = anything
		}
	}
	return providers, nil
}

// holdsBack reports whether the provider is not asked because of the lists that contain the address.
func (p *provider) holdsBack(match *listing.Match) bool {
	return match.Settled || p.UnlessListed && match.Listed
}

// query returns the question about an address.
func (p *provider) query(addr netip.Addr) reputation.Query {
	if p.SendNetwork && addr.Is6() {
		addr = reputation.Subject(addr).Addr()
	}
	return reputation.Query{Addr: addr}
}

// leastTTL is how long a report is valid at least, unless the operator says less. A service that says a second would
// spend its quota on the next visitor alone.
const leastTTL = 5 * time.Minute

// ttl returns how long a report is valid: as long as the operator allows, unless the service says less.
func (p *provider) ttl(r reputation.Report) time.Duration {
	ttl := p.CleanTTL
	if r.Severity > 0 {
		ttl = p.ListedTTL
	}
	if r.TTL > 0 {
		ttl = min(ttl, max(r.TTL, leastTTL))
	}
	return ttl
}

// namesOf returns the names of providers.
func namesOf(list []*reservation) []string {
	names := make([]string, len(list))
	for i, r := range list {
		names[i] = r.p.Source.Name
	}
	return names
}
