package crowdsec

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
)

// Filter says which decisions count. It is not sent: an API that filters leaves out decisions that a
// longer one of another origin hides. The zero value takes all.
type Filter struct {
	// Scenarios are parts of the names of scenarios, of which one must be in the name of a decision's.
	Scenarios []string

	// NotScenarios are parts of names, of which none may be in it.
	NotScenarios []string

	// Origins are the origins of which a decision's must be one: a word that CheckOrigin knows. Upper and lower case are the same everywhere.
	Origins []string
}

// maxDuration is the longest time that a decision is believed to last.
const maxDuration = 10 * 365 * 24 * time.Hour

// reader turns decisions into entries of the list.
type reader struct {
	filter Filter
	kinds  map[kindOf]kind
}

// kindOf is what decides, besides the address, what a decision means. Many decisions share it.
type kindOf struct{ origin, scenario, remediation string }

type kind struct {
	part uint8
	err  error // the decision does not count
}

// maxKinds bounds the memory of reader.kinds.
const maxKinds = 10_000

func newReader(f Filter) *reader {
	lower := func(words []string) []string {
		words = slices.Clone(words)
		for i := range words {
			words[i] = strings.ToLower(words[i])
		}
		return words
	}
	return &reader{
		filter: Filter{lower(f.Scenarios), lower(f.NotScenarios), lower(f.Origins)},
		kinds:  make(map[kindOf]kind),
	}
}

// errNotWanted is the error for a decision that does not count, and need not be counted as wrong:
// it has ended, is simulated, or the operator's filter leaves it out.
var errNotWanted = errors.New("the decision is not wanted")

// entry returns the entry of a decision that was received at the given time. Another error than
// errNotWanted wraps feed.ErrLeftOut.
func (r *reader) entry(x *decision, received time.Time) (feed.Entry, error) {
	if x.wrong != nil {
		return feed.Entry{}, fmt.Errorf("decision %d: %w: %w", x.id, feed.ErrLeftOut, x.wrong)
	}
	if x.simulated || x.duration <= 0 {
		return feed.Entry{}, errNotWanted
	}
	key := kindOf{x.origin, x.scenario, x.kind}
	k, known := r.kinds[key]
	if !known {
		k = r.kind(key)
		if len(r.kinds) == maxKinds {
			clear(r.kinds)
		}
		r.kinds[key] = k
	}
	if k.err != nil {
		return feed.Entry{}, k.err
	}
	e := feed.Entry{ID: x.id, Part: k.part, Until: received.Add(min(x.duration, maxDuration))}
	if err := setTarget(&e, x.scope, x.value); err != nil {
		return feed.Entry{}, fmt.Errorf("decision %d: %w: %w", x.id, feed.ErrLeftOut, err)
	}
	return e, nil
}

// kind applies the filter, and finds the part that a decision belongs to.
func (r *reader) kind(k kindOf) kind {
	origin, scenario := strings.ToLower(k.origin), strings.ToLower(k.scenario)
	isFrom := func(word string) bool {
		return word == origin || word == strings.ToLower(origins[originOf(k.origin)]) || word == origin+":"+scenario
	}
	isIn := func(part string) bool { return strings.Contains(scenario, part) }
	f := &r.filter
	switch {
	case len(f.Origins) > 0 && !slices.ContainsFunc(f.Origins, isFrom),
		len(f.Scenarios) > 0 && !slices.ContainsFunc(f.Scenarios, isIn),
		slices.ContainsFunc(f.NotScenarios, isIn):
		return kind{err: errNotWanted}
	}
	remediation := slices.Index(remediationWords[:], strings.ToLower(k.remediation))
	if remediation < 0 {
		return kind{err: fmt.Errorf("%w: nothing is known of the type %.40q", feed.ErrLeftOut, k.remediation)}
	}
	return kind{part: partOf(originOf(k.origin), Remediation(remediation), CategoryOf(k.scenario))}
}

// setTarget sets what a decision is about. The scope does not tell an address from a range: ranges
// come with the scope of an address, too.
func setTarget(e *feed.Entry, scope, value string) error {
	switch strings.ToLower(scope) {
	case "ip", "range":
		prefix, err := parsePrefix(value)
		if err != nil {
			return err
		}
		e.Prefix = prefix
	case "as":
		asn, ok := address.ParseASN(value)
		if !ok {
			return fmt.Errorf("%.40q is no autonomous system", value)
		}
		e.ASN = asn
	case "country":
		code, ok := address.ParseCountry(value)
		if !ok {
			return fmt.Errorf("%.40q is no country", value)
		}
		e.Country = [2]byte{code[0], code[1]}
	default:
		return fmt.Errorf("nothing is known of the scope %.40q", scope)
	}
	return nil
}

// parsePrefix reads an address or a range.
func parsePrefix(value string) (netip.Prefix, error) {
	var prefix netip.Prefix
	if strings.Contains(value, "/") {
		var err error
		if prefix, err = netip.ParsePrefix(value); err != nil {
			return prefix, fmt.Errorf("%.60q is no range of addresses", value)
		}
	} else {
		addr, err := netip.ParseAddr(value)
		if err != nil || addr.Zone() != "" {
			return prefix, fmt.Errorf("%.60q is no address", value)
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	return prefix, nil
}
