package rest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func init() { caddy.RegisterModule(Acme{}) }

// Acme asks Acme Threat Intelligence how risky an address is. It needs an API key.
type Acme struct {
	rest.Endpoint
}

// CaddyModule returns the Caddy module information.
func (Acme) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.acme",
		New: func() caddy.Module { return new(Acme) },
	}
}

// Provision prepares the connections.
func (p *Acme) Provision(ctx caddy.Context) error {
	return p.Open(ctx, rest.API{Profile: p.Profile(), Title: "Acme", URL: "https://api.acme.example/v1"})
}

// Profile implements reputation.Provider.
func (*Acme) Profile() reputation.Profile {
	return reputation.Profile{
		Name:      "acme",
		Quota:     []string{"500/day"}, // the free plan
		ListedTTL: 4 * time.Hour,
		Covers:    reputation.IPv4,
		Capabilities: reputation.Capabilities{
			Categories: reputation.CategoriesOf(reputation.Scanner), Country: true,
		},
		Terms:    "non-commercial use only",
		Protocol: reputation.ProtocolConfirmed,
	}
}

// acmeAnswer is what the service sends. A pointer tells what is missing from what is zero.
type acmeAnswer struct {
	IP      string   `json:"ip"`
	Risk    *float64 `json:"risk"` // 0 to 100
	Country string   `json:"country_code"`
}

// Check implements reputation.Provider. The service answers 404 for addresses that it has never seen.
func (p *Acme) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	question := rest.Request{
		Path:    []string{"ip", q.Addr.String()},
		Header:  map[string]string{"X-Key": q.Key},
		Answers: []int{http.StatusNotFound},
	}
	return rest.Ask(ctx, &p.Endpoint, q, question, func(v *acmeAnswer, resp *rest.Response) (reputation.Report, error) {
		if resp.Status == http.StatusNotFound && rest.SameAddr(v.IP, q.Addr) {
			return reputation.Report{}, reputation.ErrUnknown
		}
		return v.report(q.Addr)
	})
}

// report is what the answer says about an address.
func (v *acmeAnswer) report(addr netip.Addr) (reputation.Report, error) {
	switch {
	case !rest.SameAddr(v.IP, addr): // a page of somebody between, or an answer to another question
		return reputation.Report{}, fmt.Errorf("%w: it is not about the address", reputation.ErrBadAnswer)
	case v.Risk == nil || *v.Risk < 0 || *v.Risk > 100:
		return reputation.Report{}, fmt.Errorf("%w: there is no valid risk", reputation.ErrBadAnswer)
	}
	r := reputation.Report{Severity: *v.Risk / 100, Confidence: 0.7, Facts: reputation.Facts{Country: rest.Country(v.Country)}}
	if r.Severity > 0 {
		r.Categories = reputation.CategoriesOf(reputation.Scanner)
	}
	return r, nil
}

// UnmarshalCaddyfile reads the options that only this provider has.
//
//	acme {
//	    url <address>
//	}
func (p *Acme) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the provider's name
	return option.Read(d, "acme", p.Options("an address such as https://api.acme.example/v1")...)
}

// A whole provider, and a question to a service that a test plays.
func Example() {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"ip":"203.0.113.10","risk":80,"country_code":"NL"}`)
	}))
	defer service.Close()

	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	acme := &Acme{Endpoint: rest.Endpoint{URL: service.URL}}
	if err := acme.Provision(ctx); err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = acme.Cleanup() }()

	report, err := acme.Check(ctx, reputation.Query{Addr: netip.MustParseAddr("203.0.113.10"), Key: "secret"})
	fmt.Println(report.Severity, report.Categories, report.Facts.Country, err)

	_, err = acme.Check(ctx, reputation.Query{Addr: netip.MustParseAddr("2001:db8::1"), Key: "secret"})
	fmt.Println(err)
	// Output:
	// 0.8 scanner NL <nil>
	// asking Acme: the service does not cover this kind of address
}
