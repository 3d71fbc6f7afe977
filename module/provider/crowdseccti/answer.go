package crowdseccti

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// answer is what the service knows of an address, or its message that it knows nothing. Most
// members may be null.
type answer struct {
	Message string `json:"message"` // of errors, and of the 404

	IP         string `json:"ip"`
	Reputation string `json:"reputation"`
	Confidence string `json:"confidence"`
	IPRange    string `json:"ip_range"`
	ASNum      uint32 `json:"as_num"`
	Location   struct {
		Country string `json:"country"`
	} `json:"location"`
	Behaviors []named `json:"behaviors"`
	History   struct {
		LastSeen string `json:"last_seen"`
	} `json:"history"`
	Classifications struct {
		FalsePositives  []named `json:"false_positives"`
		Classifications []named `json:"classifications"`
	} `json:"classifications"`
	Scores struct {
		LastWeek struct {
			Total *float64 `json:"total"` // 0 to 5
		} `json:"last_week"`
	} `json:"scores"`
}

type named struct {
	Name string `json:"name"`
}

// notFound returns what a 404 means: that the service has never seen the address, if it says so.
func (v *answer) notFound() error {
	if strings.EqualFold(v.Message, "IP address information not found") {
		return reputation.ErrUnknown
	}
	return fmt.Errorf("%w: a 404 that is not the service's own, check the url option", reputation.ErrBadAnswer)
}

// report returns the report of an answer about addr.
func (v *answer) report(addr netip.Addr) (reputation.Report, error) {
	if !rest.SameAddr(v.IP, addr) {
		return reputation.Report{}, fmt.Errorf(`%w: "ip" is not the address that was asked about`, reputation.ErrBadAnswer)
	}
	severity, err := v.severity()
	if err != nil {
		return reputation.Report{}, err
	}
	confidence, ok := confidences[v.Confidence]
	if !ok {
		return reputation.Report{}, fmt.Errorf(`%w: "confidence" is a word that is not known`, reputation.ErrBadAnswer)
	}
	r := reputation.Report{Severity: severity, Confidence: confidence, Facts: v.facts(addr)}
	switch {
	case severity > 0:
		r.Categories = v.categories()
	case severity < 0 && v.Reputation != "benign":
		r.Categories = reputation.CategoriesOf(reputation.PublicService)
	}
	r.LastSeen = rest.Time(v.History.LastSeen)
	return r, nil
}

// confidences are the service's words. Older answers have none.
var confidences = map[string]float64{"high": .9, "medium": .7, "low": .4, "none": .2, "": .4}

// severity returns how bad the service finds the address.
func (v *answer) severity() (float64, error) {
	var week float64
	if total := v.Scores.LastWeek.Total; total != nil {
		week = *total
	}
	if week < 0 || week > 5 {
		return 0, fmt.Errorf(`%w: "total" of the last week is outside 0 to 5`, reputation.ErrBadAnswer)
	}
	var severity float64
	good := slices.ContainsFunc(v.Classifications.FalsePositives, func(n named) bool { return n.Name != "" })
	switch v.Reputation {
	case "malicious":
		severity = min(.7+.06*week, 1)
	case "suspicious":
		severity = min(.4+.06*week, .75)
	case "known":
		severity = .2
	case "safe", "benign":
		good = true
	case "unknown":
	case "":
		return 0, fmt.Errorf(`%w: there is no "reputation"`, reputation.ErrBadAnswer)
	default:
		return 0, fmt.Errorf(`%w: "reputation" is a word that is not known`, reputation.ErrBadAnswer)
	}
	for _, class := range v.Classifications.Classifications {
		if class.Name == "community-blocklist" {
			severity = max(severity, .9)
		}
	}
	switch {
	case good && severity > 0:
		return 0, nil // it contradicts itself
	case good:
		return -1, nil
	}
	return severity, nil
}

// categories returns what the address was seen doing. Behaviours are named as http:scan and
// ssh:bruteforce.
func (v *answer) categories() reputation.Categories {
	var set reputation.Categories
	for _, b := range v.Behaviors {
		service, deed, _ := strings.Cut(b.Name, ":")
		switch deed {
		case "scan":
			set |= reputation.CategoriesOf(reputation.Scanner)
		case "bruteforce":
			set |= reputation.CategoriesOf(reputation.BruteForce)
		case "crawl":
			set |= reputation.CategoriesOf(reputation.Bot)
		case "spam":
			set |= reputation.CategoriesOf(reputation.Spam)
		case "dos", "ddos":
			set |= reputation.CategoriesOf(reputation.DDoS)
		case "exploit":
			if service == "http" {
				set |= reputation.CategoriesOf(reputation.WebAttack)
				continue
			}
			set |= reputation.CategoriesOf(reputation.Abuse)
		}
	}
	if set == 0 {
		return reputation.CategoriesOf(reputation.Abuse)
	}
	return set
}

func (v *answer) facts(addr netip.Addr) reputation.Facts {
	return reputation.Facts{
		Country: rest.Country(strings.ToUpper(v.Location.Country)), ASN: v.ASNum, Network: rest.Network(v.IPRange, addr),
		Nature: v.nature(),
	}
}

// nature returns what the classifications say. Which of the two a "VPN or proxy" is, the service
// does not say.
func (v *answer) nature() (n reputation.Nature) {
	for _, class := range v.Classifications.Classifications {
		switch {
		case class.Name == "proxy:tor":
			n = n.With(reputation.NatureTor, true)
		case class.Name == "proxy:vpn", class.Name == "crowdsec:ai_vpn_proxy":
			n = n.With(reputation.NatureVPN, true)
		case strings.HasPrefix(class.Name, "proxy:"):
			n = n.With(reputation.NatureProxy, true)
		}
	}
	return n
}
