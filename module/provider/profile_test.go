package provider

import (
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Two DNS zones are two instances of one module, and two sources.
func TestTwoProfilesOfOneModuleAreTwoSources(t *testing.T) {
	zen := reputation.Profile{Name: "zen", Weight: 22, GoodWeight: 1, Group: "spamhaus"}
	dronebl := reputation.Profile{Name: "dronebl", Trust: .5, Weight: 16, GoodWeight: 1, Group: "dnsbl"}
	distrust := .1
	for _, tc := range []struct {
		profile reputation.Profile
		trust   *float64
		want    score.Source
	}{
		{zen, nil, score.Source{Name: "zen", Group: "spamhaus", Trust: 1, Weight: 22, GoodWeight: 1}},
		{dronebl, nil, score.Source{Name: "dronebl", Group: "dnsbl", Trust: .5, Weight: 16, GoodWeight: 1}},
		{dronebl, &distrust, score.Source{Name: "dronebl", Group: "dnsbl", Trust: .1, Weight: 16, GoodWeight: 1}},
	} {
		got, err := (&Provider{Trust: tc.trust}).source(tc.profile.Name, tc.profile)
		if err != nil || got != tc.want {
			t.Errorf("got %+v, %v; want %+v", got, err, tc.want)
		}
	}
}

// What a profile says holds where the operator says nothing.
func TestTermsComeFromTheProfile(t *testing.T) {
	profile := reputation.Profile{Name: "acme", Quota: []string{"4/minute", "500/day"}, Rate: "1/2s", ListedTTL: time.Hour}
	terms, listed, clean, err := new(Provider).terms(profile)
	if err != nil || len(terms.Windows) != 2 || terms.Rate.String() != "1/2s" || listed != time.Hour || clean != 24*time.Hour {
		t.Errorf("terms %+v, TTLs %s and %s, %v", terms, listed, clean, err)
	}
	p := Provider{Quota: []string{"9/day"}, Rate: "5/s", ListedTTL: caddy.Duration(time.Minute), CleanTTL: caddy.Duration(time.Minute)}
	terms, listed, clean, err = p.terms(profile)
	if err != nil || len(terms.Windows) != 1 || terms.Rate.String() != "5/1s" || listed != time.Minute || clean != time.Minute {
		t.Errorf("overridden: terms %+v, TTLs %s and %s, %v", terms, listed, clean, err)
	}
}
