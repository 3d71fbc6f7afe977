package abuseipdb

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// answer is the body of a 200. Pointers distinguish missing values from zero: a
// missing score must not count as clean.
type answer struct {
	Data *data `json:"data"`
}

type data struct {
	IPAddress        string `json:"ipAddress"`
	IsPublic         *bool  `json:"isPublic"`
	IsWhitelisted    *bool  `json:"isWhitelisted"`
	Score            *int   `json:"abuseConfidenceScore"`
	CountryCode      string `json:"countryCode"`
	UsageType        string `json:"usageType"`
	IsTor            *bool  `json:"isTor"`
	TotalReports     *int   `json:"totalReports"`
	NumDistinctUsers *int   `json:"numDistinctUsers"`
	LastReportedAt   string `json:"lastReportedAt"`
}

// report returns the report of the answer about addr.
func (v *answer) report(addr netip.Addr) (reputation.Report, error) {
	if v.Data == nil {
		return reputation.Report{}, fmt.Errorf("%w: there is no \"data\"", reputation.ErrBadAnswer)
	}
	if err := v.Data.validate(addr); err != nil {
		return reputation.Report{}, fmt.Errorf("%w: %w", reputation.ErrBadAnswer, err)
	}
	// The service has answers, and even reports, about addresses that no client on
	// the Internet can have.
	if v.Data.UsageType == usageReserved || v.Data.IsPublic != nil && !*v.Data.IsPublic {
		return reputation.Report{}, fmt.Errorf("%w: it calls it reserved", reputation.ErrUnknown)
	}
	return v.Data.report(), nil
}

// validate checks the values that a report needs. Its errors quote numbers only.
func (d *data) validate(addr netip.Addr) error {
	switch {
	case !rest.SameAddr(d.IPAddress, addr):
		return errors.New(`"ipAddress" is not the address that was asked about`)
	case d.Score == nil:
		return errors.New(`there is no "abuseConfidenceScore"`)
	case *d.Score < 0 || *d.Score > 100:
		return fmt.Errorf(`"abuseConfidenceScore" is %d, outside 0 to 100`, *d.Score)
	case d.TotalReports == nil || *d.TotalReports < 0:
		return errors.New(`there is no valid "totalReports"`)
	case d.NumDistinctUsers == nil || *d.NumDistinctUsers < 0:
		return errors.New(`there is no valid "numDistinctUsers"`)
	}
	return nil
}

func (d *data) report() reputation.Report {
	r := reputation.Report{
		Severity:   float64(*d.Score) / 100,
		Confidence: confidence(*d.NumDistinctUsers),
		Facts:      reputation.Facts{Country: rest.Country(d.CountryCode), Nature: d.nature()},
	}
	switch {
	case d.IsWhitelisted != nil && *d.IsWhitelisted:
		// the other value is null, which means that the service has not checked it
		r.Severity, r.Confidence = -1, 0.9
	case *d.Score == 0 && *d.TotalReports == 0:
		r.Severity, r.Confidence = -1, 0.5
	}
	if r.Severity > 0 {
		r.Categories |= reputation.CategoriesOf(reputation.Abuse)
	}
	if d.UsageType == usageSpider {
		r.Categories |= reputation.CategoriesOf(reputation.Crawler)
	}
	r.LastSeen = rest.Time(d.LastReportedAt)
	return r
}

// confidence returns the confidence in a score by the number of different reporters. The number of
// reports means little: one reporter can send thousands.
func confidence(reporters int) float64 {
	switch {
	case reporters >= 20:
		return 0.9
	case reporters >= 5:
		return 0.75
	case reporters >= 2:
		return 0.5
	case reporters == 1:
		return 0.3
	}
	return 0.5
}

// The usage types with a meaning of their own.
const (
	usageHosting  = "Data Center/Web Hosting/Transit"
	usageMobile   = "Mobile ISP"
	usageSpider   = "Search Engine Spider"
	usageReserved = "Reserved"
)

func (d *data) nature() reputation.Nature {
	var n reputation.Nature
	if d.IsTor != nil {
		n = n.With(reputation.NatureTor, *d.IsTor)
	}
	switch d.UsageType {
	case usageHosting:
		n = n.With(reputation.NatureHosting, true).With(reputation.NatureMobile, false)
	case usageMobile:
		n = n.With(reputation.NatureHosting, false).With(reputation.NatureMobile, true)
	case "Commercial", "Organization", "Government", "Military", "University/College/School", "Library",
		"Fixed Line ISP":
		n = n.With(reputation.NatureHosting, false).With(reputation.NatureMobile, false)
	case "Content Delivery Network", usageSpider:
		// usually these are machines in a data centre, but the type does not state
		// it: hosting stays unknown
		n = n.With(reputation.NatureMobile, false)
	}
	return n
}

// detail returns the service's message from the body of an error.
func detail(body []byte) string {
	var failure failure
	if json.Unmarshal(body, &failure) != nil || len(failure.Errors) == 0 {
		return ""
	}
	return failure.Errors[0].Detail
}
