package otx

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// answer is what is needed of the body of a 200.
type answer struct {
	Indicator string `json:"indicator"`
	PulseInfo *struct {
		Pulses *[]pulse `json:"pulses"` // fifty at most
	} `json:"pulse_info"`

	// Validation says why the address is harmless. FalsePositive was once spelled with a capital
	// letter, which decoding ignores.
	Validation []struct {
		Source  string `json:"source"`
		Message string `json:"message"`
		Name    string `json:"name"`
	} `json:"validation"`
	FalsePositive []struct {
		Assessment string `json:"assessment"`
	} `json:"false_positive"`

	ASN         string `json:"asn"` // "AS64500 EXAMPLE-NET"
	CountryCode string `json:"country_code"`
}

type pulse struct {
	Created  string   `json:"created"`
	Modified string   `json:"modified"`
	Tags     []string `json:"tags"`
	Active   *int     `json:"related_indicator_is_active"`
	Author   struct {
		Username string `json:"username"`
	} `json:"author"`

	// MalwareFamilies are texts in older answers, and objects in newer ones.
	MalwareFamilies []json.RawMessage `json:"malware_families"`
}

// notFound returns what a 404 means. The service usually answers about addresses that are in no pulse.
func (v *answer) notFound(addr netip.Addr) error {
	if !rest.SameAddr(v.Indicator, addr) {
		return fmt.Errorf("%w: a 404 that does not name the address, check the url option", reputation.ErrBadAnswer)
	}
	return reputation.ErrUnknown
}

// report returns the report of the answer about addr.
func (v *answer) report(addr netip.Addr, now time.Time) (reputation.Report, error) {
	if err := v.validate(addr); err != nil {
		return reputation.Report{}, fmt.Errorf("%w: %w", reputation.ErrBadAnswer, err)
	}
	r := reputation.Report{Facts: reputation.Facts{Country: rest.Country(v.CountryCode), ASN: rest.ASN(v.ASN)}}
	if v.isValidated() {
		r.Severity, r.Confidence = -1, 0.5
		return r, nil
	}
	if v.isFalsePositive() {
		return r, nil
	}
	pulses, authors, tagged := 0, map[string]bool{}, map[reputation.Category]map[string]bool{}
	for i := range *v.PulseInfo.Pulses {
		p := &(*v.PulseInfo.Pulses)[i]
		if !p.counts(now) {
			continue
		}
		pulses++
		authors[p.Author.Username] = true
		for category := range p.categories().All() {
			if tagged[category] == nil {
				tagged[category] = map[string]bool{}
			}
			tagged[category][p.Author.Username] = true
		}
	}
	if pulses == 0 {
		return r, nil
	}
	// The times of a pulse are those of its editing, not of what the address did: LastSeen stays unknown.
	r.Severity, r.Confidence = severity(pulses), confidence(len(authors))
	r.Categories = reputation.CategoriesOf(reputation.Abuse)
	for category, by := range tagged {
		if len(by) >= 2 {
			r.Categories |= reputation.CategoriesOf(category)
		}
	}
	return r, nil
}

// detail returns the service's message from the body of an error.
func detail(body []byte) string {
	var failure struct {
		Detail string `json:"detail"`
		Error  string `json:"error"`
	}
	_ = json.Unmarshal(body, &failure) // without a message, the status is sufficient
	return cmp.Or(failure.Detail, failure.Error)
}

// validate checks the values that a report needs.
func (v *answer) validate(addr netip.Addr) error {
	switch {
	case !rest.SameAddr(v.Indicator, addr):
		return errors.New(`"indicator" is not the address that was asked about`)
	case v.PulseInfo == nil || v.PulseInfo.Pulses == nil:
		return errors.New(`there are no "pulses"`)
	}
	return nil
}

func (v *answer) isValidated() bool {
	for _, reason := range v.Validation {
		if reason.Source+reason.Message+reason.Name != "" {
			return true
		}
	}
	return false
}

func (v *answer) isFalsePositive() bool {
	for _, f := range v.FalsePositive {
		if f.Assessment == "accepted" {
			return true
		}
	}
	return false
}

// maxAge is how old a pulse may be: addresses change hands. The other clock may be ahead by up to a day.
const maxAge, maxAhead = 180 * 24 * time.Hour, 24 * time.Hour

// counts reports whether a pulse is evidence. One without a date is not, since it may be of any age.
func (p *pulse) counts(now time.Time) bool {
	age := now.Sub(rest.Time(cmp.Or(p.Modified, p.Created))) // centuries for what is no time
	return age >= -maxAhead && age <= maxAge && (p.Active == nil || *p.Active != 0)
}

func severity(pulses int) float64 {
	switch {
	case pulses >= 10:
		return 0.7
	case pulses >= 5:
		return 0.55
	case pulses >= 2:
		return 0.4
	}
	return 0.25
}

// confidence returns the confidence by the number of authors. Pulses of one author are not independent.
func confidence(authors int) float64 {
	switch {
	case authors >= 5:
		return 0.6
	case authors >= 3:
		return 0.5
	case authors == 2:
		return 0.4
	}
	return 0.3
}

// tags are the usual tags that name a category. Authors choose them freely.
var tags = map[string]reputation.Category{
	"scanner": reputation.Scanner, "scanning": reputation.Scanner, "scan": reputation.Scanner,
	"portscan": reputation.Scanner, "port scan": reputation.Scanner,
	"bruteforce": reputation.BruteForce, "brute force": reputation.BruteForce, "brute-force": reputation.BruteForce,
	"webattack": reputation.WebAttack, "web attack": reputation.WebAttack, "webscanner": reputation.WebAttack,
	"spam": reputation.Spam, "ddos": reputation.DDoS, "malware": reputation.Malware,
	"c2": reputation.BotnetC2, "c&c": reputation.BotnetC2, "command and control": reputation.BotnetC2,
}

func (p *pulse) categories() (all reputation.Categories) {
	for _, tag := range p.Tags {
		if category, ok := tags[strings.ToLower(strings.TrimSpace(tag))]; ok {
			all |= reputation.CategoriesOf(category)
		}
	}
	if len(p.MalwareFamilies) > 0 {
		all |= reputation.CategoriesOf(reputation.Malware)
	}
	return all
}
