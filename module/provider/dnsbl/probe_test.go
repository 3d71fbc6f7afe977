package dnsbl

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// zone answers as a list with these names below it.
func zone(names ...string) func(string, *dns.Msg) *dns.Msg {
	return func(_ string, m *dns.Msg) *dns.Msg {
		for _, name := range names {
			if strings.HasPrefix(m.Question[0].Name, name+".") {
				return addresses(m, 900, "127.0.0.2")
			}
		}
		m.Rcode = dns.RcodeNameError
		return m
	}
}

const (
	mapped2 = "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0"
	mapped1 = "1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0"
)

// A list is believed if it has what it must have, and has not what it must not.
func TestProbe(t *testing.T) {
	const refused, bad, ok = reputation.ResultRefused, reputation.ResultBadAnswer, reputation.ResultOK
	world := func(_ string, m *dns.Msg) *dns.Msg { return addresses(m, 900, "127.0.0.2") }
	nothing := zone()
	honeyPot := func(_ string, m *dns.Msg) *dns.Msg {
		if strings.HasPrefix(m.Question[0].Name, honeyPotKey+".5.1.1.127.") {
			return addresses(m, 900, "127.1.1.5")
		}
		return nothing("", m)
	}
	for _, tc := range []struct {
		name, list, key string
		answer          func(string, *dns.Msg) *dns.Msg
		want            reputation.Result
		cure            string
	}{
		{"works", "zen", "", zone("2.0.0.127", mapped2), ok, ""},
		{"lists the world", "zen", "", world, bad, "it lists the whole world"},
		{"lists nothing", "zen", "", nothing, bad, "write `test off`"},
		{"lists the IPv6 world", "zen", "", zone("2.0.0.127", mapped2, mapped1), bad, "it lists the whole world"},
		{"no IPv6", "dronebl", "", zone("2.0.0.127"), bad, "write `ipv6 off`"},
		{"IPv6 is not tested", "s5h", "", zone("2.0.0.127"), ok, ""},
		{"is refused", "zen", "", func(_ string, m *dns.Msg) *dns.Msg { return addresses(m, 900, "127.255.255.254") }, refused, "`resolver`"},
		{"away", "zen", "", func(_ string, m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeServerFailure; return m }, reputation.ResultError, "SERVFAIL"},
		{"key", "dqs", dqsKey, zone("2.0.0.127."+dqsKey, mapped2+"."+dqsKey), ok, ""},
		{"unknown key", "dqs", dqsKey, nothing, refused, "give it a valid key"},
		{"no key", "dqs", "", world, refused, "set the key option"},
		{"http:BL", "httpbl", honeyPotKey, honeyPot, ok, ""},
		{"http:BL with an unknown key", "httpbl", "abcdefghijkm", honeyPot, refused, "give it a valid key"},
		{"has no entry to test", "torexit", "", nothing, ok, ""},
		{"has none, and lists the world", "torexit", "", world, bad, "it lists the whole world"},
		{"a zone of one's own", "bl.example.org", "", zone("2.0.0.127"), ok, ""},
		{"a zone of one's own without entries", "bl.example.org", "", nothing, bad, "write `test off`"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := open(t, tc.list, serve(t, tc.answer).addr)
			if !d.Profile().SelfTest {
				t.Error("the list is not tested")
			}
			err := d.Probe(t.Context(), tc.key)
			if got := reputation.ResultOf(err); got != tc.want || err != nil && !strings.Contains(err.Error(), tc.cure) {
				t.Errorf("got %s: %v\nwant %s with %q", got, err, tc.want, tc.cure)
			}
			if err != nil && tc.key != "" && strings.Contains(err.Error(), tc.key) {
				t.Errorf("the key is in the error: %v", err)
			}
		})
	}
}

func TestWithoutATest(t *testing.T) {
	r := serve(t, zone())
	d, err := provision(t, `{"list": "bl.example.org", "test": false, "resolvers": ["`+r.addr+`"]}`)
	if err != nil || d.Profile().SelfTest {
		t.Fatalf("%v, a self-test: %t", err, d.Profile().SelfTest)
	}
	if err := d.Probe(t.Context(), ""); err != nil || len(r.questions()) > 0 {
		t.Errorf("%v, %d questions", err, len(r.questions()))
	}
}

