package greynoise

import (
	"errors"
	"net/http"
	"net/netip"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestFinding(t *testing.T) {
	for _, tc := range []struct {
		name                 string
		f                    finding
		severity, confidence float64
		err                  error
	}{
		{"scans, unknown why", finding{scans: true, classification: "unknown"}, .3, .8, nil},
		{"forged", finding{scans: true, classification: "suspicious", spoofable: true}, .6, .4, nil},
		{"a service that scans with bad intent",
			finding{scans: true, classification: "malicious", business: true, trust: "1"}, 0, .8, nil},
		{"a service that scans", finding{scans: true, classification: "benign", business: true, trust: "2"}, -1, .95, nil},
		{"nothing", finding{}, 0, 0, reputation.ErrUnknown},
		{"accused without having been seen", finding{classification: "malicious"}, 0, 0, reputation.ErrBadAnswer},
		{"an unknown word", finding{scans: true, classification: "evil"}, 0, 0, reputation.ErrBadAnswer},
		{"an unknown trust", finding{business: true, trust: "3"}, 0, 0, reputation.ErrBadAnswer},
	} {
		r, err := tc.f.report()
		if r.Severity != tc.severity || r.Confidence != tc.confidence || !errors.Is(err, tc.err) {
			t.Errorf("%s: %+v, %v", tc.name, r, err)
		}
	}
}

// TestScores: what the profile weighs gives the scores that the source must give, alone.
func TestScores(t *testing.T) {
	for _, tc := range []struct {
		f        finding
		min, max float64
	}{
		{finding{scans: true, classification: "malicious"}, 25, 50},
		{finding{scans: true, classification: "suspicious"}, 8, 25},
		{finding{scans: true}, 1, 5},
		{finding{scans: true, classification: "benign"}, 0, .5},
		{finding{business: true}, 0, .5},
	} {
		r, err := tc.f.report()
		if err != nil {
			t.Fatal(err)
		}
		if got := providertest.Score(new(GreyNoise).Profile(), r); got < tc.min || got > tc.max {
			t.Errorf("%+v: %.2f %%, want %v to %v", tc.f, got, tc.min, tc.max)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	product := providertest.Reader{
		Severity: providertest.Range{Least: -1, Most: 1}, Confidence: providertest.Range{Least: .4, Most: .95}, Unknown: true,
		Accusations: of(reputation.Abuse, reputation.Scanner, reputation.Bot, reputation.Compromised, reputation.BruteForce),
	}
	c, paid := product, product
	c.Read, c.Capabilities = parse[communityAnswer], new(GreyNoise).Profile().Capabilities
	paid.Read, paid.Capabilities = parse[v3Answer], (&GreyNoise{API: v3}).Profile().Capabilities
	providertest.Fuzz(f, c, paid)
}

func parse[T any, A interface {
	*T
	report(addr netip.Addr, status int) (reputation.Report, error)
}](body []byte, addr netip.Addr) (reputation.Report, error) {
	var a T
	if err := rest.Decode(body, &a); err != nil {
		return reputation.Report{}, err
	}
	return A(&a).report(addr, http.StatusOK)
}
