package module

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/policy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/preset"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/lists"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
)

// What a preset is accused of can be said in other words; what it is worth stays.
func TestPresetKeepsItsWeight(t *testing.T) {
	for _, tc := range []struct {
		feed   Feed
		weight float64
		group  string
	}{
		{Feed{Sources: []string{"spamhaus_drop"}, Category: []string{"abuse"}}, 34, "spamhaus"},
		{Feed{Sources: []string{"ipsum"}, Name: "mine"}, 24, "lists"},
		{Feed{Sources: []string{"203.0.113.0/24"}, Name: "ipsum"}, 20, "lists"},
		{Feed{Sources: []string{"203.0.113.0/24"}, Name: "exits", Nature: []string{"tor"}}, 8, "nature"},
		{Feed{Sources: []string{"203.0.113.0/24"}, Name: "relays", Nature: []string{"relay"}}, 0, "nature"},
		{Feed{Sources: []string{"203.0.113.0/24"}, Name: "phones", Nature: []string{"mobile"}}, 0, "nature"},
		{Feed{Sources: []string{"203.0.113.0/24"}, Name: "bad", Nature: []string{"mobile"}, Category: []string{"bot"}}, 20, "lists"},
		{Feed{Sources: []string{"icloud_private_relay"}, Category: []string{"bot"}}, 0, "nature"},
	} {
		l, err := tc.feed.list()
		if err != nil || l.meaning.Source.Weight != tc.weight || l.meaning.Source.Group != tc.group {
			t.Errorf("%+v: got %+v, %v; want weight %v in group %s", tc.feed, l.meaning.Source, err, tc.weight, tc.group)
		}
	}
}

// TestPresetsAreWeighed holds the weights of the lists that are known by name, as their scores need them.
func TestPresetsAreWeighed(t *testing.T) {
	for name, want := range map[string]score.Source{
		"spamhaus_drop":     {Trust: 1, Weight: 34, Group: "spamhaus"},
		"firehol_level1":    {Trust: 1, Weight: 24, Group: "lists"},
		"ipsum":             {Trust: 1, Weight: 24, Group: "lists"},
		"tor_exits":         {Trust: 1, Weight: 8, Group: "nature"},
		"x4bnet_vpn":        {Trust: 1, Weight: 8, Group: "nature"},
		"x4bnet_datacenter": {Trust: 1, Weight: 8, Group: "nature"},
		"blocklist_de":      {Trust: 1, Weight: 20, Group: "lists"},
		"feodo":             {Trust: 1, Weight: 20, Group: "lists"},
		"emerging_threats":  {Trust: 1, Weight: 20, Group: "lists"},

		"firehol_level4":       {Trust: 1, Weight: 20, Group: "lists"},
		"spamhaus_asndrop":     {Trust: 1, Weight: 34, Group: "spamhaus"},
		"abuseipdb_blacklist":  {Trust: 1, Weight: 32, Group: "abuseipdb"},
		"aws":                  {Trust: 1, Weight: 8, Group: "nature"},
		"hetzner":              {Trust: 1, Weight: 8, Group: "nature"},
		"cloudflare":           {Trust: 1, Weight: 0, Group: "nature"},
		"icloud_private_relay": {Trust: 1, Weight: 0, Group: "nature"},
	} {
		want.Name = name
		l, err := (&Feed{Sources: []string{name}}).fromSources()
		if err != nil || l.meaning.Source != want {
			t.Errorf("%s is %+v, %v; want %+v", name, l.meaning.Source, err, want)
		}
	}
}