// Each list is a source of its own.
func TestProfiles(t *testing.T) {
	type source struct {
		Name, Group         string
		Weight, Good, Trust float64
		Key                 reputation.KeyUse
		Covers              reputation.Families
	}
	const v4, both = reputation.IPv4, reputation.IPv4 | reputation.IPv6
	for config, want := range map[string]source{
		`{"list": "zen"}`:                                     {"zen", "spamhaus", 22, 1, 1, reputation.KeyNone, both},
		`{"list": "ZEN.spamhaus.org."}`:                       {"zen", "spamhaus", 22, 1, 1, reputation.KeyNone, both},
		`{"list": "zen", "ipv6": false}`:                      {"zen", "spamhaus", 22, 1, 1, reputation.KeyNone, v4},
		`{"list": "dqs"}`:                                     {"dqs", "spamhaus", 22, 1, 1, reputation.KeyRequired, both},
		`{"list": "{key}.zen.dq.spamhaus.net"}`:               {"dqs", "spamhaus", 22, 1, 1, reputation.KeyRequired, both},
		`{"list": "authbl"}`:                                  {"authbl", "spamhaus", 22, 1, 1, reputation.KeyRequired, both},
		`{"list": "httpbl"}`:                                  {"httpbl", "httpbl", 26, 2, 1, reputation.KeyRequired, v4},
		`{"list": "dronebl"}`:                                 {"dronebl", "dnsbl", 16, 1, .5, reputation.KeyNone, both},
		`{"list": "torexit"}`:                                 {"torexit", "nature", 8, 1, 1, reputation.KeyNone, both},
		`{"list": "bl.example.org"}`:                          {"bl_example_org", "dnsbl", 16, 1, .5, reputation.KeyNone, v4},
		`{"list": "0spam.example.org", "ipv6": true}`:         {"dnsbl_0spam_example_org", "dnsbl", 16, 1, .5, reputation.KeyNone, both},
		`{"list": "{key}.example"}`:                           {"example", "dnsbl", 16, 1, .5, reputation.KeyRequired, v4},
		`{"list": "spamcop", "weight": 9.5, "group": "mail"}`: {"spamcop", "mail", 9.5, 1, .5, reputation.KeyNone, v4},
	} {
		d, err := provision(t, config)
		if err != nil {
			t.Errorf("%s: %v", config, err)
			continue
		}
		p := d.Profile()
		if err := p.Validate(); err != nil {
			t.Errorf("%s: %v", config, err)
		}
		got := source{p.Name, p.Group, p.Weight, p.GoodWeight, p.Trust, p.Key, p.Covers}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s differs (-want +got):\n%s", config, diff)
		}
	}
	for word := range presets {
		d := open(t, word)
		if p := d.Profile(); p.Name != word || !p.Capabilities.Declared() || (p.Terms == "") != (word == "s5h") {
			t.Errorf("%s: %+v", word, p)
		}
	}
}

// What an operator says of codes replaces the preset's, and makes the others of a zone errors.
func TestCodes(t *testing.T) {
	for _, tc := range []struct {
		config, code string
		severity     float64
		categories   string
		result       reputation.Result
	}{
		{`{"codes": {"127.0.0.50": "ddos"}, "list": "zen"}`, "127.0.0.50", 1, "ddos", reputation.ResultOK},
		{`{"codes": {"127.0.0.2": "policy"}, "list": "zen"}`, "127.0.0.2", 0, "policy", reputation.ResultOK},
		{`{"codes": {"127.0.0.50": "ddos"}, "list": "zen"}`, "127.0.0.51", 0, "", reputation.ResultBadAnswer},
		{`{"codes": {"127.0.0.4": "bruteforce"}, "list": "bl.example.org"}`, "127.0.0.4", 1, "bruteforce", reputation.ResultOK},
		{`{"codes": {"127.0.0.4": "bruteforce"}, "list": "bl.example.org"}`, "127.0.0.2", 0, "", reputation.ResultBadAnswer},
		{`{"category": ["proxy", "spam"], "list": "bl.example.org"}`, "127.0.0.99", 1, "spam, proxy", reputation.ResultOK},
		{`{"category": ["vpn"], "list": "bl.example.org"}`, "127.0.0.99", .5, "vpn", reputation.ResultOK},
		{`{"category": ["policy"], "list": "bl.example.org"}`, "127.0.0.2", 0, "policy", reputation.ResultOK},
	} {
		r := serve(t, func(_ string, m *dns.Msg) *dns.Msg { return addresses(m, 900, tc.code) })
		d, err := provision(t, strings.TrimSuffix(tc.config, "}")+`, "resolvers": ["`+r.addr+`"]}`)
		if err != nil {
			t.Fatal(err)
		}
		got, err := providertest.Ask(t.Context(), t, d, reputation.Query{Addr: visitor})
		if reputation.ResultOf(err) != tc.result || got.Severity != tc.severity || got.Categories.String() != tc.categories {
			t.Errorf("%s: %s is %+v, %v", tc.config, tc.code, got, err)
		}
	}
}
