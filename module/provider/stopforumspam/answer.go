package stopforumspam

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// answer is the body of a 200 about one address.
type answer struct {
	status
	IP *entry `json:"ip"`
}

// answers is the body of a 200 about several addresses.
type answers struct {
	status
	IP rest.Entries[entry] `json:"ip"`
}

// status says whether the answer is an error.
type status struct {
	Success *int   `json:"success"`
	Error   string `json:"error"`
}

// entry is what the service says about one address. Numbers stand for truth values. Pointers
// distinguish missing values from zero.
type entry struct {
	Value       string   `json:"value"` // missing in answers of some years ago
	Appears     *int     `json:"appears"`
	Frequency   *int     `json:"frequency"`  // 255 stands for more, too
	Confidence  *float64 `json:"confidence"` // in percent, of listed addresses
	LastSeen    string   `json:"lastseen"`
	Blacklisted *int     `json:"blacklisted"`
	TorExit     *int     `json:"torexit"`
	Country     string   `json:"country"` // in lower case
	ASN         *int64   `json:"asn"`
}

// failure returns the error of an answer that is one in spite of its status.
func (s *status) failure(resp *rest.Response) error {
	switch {
	case s.Success == nil:
		return fmt.Errorf(`%w: there is no "success"`, reputation.ErrBadAnswer)
	case *s.Success != 1 && strings.Contains(strings.ToLower(s.Error), "limit"):
		return fmt.Errorf("%w%s", resp.Throttled(), resp.Quote(s.Error))
	case *s.Success != 1:
		return fmt.Errorf("%w: it reports an error%s", reputation.ErrBadAnswer, resp.Quote(s.Error))
	}
	return nil
}

// report returns the report of an entry about addr.
func (e *entry) report(addr netip.Addr) (reputation.Report, error) {
	if err := e.validate(addr); err != nil {
		return reputation.Report{}, fmt.Errorf("%w: %w", reputation.ErrBadAnswer, err)
	}
	r := reputation.Report{Facts: e.facts()}
	if *e.Appears == 0 {
		return r, nil
	}
	if e.Confidence != nil {
		r.Severity = *e.Confidence / 100
	}
	if e.isBlacklisted() {
		r.Severity = max(r.Severity, 0.95)
	}
	r.Confidence = confidence(*e.Frequency)
	if r.Severity > 0 {
		r.Categories = reputation.CategoriesOf(reputation.Spam)
	}
	r.LastSeen = rest.Time(e.LastSeen)
	return r, nil
}

// validate checks the values that a report needs. Its errors quote numbers only.
func (e *entry) validate(addr netip.Addr) error {
	switch {
	case e == nil:
		return errors.New(`there is no "ip"`)
	case e.Value != "" && !rest.SameAddr(e.Value, addr):
		return errors.New(`"value" is not the address that was asked about`)
	case e.Appears == nil || *e.Appears != 0 && *e.Appears != 1:
		return errors.New(`there is no valid "appears"`)
	case e.Frequency == nil || *e.Frequency < 0:
		return errors.New(`there is no valid "frequency"`)
	case e.Confidence != nil && !(*e.Confidence >= 0 && *e.Confidence <= 100):
		return fmt.Errorf(`"confidence" is %v, outside 0 to 100`, *e.Confidence)
	case *e.Appears == 1 && e.Confidence == nil && !e.isBlacklisted():
		return errors.New(`there is no "confidence" of an address that is listed`)
	}
	return nil
}

func (e *entry) isBlacklisted() bool { return e.Blacklisted != nil && *e.Blacklisted == 1 }

// confidence returns the confidence by the number of reports.
func confidence(reports int) float64 {
	switch {
	case reports >= 10:
		return 0.6
	case reports >= 2:
		return 0.5
	}
	return 0.3
}

func (e *entry) facts() reputation.Facts {
	facts := reputation.Facts{Country: rest.Country(strings.ToUpper(e.Country))}
	if e.ASN != nil && *e.ASN > 0 && *e.ASN <= math.MaxUint32 {
		facts.ASN = uint32(*e.ASN)
	}
	if e.TorExit != nil && *e.TorExit == 1 {
		facts.Nature = facts.Nature.With(reputation.NatureTor, true)
	}
	return facts
}
