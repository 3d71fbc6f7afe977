package abuseipdb

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// maxDetail bounds what an error quotes of the service's own words, in bytes.
const maxDetail = 200

// answer is the body of a 200. Pointers tell what is missing from what is zero: a missing number must not become clean.
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

// parseAnswer returns what a body says about addr.
func parseAnswer(body []byte, addr netip.Addr) (reputation.Report, error) {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		// only the member's name: the rest of the error quotes the body
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return reputation.Report{}, fmt.Errorf("%w: %q is of another type", reputation.ErrBadAnswer, wrong.Field)
		}
		return reputation.Report{}, fmt.Errorf("%w: its body is not JSON", reputation.ErrBadAnswer)
	}
	if a.Data == nil {
		return reputation.Report{}, fmt.Errorf("%w: there is no \"data\"", reputation.ErrBadAnswer)
	}
	if err := a.Data.validate(addr); err != nil {
		return reputation.Report{}, fmt.Errorf("%w: %w", reputation.ErrBadAnswer, err)
	}
	// The service answers for addresses that nobody on the Internet has, too, even with reports.
	if a.Data.UsageType == usageReserved || a.Data.IsPublic != nil && !*a.Data.IsPublic {
		return reputation.Report{}, fmt.Errorf("%w: it calls it reserved", reputation.ErrUnknown)
	}
	return a.Data.report(), nil
}

// validate checks what a report rests on. The errors quote nothing but numbers.
func (d *data) validate(addr netip.Addr) error {
	echo, err := netip.ParseAddr(d.IPAddress)
	switch {
	case err != nil || echo.Unmap() != addr:
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
		Facts:      reputation.Facts{Country: country(d.CountryCode), Nature: d.nature()},
	}
	switch {
	case d.IsWhitelisted != nil && *d.IsWhitelisted:
		// null, the other value, means that the service has not looked, and that one should not act on it
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
	if seen, err := time.Parse(time.RFC3339, d.LastReportedAt); err == nil {
		r.LastSeen = seen.UTC()
	}
	return r
}

// confidence returns how much stands behind a score that so many different accounts have contributed to. The number of
// reports says little: one account can send thousands.
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

// The usage types that say something by themselves.
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
	case "Commercial", "Organization", "Government", "Military", "University/College/School", "Library", "Fixed Line ISP":
		n = n.With(reputation.NatureHosting, false).With(reputation.NatureMobile, false)
	case "Content Delivery Network", usageSpider:
		// machines in a data centre as a rule, which the type does not say: hosting stays open
		n = n.With(reputation.NatureMobile, false)
	}
	return n
}

func country(code string) string {
	if len(code) != 2 || code[0] < 'A' || code[0] > 'Z' || code[1] < 'A' || code[1] > 'Z' {
		return ""
	}
	return code
}

// detail returns what an error body says in the service's own words, as ": words", or nothing when it says nothing or
// when the words repeat what must not be logged.
func (a *AbuseIPDB) detail(body []byte, addr netip.Addr, key string) string {
	var failure struct {
		Errors []struct {
			Detail string `json:"detail"`
		} `json:"errors"`
	}
	if len(body) > maxBody || json.Unmarshal(body, &failure) != nil || len(failure.Errors) == 0 {
		return ""
	}
	words := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, failure.Errors[0].Detail)
	words = strings.TrimSpace(words)
	if words == "" || a.betrays(words, addr, key) {
		return ""
	}
	// cut last, so that nothing is looked for in half a word
	return ": " + words[:min(len(words), maxDetail)]
}

// betrays reports whether words hold the key, the visitor's address in any spelling, or the address of the API.
func (a *AbuseIPDB) betrays(words string, addr netip.Addr, key string) bool {
	words = strings.ToLower(words)
	secrets := []string{key, addr.String(), url.QueryEscape(addr.String()), a.base.Host, strings.Trim(a.base.Path, "/")}
	for _, secret := range secrets {
		if secret != "" && strings.Contains(words, strings.ToLower(secret)) {
			return true
		}
	}
	notAddress := func(r rune) bool { return !strings.ContainsRune("0123456789abcdef:.", r) }
	for word := range strings.FieldsFuncSeq(words, notAddress) {
		for _, spelling := range []string{word, strings.Trim(word, ":.")} {
			if found, err := netip.ParseAddr(spelling); err == nil && found.Unmap() == addr {
				return true
			}
		}
	}
	return false
}
