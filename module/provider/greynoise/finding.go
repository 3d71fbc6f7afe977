package greynoise

import (
	"fmt"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// finding is what both products say of an address.
type finding struct {
	scans          bool
	classification string
	lastSeen       string
	spoofable      bool // its packets may be forged

	business bool   // it is of a service that most companies use
	trust    string // how much such a service is trusted: 1 most, 2 less, or not said
}

// severities are those of the classifications. Some answers have none.
var severities = map[string]float64{"malicious": .85, "suspicious": .6, "unknown": .3, "": .3, "benign": -1}

// trusts are how sure it is that a common service is harmless.
var trusts = map[string]float64{"1": .9, "2": .4, "": .5}

// report returns the report of a finding, without facts.
func (f finding) report() (reputation.Report, error) {
	severity, known := severities[f.classification]
	trust, knownTrust := trusts[f.trust]
	switch {
	case !known:
		return reputation.Report{}, fmt.Errorf(`%w: "classification" is a word that is not known`, reputation.ErrBadAnswer)
	case !knownTrust:
		return reputation.Report{}, fmt.Errorf(`%w: "trust_level" is a word that is not known`, reputation.ErrBadAnswer)
	case !f.scans && severity > severities[""]:
		return reputation.Report{}, fmt.Errorf("%w: it accuses an address that it has not seen", reputation.ErrBadAnswer)
	case !f.scans && !f.business:
		return reputation.Report{}, reputation.ErrUnknown
	}
	r := reputation.Report{LastSeen: rest.Time(f.lastSeen)}
	if f.scans {
		r.Severity, r.Confidence, r.Categories = severity, .8, reputation.CategoriesOf(reputation.Scanner)
		switch f.classification {
		case "benign":
			r.Confidence, r.Categories = .95, reputation.CategoriesOf(reputation.BenignScanner)
		case "malicious":
			r.Categories |= reputation.CategoriesOf(reputation.Abuse)
		}
		if f.spoofable {
			r.Confidence /= 2
		}
	}
	if !f.business {
		return r, nil
	}
	service := reputation.CategoriesOf(reputation.PublicService)
	if r.Severity > 0 { // a service that others misuse, or an address that has changed hands
		r.Severity, r.Categories = 0, service
		return r, nil
	}
	r.Severity, r.Confidence, r.Categories = -1, max(r.Confidence, trust), r.Categories|service
	return r, nil
}
