package bots

import (
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// rentable are names that anybody can have: as a customer of a cloud, as a member of the staff, through a relay.
var rentable = []string{
	"vm.bc.googleusercontent.com", "ec2.compute.amazonaws.com", "staff.apple.com", "relay.icloud.com", "staff.google.com",
	"vm.yandexcloud.net",
}

func TestTable(t *testing.T) {
	names, tokens, ranges := map[string]bool{}, map[string]string{}, map[string]*Ranges{}
	for i := range table {
		b := &table[i]
		if !reputation.ValidName(b.Name) || !reputation.ValidName(b.Operator) || names[b.Name] || b.Name == All {
			t.Errorf("name %q, operator %q", b.Name, b.Operator)
		}
		names[b.Name] = true
		if b.Sure != Confirmed && b.Sure != Likely && b.Sure != Unconfirmed {
			t.Errorf("%s is %q sure", b.Name, b.Sure)
		}
		if len(b.Tokens) == 0 || b.MissProves && !b.Verifiable() {
			t.Errorf("%s: %+v", b.Name, b)
		}
		for _, token := range b.Tokens {
			if other := tokens[strings.ToLower(token)]; other != "" {
				t.Errorf("%s and %s have the token %s", b.Name, other, token)
			}
			tokens[strings.ToLower(token)] = b.Name
		}
		for _, pattern := range b.Names {
			if strings.Count(pattern, "*") != 1 || pattern != strings.ToLower(pattern) || strings.Count(pattern, ".") < 2 {
				t.Errorf("%s: pattern %q", b.Name, pattern)
			}
			for _, name := range rentable {
				if nameMatches(pattern, name) {
					t.Errorf("%s: %s is of %s", b.Name, name, pattern)
				}
			}
		}
		r := b.Ranges
		if r == nil {
			continue
		}
		if other := ranges[r.Name]; other != nil && other != r || !reputation.ValidName("bot_"+r.Name) {
			t.Errorf("%s: ranges %s", b.Name, r.Name)
		}
		ranges[r.Name] = r
		for _, raw := range r.URLs {
			if u, err := url.Parse(raw); err != nil || u.Scheme != "https" || u.Hostname() == "" {
				t.Errorf("%s: %s", b.Name, raw)
			}
		}
	}
}

func TestWords(t *testing.T) {
	for word, want := range map[string]string{
		"google": "", "googlebot": "", All: "",
		"gogle": `unknown bot "gogle": use all, or the name of`,
		"slack": `bot "slack" cannot be verified`,
	} {
		if err := Check(word); (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", word, err)
		}
	}
	if n := len(Named("google")); n != 3 {
		t.Errorf("Google has %d bots", n)
	}
	if all := RangesOf(Named("anthropic")); len(all) != 1 {
		t.Errorf("bots that share ranges have %d lists", len(all))
	}
}
