package greynoise

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// v3Answer is what the service says of one address. With a 206, the plan leaves members out.
type v3Answer struct {
	IP       string `json:"ip"`
	Message  string `json:"message"` // of a 404
	Business struct {
		Found      *bool  `json:"found"`
		TrustLevel string `json:"trust_level"`
	} `json:"business_service_intelligence"`
	Scanner struct {
		Found             *bool    `json:"found"`
		Classification    string   `json:"classification"`
		LastSeen          string   `json:"last_seen"`
		LastSeenTimestamp string   `json:"last_seen_timestamp"`
		Spoofable         bool     `json:"spoofable"`
		Bot               bool     `json:"bot"`
		Tor               *bool    `json:"tor"`
		VPN               *bool    `json:"vpn"`
		Tags              []tag    `json:"tags"`
		Metadata          metadata `json:"metadata"`
	} `json:"internet_scanner_intelligence"`
}

type tag struct {
	Slug     string `json:"slug"`
	Category string `json:"category"`
}

type metadata struct {
	ASN         string `json:"asn"`
	CountryCode string `json:"source_country_code"`
	Category    string `json:"category"`
	Mobile      *bool  `json:"mobile"`
}

func (p *GreyNoise) checkV3(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	question := rest.Request{
		Path:    []string{"v3", "ip", q.Addr.String()},
		Header:  map[string]string{"key": q.Key},
		Answers: []int{http.StatusPartialContent, http.StatusNotFound},
		Failure: notRoutable(q.Addr),
	}
	return rest.Ask(ctx, &p.Endpoint, q, question, func(v *v3Answer, resp *rest.Response) (reputation.Report, error) {
		if resp.Status == http.StatusNotFound {
			return reputation.Report{}, v.notFound(q.Addr)
		}
		return v.report(q.Addr, resp.Status)
	})
}

// v3Answers are what the service says of several addresses.
type v3Answers struct {
	Data     rest.Entries[v3Answer] `json:"data"`
	Metadata struct {
		NotFound []string `json:"ips_not_found"`
	} `json:"request_metadata"`
}

// CheckAll implements reputation.Batcher.
func (p *GreyNoise) CheckAll(ctx context.Context, key string, addrs []netip.Addr) ([]reputation.Answer, error) {
	question := rest.Request{
		Path:    []string{"v3", "ip"},
		Header:  map[string]string{"key": key},
		JSON:    map[string][]netip.Addr{"ips": addrs},
		Answers: []int{http.StatusPartialContent},
	}
	return rest.AskAll(ctx, &p.Endpoint, key, addrs, question, func(
		v *v3Answers, resp *rest.Response, each *rest.Answers,
	) error {
		for _, entry := range v.Data {
			entry.Into(each, entry.Value.IP, func(one *v3Answer, addr netip.Addr) (reputation.Report, error) {
				return one.report(addr, resp.Status)
			})
		}
		for _, addr := range v.Metadata.NotFound {
			each.Set(addr, reputation.Report{}, reputation.ErrUnknown)
		}
		return nil
	})
}

// notFound returns what a 404 means: that the service does not know the address, if it is the
// service's.
func (v *v3Answer) notFound(addr netip.Addr) error {
	if rest.SameAddr(v.IP, addr) || strings.Contains(v.Message, "not observed") {
		return reputation.ErrUnknown
	}
	return fmt.Errorf("%w: a 404 that is not the service's own, check the url option", reputation.ErrBadAnswer)
}

// report returns the report of an answer about addr.
func (v *v3Answer) report(addr netip.Addr, status int) (reputation.Report, error) {
	business, scanner := v.Business.Found, v.Scanner.Found
	switch {
	case !rest.SameAddr(v.IP, addr):
		return reputation.Report{}, fmt.Errorf(`%w: "ip" is not the address that was asked about`, reputation.ErrBadAnswer)
	case scanner == nil && status == http.StatusPartialContent:
		return reputation.Report{}, fmt.Errorf("%w: the plan leaves out whether the address scans: "+
			"write `api community`, or get another plan", reputation.ErrRefused)
	case scanner == nil:
		return reputation.Report{}, fmt.Errorf(`%w: there is no "found"`, reputation.ErrBadAnswer)
	}
	f := finding{
		scans: *scanner, classification: v.Scanner.Classification,
		lastSeen: cmp.Or(v.Scanner.LastSeenTimestamp, v.Scanner.LastSeen), spoofable: v.Scanner.Spoofable,
		business: business != nil && *business, trust: v.Business.TrustLevel,
	}
	r, err := f.report()
	if err != nil || !f.scans { // the rest is about who scans
		return r, err
	}
	if r.Severity > 0 {
		r.Categories |= v.deeds()
	}
	r.Facts = reputation.Facts{
		Country: rest.Country(v.Scanner.Metadata.CountryCode), ASN: rest.ASN(v.Scanner.Metadata.ASN), Nature: v.nature(),
	}
	return r, nil
}

// deeds returns what the address did besides scanning.
func (v *v3Answer) deeds() (set reputation.Categories) {
	if v.Scanner.Bot {
		set |= reputation.CategoriesOf(reputation.Bot)
	}
	for _, t := range v.Scanner.Tags {
		if t.Category == "worm" {
			set |= reputation.CategoriesOf(reputation.Compromised)
		}
		if slug := strings.ReplaceAll(t.Slug, "-", ""); strings.Contains(slug, "bruteforc") {
			set |= reputation.CategoriesOf(reputation.BruteForce)
		}
	}
	return set
}

func (v *v3Answer) nature() (n reputation.Nature) {
	n = rest.Flag(n, reputation.NatureTor, v.Scanner.Tor)
	n = rest.Flag(n, reputation.NatureVPN, v.Scanner.VPN)
	n = rest.Flag(n, reputation.NatureMobile, v.Scanner.Metadata.Mobile)
	switch v.Scanner.Metadata.Category {
	case "hosting":
		n = n.With(reputation.NatureHosting, true)
	case "mobile":
		n = n.With(reputation.NatureHosting, false).With(reputation.NatureMobile, true)
	case "isp", "business", "education", "government":
		n = n.With(reputation.NatureHosting, false)
	}
	return n
}
