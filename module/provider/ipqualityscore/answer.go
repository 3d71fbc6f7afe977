package ipqualityscore

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// answer is what the service sends, with status 200 for errors too.
type answer struct {
	Success *bool  `json:"success"`
	Message string `json:"message"`

	FraudScore      *int            `json:"fraud_score"` // 0 to 100
	RecentAbuse     flag            `json:"recent_abuse"`
	FrequentAbuser  flag            `json:"frequent_abuser"`
	HighRiskAttacks flag            `json:"high_risk_attacks"`
	BotStatus       flag            `json:"bot_status"`
	IsCrawler       flag            `json:"is_crawler"`
	Proxy           flag            `json:"proxy"` // true for every VPN and Tor exit, too
	VPN             flag            `json:"vpn"`
	Tor             flag            `json:"tor"`
	ConnectionType  string          `json:"connection_type"`
	CountryCode     string          `json:"country_code"`
	ASN             json.RawMessage `json:"ASN"` // a number or null
	Organization    string          `json:"organization"`
}

// flag is a boolean. Plans that do not include it have words in its place, such as "Premium required.":
// then it is not known.
type flag struct{ value *bool }

// UnmarshalJSON implements json.Unmarshaler.
func (f *flag) UnmarshalJSON(text []byte) error {
	if is := string(text) == "true"; is || string(text) == "false" {
		f.value = &is
	}
	return nil
}

func (f flag) is() bool { return f.value != nil && *f.value }

// report returns the report of an answer.
func (v *answer) report() (reputation.Report, error) {
	switch {
	case v.Success == nil || !*v.Success:
		return reputation.Report{}, fmt.Errorf(`%w: "success" is not true`, reputation.ErrBadAnswer)
	case v.FraudScore == nil:
		return reputation.Report{}, fmt.Errorf(`%w: there is no "fraud_score"`, reputation.ErrBadAnswer)
	case *v.FraudScore < 0 || *v.FraudScore > 100:
		return reputation.Report{}, fmt.Errorf(`%w: "fraud_score" is %d, outside 0 to 100`, reputation.ErrBadAnswer,
			*v.FraudScore)
	}
	r := reputation.Report{Facts: v.facts()}
	r.Severity, r.Confidence = v.severity(r.Facts.Nature)
	if r.Severity > 0 {
		r.Categories |= reputation.CategoriesOf(reputation.Abuse)
	}
	if v.IsCrawler.is() {
		r.Categories |= reputation.CategoriesOf(reputation.Crawler)
	} else if v.BotStatus.is() {
		r.Categories |= reputation.CategoriesOf(reputation.Bot)
	}
	return r, nil
}

// severity returns the severity and its confidence.
func (v *answer) severity(n reputation.Nature) (severity, confidence float64) {
	const sure, clean = 0.7, 0.5
	abused := v.RecentAbuse.is() || v.FrequentAbuser.is() || v.HighRiskAttacks.is()
	anonymous := reputation.KindsOf(reputation.NatureTor, reputation.NatureVPN, reputation.NatureProxy, reputation.NatureHosting)
	score := float64(*v.FraudScore) / 100
	switch crawler := v.IsCrawler.is(); {
	case crawler && !abused: // a crawler is a bot, and rightly so
		return -1, sure
	case abused || v.BotStatus.is():
		return score, sure
	case score == 0:
		return -1, clean
	case n.IsAny(anonymous), v.Proxy.value == nil: // where it is not known, it may be what explains the score
		return 0, sure
	}
	return score, sure
}

func (v *answer) facts() reputation.Facts {
	n := rest.Flag(reputation.Nature{}, reputation.NatureTor, v.Tor.value)
	n = rest.Flag(n, reputation.NatureVPN, v.VPN.value)
	if !v.Tor.is() && !v.VPN.is() {
		n = rest.Flag(n, reputation.NatureProxy, v.Proxy.value)
	}
	switch v.ConnectionType {
	case "Data Center":
		n = n.With(reputation.NatureHosting, true).With(reputation.NatureMobile, false)
	case "Mobile":
		n = n.With(reputation.NatureHosting, false).With(reputation.NatureMobile, true)
	case "Residential", "Corporate", "Education":
		n = n.With(reputation.NatureHosting, false).With(reputation.NatureMobile, false)
	}
	f := reputation.Facts{Country: rest.Country(v.CountryCode), Nature: n}
	f.ASN, f.ASName = rest.System(rest.ASN(string(v.ASN)), v.Organization)
	return f
}

// refusal returns what it means that the call failed: nil if it did not, or if the message says nothing of
// the plan or the key. The quota comes first: its message may advise to get another key.
func (v *answer) refusal(resp *rest.Response) error {
	if v.Success == nil || *v.Success {
		return nil
	}
	text := strings.ToLower(v.Message)
	switch {
	case strings.Contains(text, "quota"), strings.Contains(text, "credits"):
		return fmt.Errorf("%w%s", resp.Throttled(), resp.Quote(v.Message))
	case strings.Contains(text, "key"), strings.Contains(text, "unauthorized"):
		return fmt.Errorf("%w%s", reputation.ErrRefused, resp.Quote(v.Message))
	}
	return nil
}

// failure reads the body that comes with another status than 200.
func failure(resp *rest.Response, body []byte) error {
	var v answer
	if rest.Decode(body, &v) == nil {
		return v.refusal(resp)
	}
	return nil // not a failure of the service's own kind
}