// TestTermsAreLogged: who must look at the terms of a list is told so once at load.
func TestTermsAreLogged(t *testing.T) {
	var all []configuredList
	for _, name := range []string{"greensnow", "cins", "aws"} {
		l, err := (&Feed{Sources: []string{name}}).list()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	log := new(logtest.Log)
	logTerms(log.Logger(), all)
	got := log.String()
	if want := `feed=greensnow terms="own use only; reproduction or republication is prohibited"`; strings.Count(got, "\n") != 1 ||
		!strings.Contains(got, want) {
		t.Errorf("logged %q, want a line with %q", got, want)
	}
}

// TestTermsOfServicesAreLogged: a service that restricts its use has one line at load, others have none.
func TestTermsOfServicesAreLogged(t *testing.T) {
	log := new(logtest.Log)
	logTermsOfServices(log.Logger(), []runtime.Provider{
		{Name: "acme", Terms: "non-commercial use only"}, {Name: "abuseipdb"}, {Name: "second", Terms: "fair use"},
	})
	got := log.String()
	for _, want := range []string{`provider=acme terms="non-commercial use only"`, `provider=second terms="fair use"`} {
		if strings.Count(got, want) != 1 {
			t.Errorf("logged %q, want one line with %q", got, want)
		}
	}
	if strings.Count(got, "\n") != 2 {
		t.Errorf("logged %q, want two lines", got)
	}
}

// TestRulesOnPresets: what a preset says can be asked for, whether it gives points or not, and nothing else.
func TestRulesOnPresets(t *testing.T) {
	for _, tc := range []struct {
		preset string
		rule   policy.Config
		holds  bool
	}{
		{"icloud_private_relay", policy.Config{Nature: []string{"relay"}}, true},
		{"icloud_private_relay", policy.Config{Source: []string{"icloud_private_relay"}}, true},
		{"icloud_private_relay", policy.Config{Nature: []string{"vpn"}}, false},
		{"icloud_private_relay", policy.Config{Category: []string{"abuse"}}, false},
		{"icloud_private_relay", policy.Config{Score: "20"}, false},
		{"cloudflare", policy.Config{Source: []string{"cloudflare"}}, true},
		{"cloudflare", policy.Config{Nature: []string{"hosting"}}, false},
		{"aws", policy.Config{Nature: []string{"hosting"}}, true},
		{"aws", policy.Config{Category: []string{"hosting"}, Source: []string{"aws"}}, true},
		{"aws", policy.Config{Source: []string{"gcp"}}, false},
		{"tor_exits", policy.Config{Nature: []string{"tor"}}, true},
		{"dshield", policy.Config{Category: []string{"scanner"}}, true},
	} {
		l, err := (&Feed{Sources: []string{tc.preset}}).list()
		if err != nil {
			t.Fatal(err)
		}
		log := new(logtest.Log)
		rt := &runtime.Runtime{
			Logger: log.Logger(), Lists: lists.Lists{Names: []string{l.spec.Name}, Meanings: []listing.List{l.meaning}},
		}
		if rt.CheckRule("block", tc.rule); (log.String() == "") != tc.holds {
			t.Errorf("%s, %+v: logged %q", tc.preset, tc.rule, log)
		}
	}
}

// TestPresetHeaders: what a preset sends stays beside the operator's headers, and gives way to one of the same name.
func TestPresetHeaders(t *testing.T) {
	p, _ := preset.Find("abuseipdb_blacklist")
	l := configuredList{spec: p.Spec(), options: &ListOptions{Header: map[string]string{"accept": "text/plain", "X-Mirror": "1"}}}
	if err := new(App).authorize(caddy.Context{}, &l); err != nil {
		t.Fatal(err)
	}
	want := http.Header{"Accept": {"text/plain"}, "Key": {"{key}"}, "X-Mirror": {"1"}}
	if diff := cmp.Diff(want, l.spec.Header); diff != "" || l.spec.Authorize == nil {
		t.Errorf("the headers are\n%s", diff)
	}
	sent, err := l.spec.Authorize(t.Context(), l.spec.Header.Clone())
	if err != nil || strings.Contains(sent.Get("Key"), "{") {
		t.Errorf("sent is %v, %v", sent, err)
	}
}
