package virustotal

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// answer is what is needed of the body of a 200, or of an error. Pointers distinguish missing values
// from zero.
type answer struct {
	Data *struct {
		ID         string      `json:"id"`
		Type       string      `json:"type"`
		Attributes *attributes `json:"attributes"`
	} `json:"data"`
	Error *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

type attributes struct {
	Stats    *stats            `json:"last_analysis_stats"`
	Results  map[string]result `json:"last_analysis_results"`
	Analyzed int64             `json:"last_analysis_date"` // seconds since 1970
	Country  string            `json:"country"`
	ASN      int64             `json:"asn"`
	Network  string            `json:"network"`
}

// stats are the numbers of engines by their verdict.
type stats struct {
	Malicious  *int `json:"malicious"`
	Suspicious *int `json:"suspicious"`
	Harmless   *int `json:"harmless"`
	Undetected *int `json:"undetected"`
}

// result is the verdict of one engine.
type result struct {
	Category string `json:"category"`
	Result   string `json:"result"`
}

// maxEngines is more than the service has, which are about ninety.
const maxEngines = 10_000

// notFound returns what a 404 means. The service usually knows every address.
func (v *answer) notFound() error {
	if v.Error == nil || v.Error.Code != "NotFoundError" {
		return fmt.Errorf("%w: a 404 that is not the service's own, check the url option", reputation.ErrBadAnswer)
	}
	return reputation.ErrUnknown
}

// report returns the report of the answer about addr.
func (v *answer) report(addr netip.Addr) (reputation.Report, error) {
	if err := v.validate(addr); err != nil {
		return reputation.Report{}, fmt.Errorf("%w: %w", reputation.ErrBadAnswer, err)
	}
	attributes := v.Data.Attributes
	malicious, suspicious := *attributes.Stats.Malicious, *attributes.Stats.Suspicious
	r := reputation.Report{Facts: attributes.facts(addr)}
	switch {
	case malicious+suspicious > 0:
		r.Severity, r.Confidence = severity(malicious, suspicious), min(0.3+0.1*float64(malicious), 0.9)
		r.Categories = reputation.CategoriesOf(reputation.Abuse)
		if attributes.spreadsMalware() {
			r.Categories |= reputation.CategoriesOf(reputation.Malware)
		}
	case *attributes.Stats.Harmless > 0:
		r.Severity, r.Confidence = -1, 0.5
	}
	if r.Severity != 0 {
		r.LastSeen = rest.Unix(attributes.Analyzed)
	}
	return r, nil
}

// detail returns the service's message from the body of an error.
func detail(body []byte) string {
	var a answer
	if json.Unmarshal(body, &a) != nil || a.Error == nil {
		return ""
	}
	return a.Error.Code + " " + a.Error.Message
}

// validate checks the values that a report needs. Its errors quote numbers only.
func (v *answer) validate(addr netip.Addr) error {
	switch {
	case v.Data == nil || v.Data.Attributes == nil:
		return errors.New(`there is no "data" with "attributes"`)
	case v.Data.Type != "ip_address" || !rest.SameAddr(v.Data.ID, addr):
		return errors.New(`"data.id" is not the address that was asked about`)
	case v.Data.Attributes.Stats == nil:
		return errors.New(`there are no "last_analysis_stats"`)
	}
	s := v.Data.Attributes.Stats
	for _, n := range []*int{s.Malicious, s.Suspicious, s.Harmless, s.Undetected} {
		if n == nil || *n < 0 || *n > maxEngines {
			return errors.New(`"last_analysis_stats" lack a number, or have one out of range`)
		}
	}
	return nil
}

// severity returns how bad an address is of which at least one engine says something bad.
func severity(malicious, suspicious int) float64 {
	if malicious+suspicious == 1 {
		return 0.25
	}
	return min(0.32+0.08*float64(malicious)+0.04*float64(suspicious), 1)
}

// spreadsMalware reports whether enough engines to be believed say that it is about malware. Rules
// may block by this category alone, and single engines err.
func (a *attributes) spreadsMalware() bool {
	const enough = 3
	engines := 0
	for _, r := range a.Results {
		if r.Category == "malicious" && r.Result == "malware" {
			engines++
		}
	}
	return engines >= enough
}

func (a *attributes) facts(addr netip.Addr) reputation.Facts {
	facts := reputation.Facts{Country: rest.Country(a.Country), Network: rest.Network(a.Network, addr)}
	if a.ASN > 0 && a.ASN <= math.MaxUint32 {
		facts.ASN = uint32(a.ASN)
	}
	return facts
}
