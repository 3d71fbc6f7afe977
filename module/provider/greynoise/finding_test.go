package greynoise

import (
	"errors"
	"net/http"
	"net/netip"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
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
	source := score.OfProfile("greynoise", new(GreyNoise).Profile())
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
		evidence := score.Evidence{Source: &source, Severity: r.Severity, Confidence: r.Confidence, Categories: r.Categories}
		if got, _ := score.Judge([]score.Evidence{evidence}, nil); got < tc.min || got > tc.max {
			t.Errorf("%+v: %.2f %%, want %v to %v", tc.f, got, tc.min, tc.max)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, body := range providertest.Samples(f, "testdata/*.json") {
		for _, address := range []string{"203.0.113.10", "203.0.113.207", "198.51.100.8", "198.51.100.131"} {
			f.Add(body, address)
		}
	}
	capabilities := (&GreyNoise{API: v3}).Profile().Capabilities
	accusations := of(reputation.Abuse, reputation.Scanner, reputation.Bot, reputation.Compromised, reputation.BruteForce)
	f.Fuzz(func(t *testing.T, body []byte, address string) {
		asked, err := netip.ParseAddr(address)
		if err != nil || !asked.Is4() {
			return
		}
		for _, parse := range []func() (reputation.Report, error){
			func() (reputation.Report, error) {
				var a communityAnswer
				if err := rest.Decode(body, &a); err != nil {
					return reputation.Report{}, err
				}
				return a.report(asked, http.StatusOK)
			},
			func() (reputation.Report, error) {
				var a v3Answer
				if err := rest.Decode(body, &a); err != nil {
					return reputation.Report{}, err
				}
				return a.report(asked, http.StatusOK)
			},
		} {
			r, err := parse()
			if err != nil {
				if !errors.Is(err, reputation.ErrBadAnswer) && !errors.Is(err, reputation.ErrUnknown) {
					t.Fatalf("unclassified error %v", err)
				}
				continue
			}
			if !(r.Severity >= -1 && r.Severity <= 1 && r.Confidence >= .4 && r.Confidence <= .95) {
				t.Errorf("out of range: %+v", r)
			}
			if err := capabilities.Check(r); err != nil {
				t.Error(err)
			}
			if (r.Severity > 0) != (r.Categories&accusations != 0) {
				t.Errorf("severity %g with categories %s", r.Severity, r.Categories)
			}
		}
	})
}
